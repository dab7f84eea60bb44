"""Statistics of cases on disk: an interrupted verification goes on, and parts of one are put together, exactly.

Axes: S case, R rank; *A are the axes of a domain.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from statecast.evaluation.loop import Scored
from statecast.evaluation.scores import Scores
from statecast.evaluation.verification import LabelAxis, Verification

RANKS = "rank_histogram"
SETTINGS = "settings"


class PartError(ValueError):
    """Parts of a verification that don't belong together, or that can't be read."""


@dataclass(frozen=True)
class KeptCases:
    """What was scored of each case, in a file of its own that appears when it is complete."""

    folder: Path

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*.npz"))

    def of(self, case: str, score: Callable[[], Iterable[Scored]]) -> list[Scored]:
        """As it was kept under the name of the case, else as `score` says now, which is kept."""
        path = self.folder / f"{case}.npz"
        if path.exists():
            return _read_case(path)
        scored = list(score())
        _write_case(scored, path)
        return scored


def _write_case(scored: Sequence[Scored], path: Path) -> None:
    arrays: dict[str, np.ndarray] = {}
    about = []
    for number, each in enumerate(scored):
        arrays |= {f"{number}/{name}": values for name, values in each.statistics.items()}
        if each.ranks is not None:
            arrays[f"{number}/{RANKS}"] = each.ranks
        axes = [asdict(axis) for axis in each.axes]
        about.append({"task": each.task, "forecast": each.forecast, "axes": axes, "members": each.members})
    aside = path.with_suffix(".part")
    with aside.open("wb") as file:
        np.savez(file, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _read_case(path: Path) -> list[Scored]:
    with np.load(path) as arrays:
        scored = []
        for number, about in enumerate(json.loads(str(arrays["about"]))):
            names = [key.partition("/")[2] for key in arrays.files if key.startswith(f"{number}/")]
            values = {name: arrays[f"{number}/{name}"] for name in names}
            ranks = values.pop(RANKS, None)
            axes = _axes(about["axes"])
            scored.append(Scored(about["task"], about["forecast"], axes, values, about["members"], ranks))
    return scored


def _axes(documents: Sequence[Mapping[str, Any]]) -> tuple[LabelAxis, ...]:
    axes = []
    for document in documents:
        labels = {key: tuple(values) for key, values in document["labels"].items()}
        coords = {key: tuple(values) for key, values in document["coords"].items()}
        axes.append(LabelAxis(document["name"], labels, coords))
    return tuple(axes)


def write_statistics(verifications: Sequence[Verification], settings: Mapping[str, Any], path: Path) -> None:
    """Write the statistics of each case: what `joined` needs. A group for each task and forecast, and the `settings` of them all."""
    groups = {"/": xr.Dataset(attrs={SETTINGS: json.dumps(settings)})}
    for number, verification in enumerate(verifications):
        groups[f"/{number}"] = _as_dataset(verification)
    xr.DataTree.from_dict(groups).to_netcdf(path)


def _as_dataset(verification: Verification) -> xr.Dataset:
    dims = tuple(axis.name for axis in verification.axes)
    arrays: dict[str, Any] = {name: (("case", *dims), values) for name, values in verification.statistics.items()}
    if verification.ranks is not None:
        arrays[RANKS] = ((*dims, "rank"), verification.ranks)
    coords: dict[str, Any] = {"position": ("case", verification.positions)}
    for axis in verification.axes:
        coords |= axis.coordinates()
    about = {name: getattr(verification, name) for name in ("forecast", "task", "members", "decorrelation")}
    axes = json.dumps([asdict(axis) for axis in verification.axes])
    return xr.Dataset(arrays, coords, {**about, "axes": axes})


def read_statistics(path: Path, scores: Scores) -> tuple[list[Verification], dict[str, Any]]:
    """What `write_statistics` wrote. Raises PartError for anything else."""
    try:
        with xr.open_datatree(path, engine="netcdf4") as tree:
            settings = json.loads(tree.attrs[SETTINGS])
            groups = sorted(tree.children, key=int)
            return [_as_verification(tree[name].to_dataset().load(), scores) for name in groups], settings
    except (OSError, ValueError, KeyError) as error:
        raise PartError(
            f"{path}: holds no statistics of a verification. Give directories that `statecast verify` wrote."
        ) from error


def _as_verification(dataset: xr.Dataset, scores: Scores) -> Verification:
    about, axes = dataset.attrs, _axes(json.loads(dataset.attrs["axes"]))
    statistics = {str(name): array.values for name, array in dataset.data_vars.items() if name != RANKS}
    ranks = dataset[RANKS].values if RANKS in dataset else None
    positions, decorrelation = dataset["position"].values, float(about["decorrelation"])
    return Verification(
        about["forecast"],
        about["task"],
        axes,
        statistics,
        positions,
        decorrelation,
        int(about["members"]),
        scores,
        ranks,
    )


def joined(parts: Sequence[Sequence[Verification]], names: Sequence[str]) -> list[Verification]:
    """The verification of all cases of several parts, as if they had been verified in one go.

    names  of the parts, for messages

    Raises PartError for parts of other forecasts, axes or members, and for a case that two parts have.
    """
    first = parts[0]
    for part, name in zip(parts[1:], names[1:], strict=True):
        if reason := _misfit(first, part):
            raise PartError(f"{name}: has other {reason} than {names[0]}. Verify both in the same way.")
    return [_joined(of_parts, names) for of_parts in zip(*parts, strict=True)]


def _misfit(first: Sequence[Verification], part: Sequence[Verification]) -> str | None:
    if [(v.task, v.forecast, v.members) for v in first] != [(v.task, v.forecast, v.members) for v in part]:
        return "forecasts or members"
    for mine, theirs in zip(first, part, strict=True):
        for axis, other in zip(mine.axes, theirs.axes, strict=True):
            if axis != other:
                return f"positions of '{axis.name}'"
        if mine.statistics.keys() != theirs.statistics.keys():
            return "statistics"
    return None


def _joined(parts: Sequence[Verification], names: Sequence[str]) -> Verification:
    positions = np.concatenate([part.positions for part in parts])
    if len(np.unique(positions)) < len(positions):
        raise PartError(f"{' and '.join(names)}: have cases in common, expected each once. Leave one out.")
    order = np.argsort(positions)
    statistics = {}
    for name in parts[0].statistics:
        statistics[name] = np.concatenate([part.statistics[name] for part in parts])[order]
    ranks = [part.ranks for part in parts if part.ranks is not None]
    summed = np.sum(ranks, axis=0) if ranks else None
    return replace(parts[0], positions=positions[order], statistics=statistics, ranks=summed)
