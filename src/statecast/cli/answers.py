"""Commands that ask a trained model: how good its answers are, the answers, and where they come from."""

from typing import Annotated, Any, Literal

import typer

from statecast.cli.options import (
    ArraysOut,
    AskedStations,
    CommandError,
    DataOfDomain,
    LastShown,
    Lattices,
    Members,
    Out,
    Overwrite,
    OwnStores,
    Period,
    PeriodOfDomain,
    Quiet,
    Store,
    by_stream,
    given,
    refuse_given,
)
from statecast.cli.printing import print_tables


def evaluate(
    run: str,
    *,
    store: DataOfDomain = None,
    period: PeriodOfDomain = None,
    out: Out,
    stores: OwnStores = None,
    against: Annotated[
        str | None,
        typer.Option(help="Another run or model that is asked the same, by the task that it was trained for."),
    ] = None,
    every_h: Annotated[
        float | None, typer.Option(help="Fields: hours between starts, 12 if not given.", min=0.0)
    ] = None,
    lattices: Lattices = None,
    members: Annotated[
        int | None,
        typer.Option(help="Fields: score so many members of a forecast too, as predict writes them.", min=2, max=1000),
    ] = None,
    report: Annotated[
        bool | None,
        typer.Option("--report/--no-report", help="Fields: draw a report beside the scores; drawn if not given."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Verify the model of RUN on a period that its training did not see, beside its baselines."""
    from statecast import verbs

    options = given(
        stores=by_stream(stores) or None, every_h=every_h, lattices=lattices, members=members, report=report
    )
    evaluation = verbs.evaluate(
        run, store, period, out, against=against, overwrite=overwrite, progress=not quiet, **options
    )
    print_tables(evaluation.tables())
    print(f"{evaluation.written.stem}: {evaluation.written}")


def predict(
    run: str,
    *,
    store: Store,
    init: LastShown,
    steps: Annotated[int, typer.Option(help="Time steps to forecast.", max=100_000)],
    members: Members = None,
    lattices: Lattices = None,
    stores: OwnStores = None,
    stations: AskedStations = None,
    out: ArraysOut,
    overwrite: Overwrite = False,
) -> None:
    """Forecast from one time of a store; written with CF names (init_time, lead_time, number), or as time series of stations."""
    from statecast.fields import verbs

    options: dict[str, Any] = {"members": members, "lattices": lattices, "stations": stations}
    options |= {"out": out, "overwrite": overwrite}
    verbs.predict(run, store, init, steps, stores=by_stream(stores), **options)
    print(f"forecast: {out}")


def complete(
    run: str,
    *,
    store: Store,
    period: Period,
    stores: OwnStores = None,
    stations: AskedStations = None,
    members: Members = None,
    lattices: Lattices = None,
    out: ArraysOut,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Fill what a period of a store lacks: missing values, missing times, or streams that the model was tuned to translate to."""
    from statecast.fields import verbs

    options: dict[str, Any] = {"members": members, "lattices": lattices, "stations": stations}
    options |= {"out": out, "overwrite": overwrite}
    verbs.complete(run, store, period, stores=by_stream(stores), progress=not quiet, **options)
    print(f"completed: {out}")


def explain(
    run: Annotated[str, typer.Argument(metavar="MODEL", help="Run or model directory, or an id of the hub.")],
    *,
    store: DataOfDomain = None,
    at: Annotated[
        str | None, typer.Option(help="Fields: last time that the model is shown, for example 2001-01-15T00.")
    ] = None,
    query: Annotated[
        tuple[float, float, str] | None,
        typer.Option(
            metavar="LAT LON VARIABLE[@LEVEL]", help="Fields: the point whose answer is explained; the level in hPa."
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="STREAM[:NUMBER]", help="Any domain: the token of a sample whose answer is explained."),
    ] = None,
    sample: Annotated[int, typer.Option(help="With --token: number of the sample in the period.", min=0)] = 0,
    period: PeriodOfDomain = None,
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
    """What an answer comes from: attention maps, roll-out, sensitivities, and what it would be under another α."""
    from statecast import verbs
    from statecast.explain.sensitivity import read_members

    common: dict[str, Any] = {"members": read_members(members), "chunk": chunk, "overwrite": overwrite}
    if token is not None:
        from statecast.explain.tokens import explain_token

        refuse_given("--token", {"--at": at, "--query": query, "--season": season, "--hour": hour})
        explain_token(run, store, period, out, sample=sample, token=token, **common)
        print(f"arrays: {out / 'explain.nc'}")
        return
    if verbs.domain_name(run) != "fields" or at is None or query is None or store is None:
        raise CommandError(
            "give --data, --at and --query for a point of a field, or --token for a token of any domain."
        )
    options = {"lead_time_h": lead_time_h, "season": season, "hour_utc": hour, "stores": by_stream(stores)}
    verbs.explain(run, store, at, query, out, **options, **common)
    print(f"report: {out / 'report.html'}")


def anomalies(
    run: Annotated[str, typer.Argument(metavar="MODEL", help="Run or model directory, or an id of the hub.")],
    *,
    store: DataOfDomain = None,
    period: PeriodOfDomain = None,
    stores: OwnStores = None,
    parts: Annotated[
        int,
        typer.Option(help="One of so many parts of the tokens is hidden at a time; more show more and take longer."),
    ] = 4,
    windows: Annotated[
        int, typer.Option(help="Training windows from which thresholds are estimated; 0: none, scores alone.")
    ] = 32,
    false_alarms: Annotated[float, typer.Option(help="Share of those windows' tokens that are called strange.")] = 1e-4,
    batch: Annotated[int | None, typer.Option(help="Samples that are asked at once.")] = None,
    out: Out,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Draw a report beside the arrays.")] = True,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Find what is strange in a record: samples, and which of their tokens, by how surprising each is given the others."""
    from statecast import verbs
    from statecast.surprise.report import strangest_table
    from statecast.surprise.strange import Search

    options = given(stores=by_stream(stores) or None)
    search = Search(parts, windows, false_alarms, **given(batch=batch))
    found = verbs.anomalies(
        run, store, period, out, search=search, report=report, overwrite=overwrite, progress=not quiet, **options
    )
    print_tables([("the strangest samples", strangest_table(found.tables))])
    print(f"anomalies: {found.written}")


def embed(
    run: Annotated[str, typer.Argument(metavar="MODEL", help="Run or model directory, or an id of the hub.")],
    *,
    store: DataOfDomain = None,
    period: PeriodOfDomain = None,
    layer: Annotated[int, typer.Option(help="Block of the encoder: 0 is the embedding, -1 the last block.")] = -1,
    pool: Annotated[
        Literal["mean", "none"], typer.Option(help="mean: a vector for each window; none: for each token.")
    ] = "mean",
    streams: Annotated[
        list[str] | None, typer.Option("--stream", help="Stream that is visible; repeat for several.")
    ] = None,
    out: ArraysOut,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write what the encoder makes of each window of a record: features for a model of your own."""
    from statecast.representation import embed as run_embed

    run_embed(
        run, store, period, out, layer=layer, pool=pool, streams=streams or (), overwrite=overwrite, progress=not quiet
    )
    print(f"representations: {out}")
