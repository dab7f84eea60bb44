"""Commands that make a store from an archive, and add later times to it."""

from pathlib import Path
from typing import Annotated

import typer

from statecast.cli.options import Overrides, Overwrite, Quiet
from statecast.messages import quoted

Cluster = Annotated[
    str | None,
    typer.Option(
        help="Address of a dask.distributed scheduler that does the work; threads of this process if not given."
    ),
]


def prepare(
    spec: Annotated[
        str, typer.Argument(help="YAML file, or the name of a spec that ships with statecast; see docs/prepare.md.")
    ],
    out: Annotated[Path, typer.Option(help="Zarr store to write; an unfinished one of the same spec is continued.")],
    overrides: Overrides = None,
    paths: Annotated[
        list[str] | None,
        typer.Option("--from", help="File, directory, pattern in quotes or URL of the inputs; repeat for several."),
    ] = None,
    cluster: Cluster = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make a store for training from NetCDF, GRIB, HDF5, Zarr or Icechunk data of any layout, as SPEC says; resumable."""
    from statecast.fields.prepare import SpecError, read_spec
    from statecast.fields.prepare import prepare as run

    if stray := [text for text in overrides or () if "=" not in text]:
        raise SpecError(
            f"{quoted(stray[0])} is no key=value. Is it an input? Give --from for each, or a pattern in quotes: --from 'era5/*.nc'."
        )
    run(read_spec(spec, overrides or (), paths or ()), out, cluster=cluster, overwrite=overwrite, progress=not quiet)
    print(f"store: {out}")


def append(
    store: Annotated[Path, typer.Argument(help="Store that `data prepare` made.")],
    new: Annotated[list[str], typer.Argument(help="Inputs with later times: files, directories, patterns or URLs.")],
    cluster: Cluster = None,
) -> None:
    """Add the later times of NEW to STORE, by the spec that made it; nothing in it is rewritten, its statistics stay."""
    from statecast.fields.prepare import append as run

    count = run(store, new, cluster=cluster)
    print(f"store: {store}: {count} times added")
