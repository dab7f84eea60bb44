"""Memory and disk of the data side of a training and of preparing its store, from the sizes of its records: for costs.

Axes: T time, M month, D hour of the day, V channel, H row, W column.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from statecast.fields.prepare.spec import LayoutOptions
from statecast.fields.prepare.store import READ_BYTES, steps_of_shard
from statecast.fields.recipe import FieldRecipe
from statecast.fields.sources import Record
from statecast.fields.sources.anomalies import chunks
from statecast.fields.sources.cache import GB
from statecast.fields.sources.dates import select_period
from statecast.fields.sources.monthly import ARRAYS, MEMORY_GIB
from statecast.fields.sources.record import IN_MEMORY_GIB

GIB = 2**30
FULL, DOUBLE = 4, 8  # bytes of a number
MONTHS = 12
MONTHS_OF_BLOCK = 3  # whose sums a block of a preparation changes: a shard in time is shorter than a month, mostly
CHUNK_ARRAYS = 5  # of a chunk of steps, in float32, while its statistics are added up
BLOCK_ARRAYS = (
    13 / 4
)  # of a block of a preparation, relative to float32: its departures are float64, and what is known is bool


def data_needs(recipe: FieldRecipe, datasets: Mapping[str, xr.Dataset]) -> dict[str, float]:
    """GiB by what takes them, for the streams of fields whose store is there.

    record                                4 T V H W
    each process that reads               climatology 4 M D V H W, and the record if it is at most `IN_MEMORY_GIB`
    while statistics are computed         sums and means 8 `ARRAYS` M D V H W, at most `MEMORY_GIB`, and a chunk of steps
    while its store is prepared           a block of steps, and the sums of its months; on disk 2 x 8 M D V H W
    """
    of_streams = [_of_stream(recipe, name, dataset) for name, dataset in datasets.items()]
    if not of_streams:
        return {}
    readers = recipe.training.workers + 1
    held = sum(need["climatology"] + need["kept"] for need in of_streams)
    needs = {
        "values of the training period, float32": sum(need["record"] for need in of_streams),
        f"memory of {readers} processes that read": readers * held,
        "memory while statistics are computed, beside that": max(need["fitting"] for need in of_streams),
        "disk of a prepared store, before compression": sum(need["whole"] for need in of_streams),
        "disk for its sums while it is prepared": sum(need["sums"] for need in of_streams),
        "memory while it is prepared": max(need["preparing"] for need in of_streams),
    }
    if recipe.data.cache is not None:
        needs["disk of the cache, at most"] = recipe.data.cache.size_gb * GB / GIB
    return {name: round(gib, 3) for name, gib in needs.items()}


def _of_stream(recipe: FieldRecipe, name: str, dataset: xr.Dataset) -> dict[str, float]:
    """GiB of one stream."""
    one = Record.open(dataset.isel(time=slice(0, 1)), recipe.fields[name])  # no value is looked at
    learned = sum(select_period(dataset, period).sizes["time"] for period in recipe.data.learned_periods)
    times = select_period(dataset, recipe.data.train)["time"].dt
    hours = len(np.unique(times.hour * 60 + times.minute))
    channels, (rows, columns) = len(one.channels), one.grid.shape
    per_step = FULL * channels * rows * columns / GIB
    record, climatology = learned * per_step, MONTHS * hours * per_step
    chunk_steps = max(piece.stop - piece.start for piece in chunks(Record(dataset, one.channels, one.units)))
    fitting = min(MEMORY_GIB, ARRAYS * DOUBLE / FULL * climatology) + CHUNK_ARRAYS * chunk_steps * per_step
    steps = steps_of_shard(LayoutOptions())
    levels = min(channels, max(1, READ_BYTES // (FULL * steps * rows * columns)))
    per_level = rows * columns / GIB
    block = FULL * BLOCK_ARRAYS * steps * levels * per_level
    return {
        "record": record,
        "whole": dataset.sizes["time"] * per_step,
        "climatology": climatology,
        "kept": record if record <= IN_MEMORY_GIB else 0.0,
        "fitting": fitting,
        "sums": 2 * DOUBLE / FULL * climatology,
        "preparing": block + 2 * DOUBLE * MONTHS_OF_BLOCK * hours * levels * per_level,
    }
