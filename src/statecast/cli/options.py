"""Options that several commands share, and what is read from their texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from statecast.fields.samples import SAMPLES

STORE_HELP = f"Zarr store, NetCDF file, or a sample ({', '.join(SAMPLES)})."

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands at the output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Out = Annotated[Path, typer.Option(help="Directory to write, which must not exist yet.")]
Store = Annotated[str, typer.Option("--data", help=STORE_HELP)]
OwnStores = Annotated[
    list[str] | None,
    typer.Option(
        "--store", help="STREAM=STORE of a stream that lies elsewhere than --data, if not where it lay in training."
    ),
]
AskedStations = Annotated[
    str | None,
    typer.Option(
        "--stations",
        metavar="TABLE",
        help="Answer at the stations of a CSV, Parquet or NetCDF table, which need no reports; --out is a NetCDF file.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Recipe keys to change, for example training.steps=500."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, or start if there is none.")]
AllowChanges = Annotated[bool, typer.Option("--allow-changes", help="Resume although the recipe has changed.")]
Every = Annotated[int | None, typer.Option("--every", help="Steps between checkpoints.")]
Keep = Annotated[int | None, typer.Option("--keep", help="Checkpoints that stay.")]
DeviceCount = Annotated[int, typer.Option("--devices", help="Devices of a node, or processes on a CPU.", min=1)]
Nodes = Annotated[int, typer.Option("--nodes", help="Machines; start the command on each by torchrun or srun.", min=1)]
Strategy = Annotated[
    Literal["ddp", "fsdp"], typer.Option("--strategy", help="How devices share the work: fsdp also shards the model.")
]
Period = Annotated[tuple[str, str], typer.Option(help="First and last date, inclusive.")]
DataOfDomain = Annotated[
    str | None,
    typer.Option("--data", help=f"{STORE_HELP} Of other domains: their own file; as in training if not given."),
]
PeriodOfDomain = Annotated[
    tuple[str, str] | None,
    typer.Option("--period", help="First and last date, or sample, inclusive; the validation split if not given."),
]
LastShown = Annotated[str, typer.Option(help="Last time that the model is shown, for example 2001-01-15T00.")]
Members = Annotated[
    int | None, typer.Option(help="Members of the ensemble; all that the model has if not given.", max=10_000)
]
Lattices = Annotated[
    int | None,
    typer.Option(
        help="Fields: token lattices whose answers are averaged, 1, 2 or 4; N take N times as long; as in the recipe if not given."
    ),
]
ArraysOut = Annotated[Path, typer.Option(help="Zarr store to write, or NetCDF file if it ends in .nc.")]


class CommandError(ValueError):
    """Options that don't go together."""


def given(**options: Any) -> dict[str, Any]:
    """Those options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def refuse_given(instead: str, options: Mapping[str, Any]) -> None:
    """Raises CommandError for an option that does not go with another."""
    for name, value in options.items():
        if value is not None:
            raise CommandError(f"{name} does not go with {instead}. Leave one of them out.")


def by_stream(stores: list[str] | None) -> dict[str, str]:
    return _pairs(stores, "--store", "STREAM=STORE, for example europe=sample:europe")


def numbers(texts: list[str] | None, option: str, expected: str) -> dict[str, float]:
    values = {}
    for name, value in _pairs(texts, option, expected).items():
        try:
            values[name] = float(value)
        except ValueError:
            raise CommandError(f"{option} {name}={value}: expected {expected}.") from None
    return values


def _pairs(texts: list[str] | None, option: str, expected: str) -> dict[str, str]:
    """What stands before and after the first `=` of each."""
    parted = [text.partition("=") for text in texts or ()]
    if bad := ["".join(parts) for parts in parted if not (parts[0] and parts[2])]:
        raise CommandError(f"{option} {bad[0]}: expected {expected}.")
    names = [name for name, _, _ in parted]
    if twice := [name for name in names if names.count(name) > 1]:
        raise CommandError(
            f"{option} {twice[0]}: is given {names.count(twice[0])} times, expected once. Leave one out."
        )
    return {name: value for name, _, value in parted}
