"""The command line: parse, call one function, say in one line what went wrong."""

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from statecast.cli.options import (
    STORE_HELP,
    AllowChanges,
    ArraysOut,
    CommandError,
    DeviceCount,
    Every,
    Keep,
    LastShown,
    Members,
    Nodes,
    Out,
    Overrides,
    Overwrite,
    OwnStores,
    Period,
    Quiet,
    Resume,
    Store,
    Strategy,
    by_stream,
    numbers,
)
from statecast.cli.tell import print_path, print_skill, print_table

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Pre-train a foundation model on the record of a physical system and fine-tune it for every question asked of it.",
)
data = typer.Typer(no_args_is_help=True, help="Look at stores, or simulate one.")
app.add_typer(data, name="data")

USER_ERROR = 2


def main() -> None:
    """Entry point: a user's mistake is one line on standard error and exit code 2; a run that a signal stopped has exit code 75."""
    warnings.filterwarnings("ignore", module="lightning")
    try:
        app()
    except (ValueError, FloatingPointError, ModuleNotFoundError, InterruptedError) as error:
        if not is_users_mistake(error):
            raise
        print(f"statecast: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", USER_ERROR))


def is_users_mistake(error: Exception) -> bool:
    """Errors of statecast's own classes have one line; another ValueError is a bug and keeps its traceback."""
    return type(error).__module__.startswith("statecast.") or isinstance(error, FloatingPointError)


@app.command()
def quickstart(out: Out = Path("runs/quickstart"), overwrite: Overwrite = False, quiet: Quiet = False) -> None:
    """Pre-train, fine-tune, evaluate and report on the embedded atmosphere, in minutes."""
    from statecast.first_run import quickstart as run

    verifications = run(out, overwrite=overwrite, progress=not quiet)
    print_skill(verifications, lead_time_h=24.0)
    print(f"report: {out / 'report.html'}")


@app.command()
def pretrain(
    recipe: str,
    overrides: Overrides = None,
    *,
    out: Out,
    overwrite: Overwrite = False,
    resume: Resume = False,
    allow_changes: AllowChanges = False,
    every: Every = None,
    keep: Keep = None,
    devices: DeviceCount = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "ddp",
    quiet: Quiet = False,
) -> None:
    """Pre-train a new model by RECIPE (a YAML file, or the name of one that ships with statecast)."""
    from statecast import jobs
    from statecast.training import Devices

    jobs.pretrain(
        recipe,
        out,
        overrides=[*(overrides or ()), *_checkpoint_overrides(every, keep)],
        overwrite=overwrite,
        resume=resume,
        allow_changes=allow_changes,
        devices=Devices(devices, nodes, strategy),
        progress=not quiet,
    )
    print_path("model", out / "model")


@app.command()
def finetune(
    recipe: str,
    overrides: Overrides = None,
    *,
    start_from: Annotated[str, typer.Option("--from", help="Run or model directory to start from.")],
    out: Out,
    overwrite: Overwrite = False,
    resume: Resume = False,
    allow_changes: AllowChanges = False,
    every: Every = None,
    keep: Keep = None,
    devices: DeviceCount = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "ddp",
    quiet: Quiet = False,
) -> None:
    """Go on from a trained model with another task or other data; RECIPE says only what changes."""
    from statecast import jobs
    from statecast.training import Devices

    jobs.finetune(
        recipe,
        start_from,
        out,
        overrides=[*(overrides or ()), *_checkpoint_overrides(every, keep)],
        overwrite=overwrite,
        resume=resume,
        allow_changes=allow_changes,
        devices=Devices(devices, nodes, strategy),
        progress=not quiet,
    )
    print_path("model", out / "model")


def _checkpoint_overrides(every: int | None, keep: int | None) -> list[str]:
    given = {"training.checkpoint_every": every, "training.keep_checkpoints": keep}
    return [f"{key}={value}" for key, value in given.items() if value is not None]


