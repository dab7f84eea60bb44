"""Commands that train a model, and those that tell what a training costs and what it was shown."""

from typing import Annotated

import typer
from rich.console import Console

from statecast.cli.options import (
    AllowChanges,
    CommandError,
    DeviceCount,
    Every,
    Keep,
    Nodes,
    Out,
    Overrides,
    Overwrite,
    OwnStores,
    Quiet,
    Resume,
    Strategy,
    by_stream,
)
from statecast.cli.printing import print_path, print_table, print_tables


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
    from statecast import runs
    from statecast.training import Devices

    runs.pretrain(
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
    from statecast import runs
    from statecast.training import Devices

    runs.finetune(
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
    from statecast.fields.continual import update as run_update
    from statecast.fields.evaluation.skill import skill_tables
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
        print_tables(skill_tables(found, before=f"{period} period, "))
    print_path("model", out / "model")


def samples(
    run: Annotated[str, typer.Argument(help="Run directory, finished or not (RUN.unfinished).")],
    *,
    step: Annotated[int, typer.Option(help="Step of the training, from 0.")],
) -> None:
    """The samples of one training step, as the run drew them: when, how much, which values, which loss."""
    from statecast.inspection import look_at_samples

    rows = [["sample", "stream", "window", "shown", "asked", "observed", "lowest", "highest", "loss"]]
    rows += [
        [str(f.sample), f.stream, f.window, str(f.shown), str(f.asked), f"{f.observed:.0%}"]
        + [f"{value:.3g}" for value in (f.lowest, f.highest, f.loss)]
        for f in look_at_samples(run, step)
    ]
    print_table(f"step {step}, values in standard deviations from climatology", rows)


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
    from statecast.costs import assume, cost_tables, estimate, require_sane, size_of, training_flops

    if recipe is not None and (params or tokens):
        raise CommandError("give a recipe, or --params and --tokens, not both.")
    if recipe is None and device_hours is None and (params is None or tokens is None):
        raise CommandError("give a recipe, or --params and --tokens, or --device-hours.")
    require_sane("samples", samples)  # before the sizes of a large model are computed
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
