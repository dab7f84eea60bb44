"""Reading of values, and what to say when a part of a store can't be read: which variable, when, and which chunk."""

from itertools import islice, product
from typing import Any

import numpy as np
import xarray as xr

from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.opening import open_raw

MOST_CHUNKS = 1000  # that are tried when the broken one is looked for


def values_of(array: xr.DataArray, along: str = "time") -> np.ndarray:
    """The values of an array. Raises StoreError in one line if a part of them can't be read, with the first such time `along` it."""
    try:
        return array.values
    except StoreError as error:
        raise StoreError(f"{error} It is needed{_as_text(_unreadable_time(array, along))}.") from error
    except MemoryError:
        raise
    except Exception as error:
        reason, time = " ".join(str(error).split())[:120] or type(error).__name__, _unreadable_time(array, along)
        raise StoreError(
            f"variable '{array.name}' can't be read{_as_text(time)}{_chunk(array, time)} ({reason}). "
            "The store is damaged there: replace that part, or name a period without it."
        ) from error


def _unreadable_time(array: xr.DataArray, along: str) -> Any:
    """The first time at which an array can't be read, chunk by chunk, then step by step; None if it has no time."""
    if along not in array.coords:
        return None
    length = int((array.encoding.get("preferred_chunks") or {}).get(along, 1))
    steps = range(array.sizes.get(along, 0))
    for first in steps[::length]:
        chunk = steps[first : first + length]
        if not _is_readable(array.isel({along: chunk})):
            return next(
                (array[along].values[step] for step in chunk if not _is_readable(array.isel({along: step}))),
                array[along].values[first],
            )
    return np.atleast_1d(array[along].values)[0]


def _as_text(time: Any) -> str:
    if time is None:
        return ""
    return f" at {np.datetime_as_string(time, 's') if isinstance(time, np.datetime64) else time}"


def _chunk(array: xr.DataArray, time: Any) -> str:
    """The number of the chunk along each dimension of the store; nothing if the store can't tell."""
    source = array.encoding.get("source")
    if source is None:
        return ""
    dataset = open_raw(str(source))
    if array.name not in dataset:  # it was renamed
        return ""
    stored = dataset[str(array.name)]
    chunks = stored.encoding.get("preferred_chunks") or {}
    sizes = [int(chunks.get(dim, size)) for dim, size in stored.sizes.items()]
    counts = [range(-(-size // chunk)) for size, chunk in zip(stored.shape, sizes, strict=True)]
    for axis, dim in enumerate(stored.dims):
        if time is not None and dim in stored.coords and (stored[dim].values == time).any():
            first = int((stored[dim].values == time).argmax()) // sizes[axis]
            counts[axis] = range(first, first + 1)
    for at in islice(product(*counts), MOST_CHUNKS):
        part = {dim: slice(i * n, (i + 1) * n) for dim, i, n in zip(stored.dims, at, sizes, strict=True)}
        if not _is_readable(stored.isel(part)):
            return f", chunk {'.'.join(map(str, at))}"
    return ""


def _is_readable(part: xr.DataArray) -> bool:
    try:
        _ = part.values
    except Exception:  # noqa: BLE001  it is looked for
        return False
    return True
