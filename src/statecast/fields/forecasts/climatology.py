"""The climatology of the analyses, group by group, kept on disk: only what is looked at is in memory."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from statecast.fields.fingerprint import checksum
from statecast.fields.forecasts.pairing import Pairing
from statecast.fields.sources import Climatology, Record, Step, StoreError, fit_climatology
from statecast.fields.streams import Stream

APART_H = 1e-6  # hours of the day that are further apart are other ones


def fitted(
    pairing: Pairing, period: tuple[str, str], folder: Path, progress: Callable[[float], None]
) -> list[Climatology]:
    """The climatology of each group of a pairing over a period of its analyses, as `fit_climatology` has it.

    The means are kept in `folder`; one that is there is taken from it. Raises StoreError for a period without some hour of the day at
    which forecasts are valid.
    """
    folder.mkdir(exist_ok=True)
    climatologies = []
    for number, group in enumerate(pairing.groups):
        stream = Stream(variables=(group.variable,), levels=group.levels or ())
        record = Record.open(pairing.truth[[group.variable]], stream, period, in_memory_gib=0.0)
        _require_hours(pairing, record, period)
        path = folder / f"{number}.npy"
        if not path.exists():
            aside = path.with_suffix(".part")
            with aside.open("wb") as file:
                np.save(file, fit_climatology(record, spread=False).mean)
            aside.replace(path)
        climatologies.append(_on_disk(path, record))
        progress((number + 1) / len(pairing.groups))
    return climatologies


def _on_disk(path: Path, record: Record) -> Climatology:
    unknown = np.full(len(record.channels), np.nan, np.float32)
    hours, step = np.unique(record.hour_utc), record.step if record.is_monthly else Step.of_hours(1.0)
    mean = np.load(path, mmap_mode="r")
    return Climatology(
        mean, unknown, unknown[:, None], hours, record.channels, record.units, record.grid, step, unknown
    )


def _require_hours(pairing: Pairing, record: Record, period: tuple[str, str]) -> None:
    times = pairing.truth["time"].values[np.isin(pairing.times.ticks, _valid(pairing))]
    calendar = xr.Dataset(coords={"time": times})
    hours = np.unique(Record(calendar, (), (), known_step=pairing.step).hour_utc)
    known = np.unique(record.hour_utc)
    if missing := [hour for hour in hours if np.abs(known - hour).min() > APART_H]:
        have = ", ".join(f"{hour:g}" for hour in known)
        raise StoreError(
            f"climatology period {' to '.join(period)}: has no analysis at {missing[0]:g} h UTC, as forecasts need, but at {have} h. "
            "Name another one."
        )


def _valid(pairing: Pairing) -> np.ndarray:
    return np.unique(np.concatenate([pairing.valid_ticks(init) for init in pairing.inits]))


def digest(climatologies: Sequence[Climatology]) -> str:
    """By which parts of a verification know that they have the same climatology."""
    return " ".join(checksum(climatology.mean) for climatology in climatologies)
