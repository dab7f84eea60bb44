"""The inputs of a preparation: files, directories, patterns and URLs, opened lazily; what can't be read is named by input and index."""

import glob
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from statecast.fields.prepare.errors import PrepareError, first_line
from statecast.fields.prepare.guarded import READ_ERRORS, Guarded
from statecast.fields.prepare.spec import SourceOptions
from statecast.fields.sources.opening import open_netcdf, open_zarr

NETCDF_MAGIC, GRIB_MAGIC = (b"CDF", b"\x89HDF"), b"GRIB"
ZARR_METADATA = ("zarr.json", ".zgroup", ".zmetadata")
ICECHUNK_FOLDERS = ("snapshots", "manifests")
DATA_ENDINGS = (".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".he5", ".grib", ".grib1", ".grib2", ".grb", ".grb1", ".grb2")
TABLE_ENDINGS = (".csv", ".parquet", ".txt", ".tsv")
MARGIN = 240  # steps: forecasts of ten days that start before the period reach into it
CHUNK_BYTES = 64 * 2**20  # of a piece that is read at once, unless the input has larger ones


@dataclass(frozen=True)
class Input:
    """One input, and its lazy contents as they are in it."""

    name: str
    dataset: xr.Dataset


def open_inputs(source: SourceOptions, period: tuple[str, str] | None = None) -> list[Input]:
    """The inputs that `source.paths` name, in their order, near `period` if one is given: the graph of a long record is large.

    Raises PrepareError for one that does not exist or can't be opened.
    """
    load_projections()
    return [
        Input(path, part)
        for path in find_inputs(source.paths, source.storage_options)
        for part in open_input(path, source, period)
    ]


def load_projections() -> None:
    """Import pyproj, if it is installed, before anything loads ecCodes, whose wheel brings another PROJ.

    In the other order pyproj finds no database and may crash, so it is left alone then; xarray loads ecCodes at its first `open_dataset`
    where cfgrib is installed.
    """
    if find_spec("pyproj") is not None and not is_too_late_for_pyproj():
        import pyproj  # noqa: F401


def is_too_late_for_pyproj() -> bool:
    return "gribapi" in sys.modules and "pyproj" not in sys.modules


def find_inputs(paths: Sequence[str], storage_options: Mapping[str, Any]) -> list[str]:
    """What `paths` name: patterns and directories as their files, sorted; a Zarr store or an Icechunk repository as it is."""
    if not paths:
        raise PrepareError("source.paths: names no input. Name files, directories, patterns or URLs, or give --from.")
    found = [name for path in paths for name in _find(path, storage_options)]
    if twice := [name for name in found if found.count(name) > 1]:
        raise PrepareError(f"input {twice[0]}: is named {found.count(twice[0])} times, expected once. Leave one out.")
    return found


def _find(path: str, storage_options: Mapping[str, Any]) -> list[str]:
    if "://" in path:
        return _remote_matches(path, storage_options) if glob.has_magic(path) else [path]
    if Path(path).is_dir() and not _is_store(Path(path)):
        found = sorted(_in_directory(Path(path)))
    elif Path(path).exists():
        return [path]
    else:
        found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207  a pattern may begin anywhere
    if not found:
        raise PrepareError(
            f"input {path}: there is no such file, and no directory or pattern with NetCDF, GRIB, HDF5 or Zarr data. Check the path."
        )
    return found


def _remote_matches(path: str, storage_options: Mapping[str, Any]) -> list[str]:
    import fsspec

    try:
        files, _, matches = fsspec.get_fs_token_paths(path, storage_options=dict(storage_options))
        found = [files.unstrip_protocol(match) for match in sorted(matches)]
    except (*READ_ERRORS, ImportError) as error:
        raise _unreadable(path, error) from error
    if not found:
        raise PrepareError(f"input {path}: no object matches. Check the pattern.")
    return found


def _in_directory(folder: Path) -> Iterator[str]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from [str(path)] if _is_store(path) else _in_directory(path)
        elif path.suffix.lower() in DATA_ENDINGS:
            yield str(path)


def _is_store(path: Path) -> bool:
    return any((path / name).exists() for name in ZARR_METADATA) or _is_icechunk(path)


def _is_icechunk(path: Path) -> bool:
    return all((path / name).is_dir() for name in ICECHUNK_FOLDERS)


def open_input(path: str, source: SourceOptions, period: tuple[str, str] | None = None) -> list[xr.Dataset]:
    """One input, lazily; several parts if its variables lie on different levels (GRIB). Raises PrepareError if it can't be opened."""
    try:
        return [_guarded(part, path, _near(part, period)) for part in _raw(path, source)]
    except PrepareError:
        raise
    except (*READ_ERRORS, ImportError) as error:
        raise _unreadable(path, error) from error


def _raw(path: str, source: SourceOptions) -> list[xr.Dataset]:
    options: dict[str, Any] = {"decode_coords": "all"}
    options |= {"decode_timedelta": False} if source.layout != "cf" else {"decode_timedelta": True}
    if "://" in path:
        if path.lower().endswith(DATA_ENDINGS):
            return _of_file(_fetched(path, source.storage_options), path, source, options)
        return [_of_zarr(path, source, options)]
    if _is_icechunk(Path(path)):
        return [xr.open_zarr(_icechunk_store(path), group=source.group, consolidated=False, **options)]
    if Path(path).is_dir() or path.endswith(".zip"):
        return [_of_zarr(path, source, options)]
    return _of_file(path, path, source, options)


def _of_zarr(path: str, source: SourceOptions, options: Mapping[str, Any]) -> xr.Dataset:
    return open_zarr(path, source.absent_chunks, source.storage_options, group=source.group, **options)


def _of_file(local: str, name: str, source: SourceOptions, options: Mapping[str, Any]) -> list[xr.Dataset]:
    with Path(local).open("rb") as file:
        start = file.read(4)
    if start == GRIB_MAGIC:
        return _of_grib(local)
    if name.lower().endswith(TABLE_ENDINGS):
        raise PrepareError(
            f"input {name}: is a table, expected fields. Stations are a stream of their own, see docs/stations.md."
        )
    if not start.startswith(NETCDF_MAGIC):
        raise PrepareError(
            f"input {name}: begins with {start!r}, expected NetCDF, HDF5 or GRIB. Unpack it if it is compressed, or leave it out."
        )
    dataset = open_netcdf(local, source.group, "netcdf4", **options)
    if not dataset.data_vars and source.group is None and (groups := _groups(local)):
        raise PrepareError(
            f"input {name}: has no variables at its root, but groups: {', '.join(groups)}. Name one by source.group."
        )
    return [dataset]


def _groups(path: str) -> list[str]:
    import netCDF4

    with netCDF4.Dataset(path) as file:
        return list(file.groups)


def _of_grib(path: str) -> list[xr.Dataset]:
    if find_spec("cfgrib") is None:
        raise PrepareError(f"input {path}: is GRIB, which needs cfgrib. Install statecast with the extra `grib`.")
    import cfgrib

    with catch_warnings():  # cfgrib merges with defaults that xarray is about to change
        filterwarnings("ignore", category=FutureWarning)
        parts = cfgrib.open_datasets(path, backend_kwargs={"indexpath": "", "read_keys": ["uvRelativeToGrid"]})
    return [
        part.drop_vars(
            [n for n in part.coords if not part[n].dims and n not in ("time", "step", "valid_time", *_LEVELS)]
        )
        for part in parts
    ]


_LEVELS = ("isobaricInhPa", "isobaricInPa", "hybrid")


def _icechunk_store(path: str) -> Any:
    if find_spec("icechunk") is None:
        raise PrepareError(f"input {path}: is an Icechunk repository. Install statecast with the extra `icechunk`.")
    import icechunk

    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(path))
    return repository.readonly_session("main").store


