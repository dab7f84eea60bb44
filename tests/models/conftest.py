"""A small question about two streams, and a small model that can answer it."""

from collections.abc import Callable

import pytest
import torch

from statecast.axes import SURFACE_PRESSURE_HPA
from statecast.models import ModelOptions, StateModel
from statecast.streams import Question, Tokens, TokenSpec

STEP_H = 6.0
DEPTH = 2
SPECS = {
    "air": TokenSpec(channels=2, patch=(DEPTH, 1, 2), step_h=STEP_H),
    "surface": TokenSpec(channels=1, patch=(DEPTH, 1, 1), step_h=STEP_H),
}
MakeTokens = Callable[..., Tokens]
MakeModel = Callable[..., StateModel]


@pytest.fixture
def make_tokens() -> MakeTokens:
    """Tokens of two samples at the given slabs in time, on three rows of four columns at each of the levels."""

    def make(size: int, slabs: tuple[int, ...] = (0, 1, 2), levels: tuple[float, ...] = (500.0, 850.0), seed: int = 0):
        random = torch.Generator().manual_seed(seed)
        lat, lon = torch.tensor([-60.0, 5.0, 70.0]), torch.arange(4) * 90.0
        offset = torch.tensor(slabs) * DEPTH * STEP_H + (DEPTH - 1) / 2 * STEP_H
        axes = torch.cartesian_prod(torch.tensor(levels), offset, lat, lon)
        hour, year, spacing = axes[:, 1] % 24, torch.full((len(axes),), 0.3), torch.full((len(axes),), 15.0)
        coords = torch.stack([axes[:, 2], axes[:, 3], axes[:, 1], hour, year, axes[:, 0], spacing], dim=-1)
        observed = torch.rand(2, len(coords), size, generator=random) > 0.1
        values = torch.randn(2, len(coords), size, generator=random) * observed
        return Tokens(values, coords.expand(2, -1, -1).clone(), observed)

    return make


@pytest.fixture
def question(make_tokens: MakeTokens) -> Question:
    """Slabs 0 and 2 of both streams are shown, slab 1 is asked."""
    sizes = {"air": (SPECS["air"].size, (500.0, 850.0)), "surface": (SPECS["surface"].size, (SURFACE_PRESSURE_HPA,))}
    return Question(
        {name: make_tokens(size, (0, 2), levels, seed=1) for name, (size, levels) in sizes.items()},
        {name: make_tokens(size, (1,), levels, seed=2) for name, (size, levels) in sizes.items()},
    )


@pytest.fixture
def make_model() -> MakeModel:
    """A small model whose weights are drawn from a seed; the global random state is left as it was."""

    def make(seed: int = 0, **options) -> StateModel:
        small = {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 4, "reach_deg": 30.0}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return StateModel(ModelOptions(**(small | options)), SPECS)

    return make
