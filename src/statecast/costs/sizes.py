"""Parameters, operations and memory of the model of a recipe, computed without its weights and data.

Axes: N token, P value in a token, C coordinate.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr

from statecast.config import Recipe, RecipeError
from statecast.costs.estimate import require_sane
from statecast.costs.memory import GIB, Counts, Weights, activation_bytes
from statecast.fields.sources import MissingStoreError, Record, open_fields
from statecast.fields.tokenizers.windows import window_shapes
from statecast.models import StateModel, TokenSpec
from statecast.models.operations import sample_flops
from statecast.streams import COORDINATES, Stream, Tokens, token_counts
from statecast.tasks import Forecast
from statecast.tasks.forecast import blocks_of

DRAWS = 128  # steps for which numbers of tokens are drawn: their mean is then known to about 5 %
DEFAULT_STEP_H = 6.0


@dataclass(frozen=True)
class Layout:
    """A stream in a window: channels per token, groups of tokens at a place (levels), patch grid and patch."""

    channels: int
    groups: int
    grid: tuple[int, int, int]
    patch: tuple[int, int, int]
    guessed: bool = False

    @property
    def tokens(self) -> int:
        return self.groups * math.prod(self.grid)

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(channels=self.channels, patch=self.patch, step_h=DEFAULT_STEP_H, guessed=self.guessed)


@dataclass(frozen=True)
class ModelSize:
    """Memory and operations that training with a recipe requires.

    flops_per_sample        of matrix products forward and backward, mean over the task's questions
    activation_bytes        kept per sample for the backward pass, for the question that needs most
    low_precision           matrix products use 16-bit copies of the weights
    assumed                 assumptions about missing data
    """

    weights: Weights
    tokens_per_sample: int
    flops_per_sample: float
    activation_bytes: float
    low_precision: bool
    samples: int
    batch_size: int
    accumulate: int
    assumed: tuple[str, ...]

    @property
    def parameters(self) -> int:
        return self.weights.all

    def training_flops(self, samples: float | None = None) -> float:
        """Operations of a whole training run; by default with the recipe's number of samples. Raises CostError for an impossible number."""
        require_sane("samples", samples)
        return self.flops_per_sample * (self.samples if samples is None else samples)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        weights = values.pop("weights")
        return {"parameters": weights["all"], "largest_block": weights["largest_block"], **values}

    def memory_gib(self, devices: int, *, shards: bool) -> float:
        """Memory of one device, with the samples that it processes at once; see `memory` for what is counted."""
        samples = max(1, math.ceil(self.batch_size / (devices * self.accumulate)))
        held = self.weights.held_bytes(devices, shards=shards, low_precision=self.low_precision)
        return (held + samples * self.activation_bytes) / GIB


def size_of(recipe: Recipe) -> ModelSize:
    """Sizes of the recipe's model, built on torch's `meta` device and applied to questions without values.

    The store determines the number of channels of a stream and the size of the domain. If it does not exist, each variable of a stream with
    levels is assumed to have all of them, and the window needs an extent. Raises RecipeError if it has none, StoreError if the store cannot
    be read.
    """
    layouts, assumed = layouts_of(recipe)
    specs = {name: layout.spec for name, layout in layouts.items()}
    training, low_precision = recipe.training, recipe.training.precision != "32-true"
    drawn = draw_counts(recipe, layouts)
    recomputes = training.activation_checkpointing
    blocks = blocks_of(recipe.task)
    flops = [blocks * sample_flops(recipe.model, specs, c.shown, c.asked, recomputes=recomputes) for c in drawn]
    largest = {id(c): c for c in (max(drawn, key=_shown), max(drawn, key=_asked))}.values()
    return ModelSize(
        weights=Weights.of(model_on_meta(recipe, specs)),
        tokens_per_sample=sum(layout.tokens for layout in layouts.values()),
        flops_per_sample=float(np.mean(flops)),
        activation_bytes=blocks
        * max(
            activation_bytes(recipe.model, specs, counts, low_precision=low_precision, recomputes=recomputes)
            for counts in largest
        ),
        low_precision=low_precision,
        samples=training.steps * training.batch_size,
        batch_size=training.batch_size,
        accumulate=training.accumulate,
        assumed=tuple(assumed),
    )


def _shown(counts: Counts) -> int:
    return sum(counts.shown.values())


def _asked(counts: Counts) -> int:
    return sum(counts.asked.values())


def model_on_meta(recipe: Recipe, specs: Mapping[str, TokenSpec]) -> StateModel:
    """The recipe's model, without allocating memory for its weights."""
    with torch.device("meta"):
        return StateModel(recipe.model, specs)