@app.command()
def cost(
    recipe: Annotated[str | None, typer.Argument(help="Recipe; or give --params and --tokens of any model.")] = None,
    overrides: Overrides = None,
    *,
    device: Annotated[str, typer.Option(help="Name in the table of devices; an unknown one lists it.")] = "h100",
    devices: Annotated[int, typer.Option(help="Number of devices.")] = 1,
    samples: Annotated[
        float | None, typer.Option(help="Samples of the training; those of the recipe if left out.")
    ] = None,
    params: Annotated[float | None, typer.Option(help="Parameters of a model without a recipe.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens that it is trained on.")] = None,
    device_hours: Annotated[float | None, typer.Option(help="Hours × devices, where they are known.")] = None,
    region: Annotated[str, typer.Option(help="ISO code of two or three letters, or WORLD.")] = "WORLD",
    peak: Annotated[float | None, typer.Option(help="TFLOP/s of a device.")] = None,
    utilisation: Annotated[float | None, typer.Option(help="Share of the peak that the training reaches.")] = None,
    power: Annotated[float | None, typer.Option(help="W of a device.")] = None,
    pue: Annotated[float | None, typer.Option(help="Power of the centre over that of its computers.")] = None,
    intensity: Annotated[float | None, typer.Option(help="g CO2e per kWh.")] = None,
    price: Annotated[float | None, typer.Option(help="Money for an hour of one device.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """What a training would cost: operations, hours, energy, emissions and money, with every assumption."""
    from json import dumps

    from statecast.config import read_recipe
    from statecast.costs import assume, cost_tables, estimate, size_of, training_flops

    if recipe is not None and (params or tokens):
        raise CommandError("give a recipe, or --params and --tokens, not both.")
    if recipe is None and device_hours is None and (params is None or tokens is None):
        raise CommandError("give a recipe, or --params and --tokens, or --device-hours.")
    options = read_recipe(recipe, overrides or ()) if recipe is not None else None
    assumptions = assume(
        device,
        devices,
        region=region,
        precision="high" if options and options.training.precision == "32-true" else "low",
        peak_tflops=peak,
        utilisation=utilisation,
        power_w=power,
        pue=pue,
        intensity_g_per_kwh=intensity,
        price_per_hour=price,
    )
    size = size_of(options) if options else None
    flops = None
    if device_hours is None:
        flops = size.training_flops(samples) if size else training_flops(params or 0, tokens or 0)
    result = estimate(assumptions, flops, device_hours)
    if json:
        print(dumps({"estimate": result.as_dict(), "size": size.as_dict() if size else None}, indent=2))
    else:
        Console().print(cost_tables(result, size))


@app.command()
def update(
    run: Annotated[str, typer.Argument(help="Run or model directory to go on from.")],
    overrides: Overrides = None,
    *,
    store: Annotated[str, typer.Option("--data", help="The record that has grown.")],
    since: Annotated[str, typer.Option(help="First time that is new.")],
    out: Out,
    stores: OwnStores = None,
    replay: Annotated[
        float, typer.Option(help="Share of the windows that come from the old training period; 0: no replay.")
    ] = 0.5,
    overwrite: Overwrite = False,
    resume: Resume = False,
    devices: DeviceCount = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "ddp",
    quiet: Quiet = False,
) -> None:
    """Go on with data that were appended to the record; tells the skill on old and new months before and after."""
    from statecast.continual import update as run_update
    from statecast.training import Devices

    result = run_update(
        run,
        store,
        since,
        out,
        stores=by_stream(stores),
        replay=replay,
        overrides=overrides or (),
        overwrite=overwrite,
        resume=resume,
        devices=Devices(devices, nodes, strategy),
        progress=not quiet,
    )
    for period, found in result.verifications.items():
        print_skill(found, before=f"{period} period, ")
    print_path("model", out / "model")


@app.command()
def samples(
    run: Annotated[str, typer.Argument(help="Run directory, finished or not (RUN.unfinished).")],
    *,
    step: Annotated[int, typer.Option(help="Step of the training, from 0.")],
) -> None:
    """The samples of one training step, as the run drew them: when, how much, which values, which loss."""
    from statecast.inspection import look_at_samples

    rows = [["sample", "stream", "window starts", "shown", "asked", "observed", "lowest", "highest", "loss"]]
    rows += [
        [str(f.sample), f.stream, f.starts, str(f.shown), str(f.asked), f"{f.observed:.0%}"]
        + [f"{value:.3g}" for value in (f.lowest, f.highest, f.loss)]
        for f in look_at_samples(run, step)
    ]
    print_table(f"step {step}, values in standard deviations from climatology", rows)


@app.command()
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
    from statecast import jobs

    evaluation = jobs.evaluate(
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


@app.command()
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
    from statecast import jobs

    jobs.predict(run, store, init, steps, stores=by_stream(stores), members=members, out=out, overwrite=overwrite)
    print(f"forecast: {out}")


@app.command()
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
    from statecast import jobs

    own = by_stream(stores)
    jobs.complete(run, store, period, stores=own, members=members, out=out, overwrite=overwrite, progress=not quiet)
    print(f"completed: {out}")


@app.command()
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
    from statecast import jobs
    from statecast.explain.sensitivity import read_members

    jobs.explain(
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


@data.command()
def describe(
    store: Annotated[str, typer.Argument(help=STORE_HELP)],
) -> None:
    """What is in STORE: variables, levels, grid, times, gaps."""
    from statecast.sources import open_fields
    from statecast.sources.describe import describe as describe_dataset

    Console().print(describe_dataset(open_fields(store)))


@data.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Zarr store to write; an unfinished one of the same options is continued.")],
    days: Annotated[float | None, typer.Option(help="Days to simulate.")] = None,
    years: Annotated[float | None, typer.Option(help="Years to simulate, of 365.25 days.")] = None,
    truncation: Annotated[int, typer.Option(help="21, 31 or 42: 32 x 64, 48 x 96 or 64 x 128 points.")] = 31,
    start: Annotated[str, typer.Option(help="Date of the first step; the season follows it.")] = "2000-01-01",
    seed: Annotated[int, typer.Option(help="Another seed is other weather in the same climate.")] = 0,
    levels: Annotated[
        list[float] | None, typer.Option("--level", help="Pressure level in hPa; repeat for several.")
    ] = None,
    interval_h: Annotated[int, typer.Option(help="Hours between steps.")] = 6,
    spin_up_days: Annotated[int, typer.Option(help="Days that the model runs before the first step.")] = 120,
    physics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            help="Another value of a SPEEDY parameter, such as convection.trcnv=12; repeat for several.",
        ),
    ] = None,
    restart_days: Annotated[
        float,
        typer.Option(help="Start again every so many days from the run with the usual physics: an imperfect model."),
    ] = 0.0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a global atmosphere straight to a CF Zarr store; resumable (needs the extra `sim`)."""
    from statecast.sources.simulate import SimulationError
    from statecast.sources.simulate import simulate as run

    if (days is None) == (years is None):
        raise SimulationError("give the length of the simulation by --days or --years, one of them.")
    length = days if days is not None else 365.25 * (years or 0.0)
    run(
        out,
        days=length,
        truncation=truncation,
        start=start,
        seed=seed,
        levels_hpa=levels or (500, 850),
        interval_h=interval_h,
        spin_up_days=spin_up_days,
        physics=numbers(physics, "--physics", "NAME=NUMBER, for example convection.trcnv=12"),
        restart_days=restart_days,
        overwrite=overwrite,
        progress=not quiet,
    )
    print(f"store: {out}")
