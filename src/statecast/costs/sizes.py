"""Parameters, operations and memory of a recipe's model, without its weights and without its data.

Axes: N token, P value in a token, C coordinate.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from statecast.config import Recipe, RecipeError
from statecast.costs.estimate import require_sane
from statecast.models import StateModel, TokenSpec
from statecast.models.state_model import question_loss
from statecast.sources import Record, StoreError, open_fields
from statecast.streams import COORDINATES, Question, Stream, Tokens, Window, stack_questions

DRAWS = 4  # questions that operations and activations are averaged over: a task draws how much it shows
BYTES = {"weights": 4, "gradients": 4, "optimiser": 8}  # a parameter in float32; AdamW keeps two moments
DEFAULT_STEP_H = 6.0
GIB = 2**30


@dataclass(frozen=True)
class Layout:
    """A stream in a window: tokens and channels of one, groups of tokens at a place (levels), and the patch grid."""

    channels: int
    groups: int
    grid: tuple[int, int, int]
    patch: tuple[int, int, int]

    @property
    def tokens(self) -> int:
        return self.groups * math.prod(self.grid)

    @property
    def values_per_token(self) -> int:
        return self.channels * math.prod(self.patch)


@dataclass(frozen=True)
class ModelSize:
    """What a training of a recipe has to hold and to do.

    flops_per_sample        of matrix products forward and backward, as torch counts them; a mean over the task's questions
    activation_bytes        that autograd keeps of one sample; a mean over the task's questions
    largest_block           parameters of the largest block, which FSDP gathers whole
    assumed                 what was assumed of data that could not be opened
    """

    parameters: int
    largest_block: int
    tokens_per_sample: int
    flops_per_sample: float
    activation_bytes: float
    samples: int
    batch_size: int
    accumulate: int
    assumed: tuple[str, ...]

    def training_flops(self, samples: float | None = None) -> float:
        """Of a whole training; of the recipe's number of samples if none is given. Raises CostError for one that can't be."""
        require_sane("samples", samples)
        return self.flops_per_sample * (self.samples if samples is None else samples)

    def memory_gib(self, devices: int, *, shards: bool) -> float:
        """Of one device: weights, gradients, AdamW's moments, and activations of the samples that it takes at once.

        Under DDP each device holds all; FSDP divides all but the block in hand by their number. What the libraries' own buffers and
        fragmentation take comes on top, a GB or two on a GPU.
        """
        state = float(sum(BYTES.values()) * self.parameters)
        if shards:
            state = state / devices + (BYTES["weights"] + BYTES["gradients"]) * self.largest_block
        samples = max(1, math.ceil(self.batch_size / (devices * self.accumulate)))
        return (state + samples * self.activation_bytes) / GIB


def size_of(recipe: Recipe) -> ModelSize:
    """Builds the recipe's model on torch's `meta` device and asks it questions without values.

    The store decides how many channels a stream has and how large the domain is, if it can be opened; else each variable of a stream
    with levels is taken to have them all, and the window needs an extent. Raises RecipeError if it has none.
    """
    layouts, assumed = layouts_of(recipe)
    specs = {n: TokenSpec(channels=la.channels, patch=la.patch, step_h=DEFAULT_STEP_H) for n, la in layouts.items()}
    with torch.device("meta"):
        model = StateModel(recipe.model, specs)
    questions = [_question(recipe, layouts, draw) for draw in range(DRAWS)]
    blocks = [sum(p.numel() for p in block.parameters()) for block in [*model.encoder, *model.decoder]]
    return ModelSize(
        parameters=sum(p.numel() for p in model.parameters()),
        largest_block=max(blocks),
        tokens_per_sample=sum(layout.tokens for layout in layouts.values()),
        flops_per_sample=float(np.mean([count_flops(model, question) for question in questions])),
        activation_bytes=float(np.mean([_activation_bytes(recipe, specs, question) for question in questions])),
        samples=recipe.training.steps * recipe.training.batch_size,
        batch_size=recipe.training.batch_size,
        accumulate=recipe.training.accumulate,
        assumed=tuple(assumed),
    )


def count_flops(model: StateModel, question: Question) -> int:
    """Multiplications and additions of the matrix products in a step's forward and backward pass, those of attention among them.

    Counted by torch on its `meta` device, where attention is written out: its counter passes over the fused kernel of the CPU.
    """
    on_meta = question.to("meta")
    with FlopCounterMode(display=False) as counter:
        question_loss(model, model(on_meta.context, on_meta.queries), on_meta).backward()
    return counter.get_total_flops()


def _activation_bytes(recipe: Recipe, specs: dict[str, TokenSpec], question: Question) -> float:
    """Storage that autograd keeps for the way back, weights apart, in the arithmetic of the recipe."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with FakeTensorMode() as fake:
        model = StateModel(recipe.model, specs)
        model.recomputes = recipe.training.activation_checkpointing
        weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        asked = Question(_fake(question.context, fake), _fake(question.queries, fake))
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=recipe.training.precision != "32-true")
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
            question_loss(model, model(asked.context, asked.queries), asked)
    return float(sum(kept.values()))


def _fake(window: Window, mode: FakeTensorMode) -> Window:
    made = {}
    for name, tokens in window.items():
        parts = (mode.from_tensor(part) for part in (tokens.values, tokens.coords, tokens.observed))
        made[name] = Tokens(*parts)
    return made


def layouts_of(recipe: Recipe) -> tuple[dict[str, Layout], list[str]]:
    """The layout of each stream in the recipe's window, and what had to be assumed for it."""
    assumed = []
    try:
        dataset = open_fields(recipe.data.store)
    except StoreError:
        dataset = None
        assumed.append(f"store {recipe.data.store} can't be opened: every variable has all levels of its stream")
    steps = recipe.task.slabs * max(stream.patch[0] for stream in recipe.streams.values())
    layouts = {}
    for name, stream in recipe.streams.items():
        record = None if dataset is None else Record.open(dataset, stream)
        extent = recipe.window.extent or (record.grid.shape if record else None)
        if extent is None:
            raise RecipeError(f"window.extent: is needed for a cost where store {recipe.data.store} can't be opened.")
        channels = len(record.channels) if record else len(stream.variables) * max(1, len(stream.levels))
        layouts[name] = _layout(name, stream, channels, (steps, *extent))
    return layouts, assumed


def _layout(name: str, stream: Stream, channels: int, window: tuple[int, ...]) -> Layout:
    if any(size % patch for size, patch in zip(window, stream.patch, strict=True)):
        raise RecipeError(f"streams.{name}.patch {list(stream.patch)} doesn't divide the window {list(window)}.")
    time, rows, columns = (size // patch for size, patch in zip(window, stream.patch, strict=True))
    groups = 1 if stream.levels_share_token else max(1, len(stream.levels))
    return Layout(channels // groups, groups, (time, rows, columns), stream.patch)


def _question(recipe: Recipe, layouts: dict[str, Layout], draw: int) -> Question:
    """What the recipe's task asks of a window of zeros."""
    window = {name: _tokens(recipe.streams[name], layout) for name, layout in layouts.items()}
    sample, step = np.random.default_rng([draw, 0]), np.random.default_rng([draw, 1])
    return stack_questions([recipe.task(window, sample, step)])


def _tokens(stream: Stream, layout: Layout) -> Tokens:
    """Zeros at regular places."""
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
    shape = (layout.tokens, layout.values_per_token)
    return Tokens(torch.zeros(shape), coords, torch.ones(shape, dtype=torch.bool))