def draw_counts(recipe: Recipe, layouts: Mapping[str, Layout]) -> list[Counts]:
    """Numbers of visible tokens and queries in the first steps of training (per block of a roll-out), drawn by the recipe's task with its
    seeds."""
    window = {name: _places(recipe.streams[name], layout) for name, layout in layouts.items()}
    counts, blocks = [], blocks_of(recipe.task)
    for step in range(DRAWS):
        sample, of_step = (np.random.default_rng([recipe.seed, part, step]) for part in (0, 1))
        question = recipe.task(window, sample, of_step)
        asked = {name: count // blocks for name, count in token_counts(question.queries).items()}
        counts.append(Counts(token_counts(question.context), asked))
    return counts


def layouts_of(recipe: Recipe) -> tuple[dict[str, Layout], list[str]]:
    """The layout of each stream in the recipe's window, and the assumptions made for it."""
    assumed = []
    stores = {name: recipe.data.stores.get(name, recipe.data.store) for name in recipe.streams}
    datasets: dict[str, xr.Dataset | None] = {}
    for store in dict.fromkeys(stores.values()):
        try:
            datasets[store] = open_fields(store)
        except MissingStoreError:
            datasets[store] = None
            assumed.append(f"store {store} does not exist: every variable is assumed to have all levels of its stream")
            if store in recipe.data.stores.values():
                assumed.append(f"a window is assumed to have as many tokens of {store} as of {recipe.data.store}")
    task = recipe.task
    slabs = task.training_slabs if isinstance(task, Forecast) else task.slabs
    steps = slabs * max(stream.patch[0] for stream in recipe.streams.values())
    records = {n: Record.open(d, recipe.streams[n]) for n, s in stores.items() if (d := datasets[s]) is not None}
    shapes = _window_shapes(recipe, records)
    layouts = {}
    for name, stream in recipe.streams.items():
        record = records.get(name)
        channels = len(record.channels) if record else len(stream.variables) * max(1, len(stream.levels))
        layouts[name] = _layout(name, stream, channels, (steps, *shapes[name]))
    return layouts, assumed


def _window_shapes(recipe: Recipe, records: Mapping[str, Record]) -> dict[str, tuple[int, int]]:
    """Rows and columns of each stream's window. A stream whose store does not exist has as many tokens as the first."""
    first, patches = next(iter(recipe.streams)), {name: stream.patch for name, stream in recipe.streams.items()}
    extent = recipe.window.extent or (records[first].grid.shape if first in records else None)
    if extent is None:
        raise RecipeError(f"window.extent: is needed to estimate a cost if store {recipe.data.store} does not exist.")
    shapes = dict.fromkeys(recipe.streams, extent)
    if first in records:  # its grid determines how many degrees a window covers
        grids = {name: records[name].grid for name in recipe.streams if name in records}
        shapes |= window_shapes(recipe.window.extent, grids, patches)
    for name in recipe.data.stores:
        if name not in records:
            tokens = (extent[0] // patches[first][1], extent[1] // patches[first][2])
            shapes[name] = (tokens[0] * patches[name][1], tokens[1] * patches[name][2])
    return shapes


def _layout(name: str, stream: Stream, channels: int, window: tuple[int, ...]) -> Layout:
    if any(size % patch for size, patch in zip(window, stream.patch, strict=True)):
        raise RecipeError(f"streams.{name}.patch {list(stream.patch)} doesn't divide the window {list(window)}.")
    time, rows, columns = (size // patch for size, patch in zip(window, stream.patch, strict=True))
    groups = 1 if stream.levels_share_token else max(1, len(stream.levels))
    return Layout(channels // groups, groups, (time, rows, columns), stream.patch, bool(stream.first_guess))


def _places(stream: Stream, layout: Layout) -> Tokens:
    """Empty tokens at regular places, which suffice for a task to choose from."""
    time, rows, columns = (np.arange(size) for size in layout.grid)
    levels = stream.levels if layout.groups > 1 else (500.0,)
    coords = torch.tensor(
        [
            (-60 + 120 * row / layout.grid[1], column, t * DEFAULT_STEP_H * stream.patch[0], 0.0, 0.0, level, 1.0)
            for t, level, row, column in product(time, levels, rows, columns)
        ],
        dtype=torch.float32,
    )
    assert coords.shape == (layout.tokens, len(COORDINATES))
    nothing = torch.zeros(len(coords), stream.patch[0])
    return Tokens(nothing, coords, nothing.bool(), layout=(1, stream.patch[0], 1))
