"""Commands that ask a trained model: how good its answers are, the answers, and where they come from."""

from typing import Annotated

import typer

from statecast.cli.options import (
    ArraysOut,
    LastShown,
    Members,
    Out,
    Overwrite,
    OwnStores,
    Period,
    Quiet,
    Store,
    by_stream,
)
from statecast.cli.printing import print_skill


def evaluate(
    run: str,
    *,
    store: Store,
    period: Period,
    out: Out,
    stores: OwnStores = None,
    against: Annotated[
        str | None, typer.Option(help="Run or model to ask the same, by the question that it was trained for.")
    ] = None,
    every_h: Annotated[float, typer.Option(help="Hours between starts.", min=0.0)] = 12.0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Verify the model of RUN on a period that its training did not see, beside its baselines."""
    from statecast.fields import verbs

    evaluation = verbs.evaluate(
        run,
        store,
        period,
        out,
        stores=by_stream(stores),
        against=against,
        every_h=every_h,
        overwrite=overwrite,
        progress=not quiet,
    )
    print_skill(evaluation.verifications)
    print(f"report: {out / 'report.html'}")


def predict(
    run: str,
    *,
    store: Store,
    init: LastShown,
    steps: Annotated[int, typer.Option(help="Time steps to forecast.")],
    members: Members = None,
    stores: OwnStores = None,
    out: ArraysOut,
    overwrite: Overwrite = False,
) -> None:
    """Forecast from one time of a store; written with CF names (init_time, lead_time, number)."""
    from statecast.fields import verbs

    verbs.predict(run, store, init, steps, stores=by_stream(stores), members=members, out=out, overwrite=overwrite)
    print(f"forecast: {out}")


def complete(
    run: str,
    *,
    store: Store,
    period: Period,
    stores: OwnStores = None,
    members: Members = None,
    out: ArraysOut,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Fill what a period of a store lacks: missing values, missing times, or streams that the model was tuned to translate to."""
    from statecast.fields import verbs

    own = by_stream(stores)
    verbs.complete(run, store, period, stores=own, members=members, out=out, overwrite=overwrite, progress=not quiet)
    print(f"completed: {out}")


def explain(
    run: Annotated[str, typer.Argument(metavar="MODEL", help="Run or model directory, or an id of the hub.")],
    *,
    store: Store,
    at: LastShown,
    query: Annotated[
        tuple[float, float, str],
        typer.Option(metavar="LAT LON VARIABLE[@LEVEL]", help="The point whose answer is explained; the level in hPa."),
    ],
    stores: OwnStores = None,
    lead_time_h: Annotated[
        float | None, typer.Option(help="Hours from --at to the answer; 24 if not given, or what the model reaches.")
    ] = None,
    members: Annotated[str, typer.Option(help="Whose sensitivity: mean, or the number of one member.")] = "mean",
    season: Annotated[
        str | None, typer.Option(metavar="MONTH-DAY", help="Ask the same state as if it were that day of the year.")
    ] = None,
    hour: Annotated[float | None, typer.Option(help="Ask the same state as if it were that hour of the day.")] = None,
    chunk: Annotated[int, typer.Option(help="Tokens whose attention is held at a time; fewer take less memory.")] = 256,
    out: Out,
    overwrite: Overwrite = False,
) -> None:
    """What an answer at one point comes from: attention maps, roll-out, sensitivities, and what it would be under another α."""
    from statecast.explain.sensitivity import read_members
    from statecast.fields import verbs

    verbs.explain(
        run,
        store,
        at,
        query,
        out,
        stores=by_stream(stores),
        overwrite=overwrite,
        lead_time_h=lead_time_h,
        members=read_members(members),
        season=season,
        hour_utc=hour,
        chunk=chunk,
    )
    print(f"report: {out / 'report.html'}")
