"""Which spec fits data that can't be used as they are: named when they are refused."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xarray as xr

from statecast.fields.prepare.errors import PrepareError
from statecast.fields.prepare.inputs import find_inputs, open_input
from statecast.fields.prepare.spec import SourceOptions, read_spec, shipped_specs
from statecast.fields.sources.fields import StoreError
from statecast.fields.sources.places import REGRID

GENERAL = "cf"


@contextlib.contextmanager
def naming_the_spec(data: Any) -> Iterator[None]:
    """Adds to the StoreError of data that are refused the command that makes a store of them, if a spec fits."""
    try:
        yield
    except StoreError as error:
        name = None if isinstance(data, xr.Dataset) else fitting_spec(str(data))
        is_other_grid = REGRID in str(error) and "stations" not in str(error)
        name = GENERAL if name is None and is_other_grid and not isinstance(data, xr.Dataset) else name
        if name is None:
            raise
        command = f"statecast data prepare {name} --from {data} --out STORE"
        raise type(error)(f"{error} Spec {name} fits: `{command}`.") from None


def fitting_spec(data: str) -> str | None:
    """The name of the spec that fits; `cf` for several or other files that can be opened, None if nothing can."""
    if "://" in data or data.startswith("sample:"):
        return None
    try:
        paths = find_inputs([data], {})
        dataset = open_input(paths[0], SourceOptions())[0]
    except PrepareError:
        return None
    have = {str(n) for n in (*dataset.variables, *dataset.dims, *dataset.attrs)}
    have |= {str(v.attrs["grid_mapping_name"]) for v in dataset.variables.values() if "grid_mapping_name" in v.attrs}
    for name in shipped_specs():
        if any(set(names) <= have for names in read_spec(name).fits):
            return name
    is_other = len(paths) > 1 or Path(data).is_dir() or not dataset.data_vars
    return GENERAL if is_other or Path(paths[0]).suffix not in (".nc", ".zarr") else None
