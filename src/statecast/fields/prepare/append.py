"""`statecast data append`: later times at the end of a prepared store, without rewriting what it holds.

The new values are written first, beyond the end that the metadata tell; then the metadata of the root, which readers take for the truth,
are replaced at once. Killed at any point, the store is the old one or the new one.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from statecast.fields.prepare import store as stores
from statecast.fields.prepare.errors import PrepareError
from statecast.fields.prepare.fields import fields_of
from statecast.fields.prepare.inputs import open_inputs
from statecast.fields.prepare.layouts import SAME_PLACE
from statecast.fields.prepare.prepare import workers, write_part
from statecast.fields.prepare.spec import Spec
from statecast.fields.prepare.times import calendar_of, seconds_of
from statecast.fields.sources import Times, open_fields
from statecast.fields.sources.step import Step, step_of
from statecast.fields.sources.times import TimeIndex
from statecast.fields.sources.units import are_same, are_unknown, converted

ROOT = "zarr.json"
METADATA_KEY = "consolidated_metadata"


def append(store: str | Path, new: Sequence[str], *, cluster: str | None = None) -> int:
    """Add the times of the inputs `new` to a prepared store by the spec that made it, and return how many they are.

    The statistics stay those of the preparation. A missing stretch between the end of the store and the new times stays a gap.
    Raises PrepareError if the store was not prepared, and for new times that overlap, another step, grid, calendar or units.
    """
    path = Path(store)
    spec = spec_of(path)
    _mend(path)
    old = open_fields(path)
    given = spec.source.model_copy(update={"paths": tuple(new)})
    changing = {name: options for name, options in spec.variables.items() if "time" in old.get(name, old["time"]).dims}
    whole = spec.model_copy(update={"source": given, "period": None, "variables": changing})
    units = {str(name): str(array.attrs.get("units", "")) for name, array in old.data_vars.items()}
    added = converted(fields_of(open_inputs(given), whole), units, "as the store is")
    _require_fit(path, old, added)
    try:
        with workers(cluster):
            _write(path, old.sizes["time"], added, spec)
    except OSError as error:
        raise stores.unwritable(path, error) from error
    return int(added.sizes["time"])


def spec_of(path: Path) -> Spec:
    """The spec that made a store. Raises PrepareError if there is none."""
    try:
        text = json.loads((path / ROOT).read_text(encoding="utf-8"))["attributes"][stores.PREPARATION]
        return Spec.model_validate_json(text)
    except (OSError, KeyError, ValueError):
        raise PrepareError(
            f"store {path}: was not made by `statecast data prepare`, expected one that was. Prepare it first."
        ) from None


def _require_fit(path: Path, old: xr.Dataset, added: xr.Dataset) -> None:
    for name in ("lat", "lon", "level"):
        if name not in old.coords and name not in added.coords:
            continue
        there, new = (d[name].values if name in d.coords else np.empty(0) for d in (old, added))
        if there.shape != new.shape or not np.allclose(there, new, atol=SAME_PLACE, rtol=0):
            raise _refused(
                path, f"{name} has {_span(new)} in the new inputs, expected {_span(there)}. Prepare them apart."
            )
    if missing := [str(name) for name, array in old.data_vars.items() if "time" in array.dims and name not in added]:
        raise _refused(
            path,
            f"the new inputs have no '{missing[0]}', expected all of {', '.join(map(str, old.data_vars))}. Add its input.",
        )
    for variable in old.data_vars:
        have, units = (str(d[variable].attrs.get("units", "")) if variable in d else "" for d in (added, old))
        if (variable in added and are_unknown(have) != are_unknown(units)) or not are_same(have, units):
            raise _refused(path, f"'{variable}' is in '{have}' in the new inputs, expected '{units}'. Convert it.")
    _require_later(path, old["time"], added["time"])


def _span(values: np.ndarray) -> str:
    return f"{len(values)} values from {values[0]:g} to {values[-1]:g}" if len(values) else "no values"


def _require_later(path: Path, old: xr.DataArray, new: xr.DataArray) -> None:
    if calendar_of(old) != calendar_of(new):
        raise _refused(
            path, f"the calendar of the new inputs is {calendar_of(new)}, expected {calendar_of(old)}. Convert them."
        )
    before, after = seconds_of(old), seconds_of(new)
    if after[0] <= before[-1]:
        raise _refused(
            path,
            f"the new times begin at {new.values[0]}, which is not after its end, {old.values[-1]}. Give inputs of later times only.",
        )
    if len(before) > 1:
        _require_step(path, old.indexes["time"], new.indexes["time"])


def _require_step(path: Path, old: TimeIndex, new: TimeIndex) -> None:
    step = step_of(Times(old))
    end_and_new = Times(old).at([Times(old).ticks[-1], *Times(new).ticks])
    intervals, length = step.intervals(Times(end_and_new))
    values, counts = np.unique(intervals[1:], return_counts=True)
    most = int(values[counts.argmax()]) if len(values) else length
    if (intervals % length).any() or most != length:
        there = (
            Step(months=most) if step.months and most else Step(ticks=int(np.diff(Times(new).ticks).min(initial=most)))
        )
        raise _refused(path, f"the step of the new times is {there}, expected {step} on the same hours. Set every_h.")


def _refused(path: Path, reason: str) -> PrepareError:
    return PrepareError(f"store {path}: {reason}")


def _write(path: Path, first: int, added: xr.Dataset, spec: Spec) -> None:
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    steps = first + added.sizes["time"]
    for name, array in added.data_vars.items():
        if "time" not in array.dims or str(name) not in group:
            continue
        target = stores.extended(group, str(name), steps)
        for block in _blocks(first, steps, spec):
            for levels in stores.levels_together(array, spec.store, block.stop - block.start):
                write_part(target, array, slice(block.start - first, block.stop - first), levels, spec, first)
    stores.extended(group, "time", steps)[first:] = seconds_of(added["time"])
    root = json.loads((path / ROOT).read_text(encoding="utf-8"))
    for name, metadata in root[METADATA_KEY]["metadata"].items():
        if metadata.get("dimension_names") and metadata["dimension_names"][:1] == ["time"] and "/" not in name:
            metadata["shape"][0] = steps
    stores.write_json(path / ROOT, root)  # from here on, the new times are there
    _mend(path)


def _blocks(first: int, steps: int, spec: Spec) -> list[slice]:
    """The new steps in parts that end where a shard ends."""
    size = stores.steps_of_shard(spec.store)
    ends = [*range((first // size + 1) * size, steps, size), steps]
    starts = [first, *ends[:-1]]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]


def _mend(path: Path) -> None:
    """Give each array the metadata that the root has of it; they differ after an append that was killed at its end."""
    root: dict[str, Any] = json.loads((path / ROOT).read_text(encoding="utf-8"))
    for name, metadata in (root.get(METADATA_KEY) or {}).get("metadata", {}).items():
        file = path / name / ROOT
        if (
            metadata.get("node_type") == "array"
            and json.loads(file.read_text(encoding="utf-8")).get("shape") != metadata["shape"]
        ):
            stores.write_json(file, metadata)