def _fetched(path: str, storage_options: Mapping[str, Any]) -> str:
    """A local copy of a remote file, which stays until the process ends."""
    import fsspec

    protocol = path.split("://")[0]
    return str(fsspec.open_local(f"simplecache::{path}", **{protocol: dict(storage_options)}))


def _unreadable(path: str, error: BaseException) -> PrepareError:
    remedy = "Replace it, or leave it out."
    if isinstance(error, ImportError):
        remedy = "Install statecast with the extra `cloud`."
    elif "credential" in str(error).lower():
        remedy = "Give credentials, or source.storage_options={anon: true} for a public bucket."
    return PrepareError(f"input {path}: cannot be opened ({first_line(error)}). {remedy}")


def _near(dataset: xr.Dataset, period: tuple[str, str] | None) -> dict[str, slice]:
    """The part of the time axis in a period, and `MARGIN` steps around it, from which amounts and coarser steps are made."""
    times = [
        str(n)
        for n, index in dataset.indexes.items()
        if isinstance(index, pd.DatetimeIndex) and index.is_monotonic_increasing
    ]
    if not period or len(times) != 1:
        return {}
    try:
        found = dataset.indexes[times[0]].slice_indexer(*period)
    except (ValueError, TypeError, KeyError):
        return {}  # what is wrong with the period is said where it is applied
    return {times[0]: slice(max(0, found.start - MARGIN), found.stop + MARGIN)} if found.stop > found.start else {}


def _guarded(dataset: xr.Dataset, name: str, near: Mapping[str, slice]) -> xr.Dataset:
    dataset = dataset.isel(near)
    arrays = {}
    for key, array in dataset.data_vars.items():
        if array.size == 0 or not array.dims or array.dtype.kind not in "fiub":
            continue
        guarded = Guarded(
            array.variable, near[str(array.dims[0])].start if str(array.dims[0]) in near else 0, name, str(key)
        )
        meta = np.empty((0,) * array.ndim, array.dtype)
        # without a name, dask would make one from the contents: it would read all of them
        lazy = da.from_array(guarded, chunks=_chunks(array), name=False, asarray=False, meta=meta)
        arrays[key] = (array.dims, lazy, array.attrs)
    return dataset.assign(arrays)


def _chunks(array: xr.DataArray) -> tuple[int, ...]:
    """Whole chunks of the input along its first dimension, as many as `CHUNK_BYTES` hold, and all of the others."""
    stored = array.encoding.get("preferred_chunks") or dict(
        zip(array.dims, array.encoding.get("chunks") or (), strict=False)
    )
    first = str(array.dims[0]) if array.dims else ""
    per_step = max(1, array.nbytes // max(1, array.sizes.get(first, 1)))
    unit = int(stored.get(first, 1) or 1)
    steps = max(1, CHUNK_BYTES // (per_step * unit)) * unit
    return tuple(min(steps, n) if str(d) == first else n for d, n in array.sizes.items())
