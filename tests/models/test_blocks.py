"""Transformer blocks."""

import pytest
import torch

from statecast.models.attention import Geometry
from statecast.models.blocks import Block
from statecast.streams import COORDINATES

WIDTH = 32


def tokens_at(count: int, seed: int) -> tuple[torch.Tensor, Geometry]:
    random = torch.Generator().manual_seed(seed)
    coords = torch.rand(2, count, len(COORDINATES), generator=random) * 60 + 20
    return torch.randn(2, count, WIDTH, generator=random), Geometry.of(coords)


@pytest.fixture
def make_block():
    def make(*, crosses: bool) -> Block:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Block(WIDTH, 2, 2.0, 20.0, crosses=crosses)

    return make


def test_a_block_adds_to_the_stream_of_tokens(make_block):
    """With the last map of each branch at zero it is the identity."""
    block = make_block(crosses=False)
    torch.nn.init.zeros_(block.attention.output.weight)
    torch.nn.init.zeros_(block.mlp[-1].weight)
    torch.nn.init.zeros_(block.mlp[-1].bias)
    tokens, at = tokens_at(5, seed=1)
    assert torch.equal(block(tokens, at), tokens)


def test_tokens_of_a_block_over_themselves_see_one_another(make_block):
    block = make_block(crosses=False)
    tokens, at = tokens_at(5, seed=1)
    changed = tokens.clone()
    changed[:, 4] += 1
    assert not torch.allclose(block(tokens, at)[:, :4], block(changed, at)[:, :4])


def test_queries_of_a_crossing_block_do_not_see_one_another(make_block):
    block = make_block(crosses=True)
    (queries, at), (context, where) = tokens_at(5, seed=1), tokens_at(7, seed=2)
    changed = queries.clone()
    changed[:, 4] += 1
    before, after = block(queries, at, context, where), block(changed, at, context, where)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4], after[:, 4])
    assert not torch.allclose(before, block(queries, at, 2 + context, where))


def test_a_crossing_block_without_a_context_is_a_bug(make_block):
    tokens, at = tokens_at(5, seed=1)
    with pytest.raises(AssertionError, match="needs a context"):
        make_block(crosses=True)(tokens, at)
