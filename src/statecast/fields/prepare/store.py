"""The arrays of a prepared store: Zarr v3, cut for random windows, gathered into shards. Axes: T time, L level, H row, W column."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from warnings import catch_warnings, filterwarnings

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from statecast.fields.prepare.errors import PrepareError, first_line
from statecast.fields.prepare.spec import LayoutOptions, Spec
from statecast.fields.prepare.times import EPOCH_UNITS, calendar_of, seconds_of

CHUNK_BYTES = 2**20  # of a chunk before compression: levels are gathered up to this
READ_BYTES = 2**29  # of the levels of a variable that are computed at once
WITH_LEAP_DAYS = ("standard", "gregorian", "proleptic_gregorian")  # calendars in which CF asks about leap seconds
TIMES_PER_CHUNK = 65536
MANTISSA_BITS = 23
PREPARATION = "preparation"
"""Attribute of a store with the spec that made it, as JSON."""


def create(path: Path, dataset: xr.Dataset, spec: Spec, about: dict[str, Any]) -> None:
    """An empty store of the shape of `dataset`, with its coordinates; replaces what stands there."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs.update(about)
    for name in ("lat", "lon", "level"):
        if name in dataset.coords:
            values = dataset[name].values.astype(np.float64)
            _small(group, name, values, (name,), dict(dataset[name].attrs))
    steps = dataset.sizes.get("time", 0)
    for key, array in dataset.data_vars.items():
        _create_array(group, str(key), array, spec)
    times: dict[str, Any] = {
        "standard_name": "time",
        "axis": "T",
        "units": EPOCH_UNITS,
        "calendar": calendar_of(dataset["time"]),
    }
    if times["calendar"] in WITH_LEAP_DAYS:
        times["units_metadata"] = "leap_seconds: unknown"
    in_time = group.create_array(
        "time", shape=(steps,), dtype=np.int64, chunks=(TIMES_PER_CHUNK,), dimension_names=("time",), attributes=times
    )
    in_time[:] = seconds_of(dataset["time"])


def _small(group: zarr.Group, name: str, values: np.ndarray, dims: tuple[str, ...], attrs: dict[str, Any]) -> None:
    chunks = tuple(max(1, n) for n in values.shape)
    group.create_array(name, data=values, chunks=chunks, dimension_names=dims, attributes=attrs)


def _create_array(group: zarr.Group, name: str, array: xr.DataArray, spec: Spec) -> None:
    options = spec.variables.get(name)
    bits = (options.keep_bits if options else None) or spec.store.keep_bits
    chunks, shards = layout(array, spec.store)
    group.create_array(
        name,
        shape=array.shape,
        dtype=np.float32,
        chunks=chunks,
        shards=shards,
        compressors=BloscCodec(
            cname="zstd", clevel=5, shuffle="bitshuffle" if bits < MANTISSA_BITS else "shuffle", typesize=4
        ),
        fill_value=np.nan,
        dimension_names=tuple(map(str, array.dims)),
        attributes={**array.attrs, "precision": precision(bits)},
    )


def layout(array: xr.DataArray, options: LayoutOptions) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Chunks, about half a window in each direction, and shards: the whole grid of some steps, and of the levels of a chunk."""
    of = dict(zip(("time", "lat", "lon"), options.window, strict=True))
    chunks = {d: min(of[d], array.sizes[d]) if d != "time" else of[d] for d in of if d in array.dims}
    if "level" in array.dims:
        chunks["level"] = min(array.sizes["level"], max(1, CHUNK_BYTES // (4 * int(np.prod(list(chunks.values()))))))
    shards = {d: -(-array.sizes[d] // n) * n for d, n in chunks.items() if d != "level"}
    if "time" in chunks:
        shards["time"] = steps_of_shard(options)
    shards |= {"level": chunks["level"]} if "level" in chunks else {}
    dims = [str(d) for d in array.dims]
    return tuple(chunks[d] for d in dims), tuple(shards[d] for d in dims)


def steps_of_shard(options: LayoutOptions) -> int:
    return -(-options.steps_per_shard // options.window[0]) * options.window[0]


def precision(bits: int) -> str:
    """The precision of an array in words."""
    if bits >= MANTISSA_BITS:
        return "float32"
    return f"float32 rounded to {bits} bits of the mantissa, relative error at most {2.0 ** -(bits + 1):.2g}"


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """Float32 values with the last bits of the mantissa rounded to zero, to the nearest, ties to even (Zender 2016; Klöwer et al. 2021)."""
    if bits >= MANTISSA_BITS:
        return values
    drop = MANTISSA_BITS - bits
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1)
    nearest = (raw + half + ((raw >> np.uint32(drop)) & np.uint32(1))) & ~np.uint32((1 << drop) - 1)
    return np.where(np.isfinite(values), nearest.view(np.float32), values)


def levels_together(array: xr.DataArray, options: LayoutOptions, steps: int) -> list[slice]:
    """The levels of a variable in parts that are computed and written together, whole shards each."""
    if "level" not in array.dims:
        return [slice(0, 1)]
    chunk = layout(array, options)[0][array.dims.index("level")]
    per_chunk = 4 * steps * chunk * array.sizes["lat"] * array.sizes["lon"]
    size = chunk * max(1, READ_BYTES // max(1, per_chunk))
    return [slice(first, min(first + size, array.sizes["level"])) for first in range(0, array.sizes["level"], size)]


def extended(group: zarr.Group, name: str, steps: int) -> zarr.Array:
    """An array as if it had so many steps already; its metadata in the store stay as they are."""
    array = cast(zarr.Array, group[name])
    metadata = replace(array.metadata, shape=(steps, *array.shape[1:]))
    inner = zarr.AsyncArray(metadata=metadata, store_path=array.store_path, config=array.async_array.config)
    return zarr.Array(inner)


def consolidate(path: Path) -> None:
    """Gather the metadata of all arrays in the root, which readers take for the truth."""
    with catch_warnings():
        filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(path, zarr_format=3)


def write_json(path: Path, values: Any) -> None:
    """Write JSON so that a reader, or a killed process, finds the old or the new file, never a part."""
    aside = path.with_name(f".{path.name}.new")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(values, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def unwritable(out: Path, error: OSError) -> PrepareError:
    """What to say of an output that can't be written."""
    remedy = "Free some" if error.errno == errno.ENOSPC else "Mend it"
    return PrepareError(
        f"{out}: cannot be written ({first_line(error)}). {remedy}, and run the same command again: it goes on."
    )
