"""Transformer blocks."""

import pytest
import torch

from statecast.axes import Axis, column_names
from statecast.models.attention import Geometry
from statecast.models.blocks import DecoderBlock, EncoderBlock, ModulatedNorm

WIDTH, CONDITION = 32, 5
AXES = (Axis("place", "sphere", "degree", 20.0), Axis("time", "time", "h"), Axis("pressure_hpa", "level", "hPa"))


def tokens_at(count: int, seed: int) -> tuple[torch.Tensor, Geometry]:
    random = torch.Generator().manual_seed(seed)
    coords = torch.rand(2, count, len(column_names(AXES)), generator=random) * 60 + 20
    return torch.randn(2, count, WIDTH, generator=random), Geometry.of(coords, AXES)


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


@pytest.fixture
def encoder_block():
    return seeded(lambda: EncoderBlock(WIDTH, 2, 2.0, AXES))


@pytest.fixture
def decoder_block():
    return seeded(lambda: DecoderBlock(WIDTH, 2, 2.0, AXES, CONDITION))


def conditions(count: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(2, count, CONDITION, generator=torch.Generator().manual_seed(seed))


def test_a_block_adds_to_the_stream_of_tokens(encoder_block):
    """With the last map of each branch at zero it is the identity."""
    torch.nn.init.zeros_(encoder_block.attention.output.weight)
    torch.nn.init.zeros_(encoder_block.mlp[-1].weight)
    torch.nn.init.zeros_(encoder_block.mlp[-1].bias)
    tokens, at = tokens_at(5, seed=1)
    assert torch.equal(encoder_block(tokens, at), tokens)


def test_tokens_of_an_encoder_block_see_one_another(encoder_block):
    tokens, at = tokens_at(5, seed=1)
    changed = tokens.clone()
    changed[:, 4] += 1
    assert not torch.allclose(encoder_block(tokens, at)[:, :4], encoder_block(changed, at)[:, :4])


def test_queries_of_a_decoder_block_do_not_see_one_another(decoder_block):
    (queries, at), (context, where) = tokens_at(5, seed=1), tokens_at(7, seed=2)
    changed, condition = queries.clone(), conditions(5)
    changed[:, 4] += 1
    before = decoder_block(queries, at, condition, context, where)
    after = decoder_block(changed, at, condition, context, where)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4], after[:, 4])
    assert not torch.allclose(before, decoder_block(queries, at, condition, 2 + context, where))


@pytest.mark.parametrize("learned", ["norm", "mlp_norm"])
def test_a_condition_acts_on_its_own_token_once_it_has_been_learned(decoder_block, learned):
    (queries, at), (context, where) = tokens_at(5, seed=1), tokens_at(7, seed=2)
    one, other = conditions(5), conditions(5)
    other[:, 4] += 1
    answer = lambda condition: decoder_block(queries, at, condition, context, where)  # noqa: E731
    assert torch.equal(answer(one), answer(other))
    torch.nn.init.normal_(
        decoder_block.get_submodule(learned).modulation.weight, generator=torch.Generator().manual_seed(4)
    )
    torch.testing.assert_close(answer(one)[:, :4], answer(other)[:, :4])
    assert not torch.allclose(answer(one)[:, 4], answer(other)[:, 4])


def test_a_modulated_norm_scales_and_shifts_what_is_normed():
    norm = ModulatedNorm(WIDTH, CONDITION)
    tokens, condition = tokens_at(5, seed=1)[0], conditions(5)
    plain = tokens / tokens.square().mean(dim=-1, keepdim=True).sqrt()
    torch.testing.assert_close(norm(tokens, condition), plain)
    torch.nn.init.normal_(norm.modulation.weight, generator=torch.Generator().manual_seed(4))
    torch.nn.init.constant_(norm.modulation.bias, 0.5)
    scale, shift = (condition @ norm.modulation.weight.T + 0.5).split(WIDTH, dim=-1)
    torch.testing.assert_close(norm(tokens, condition), plain * (1 + scale) + shift)


def test_a_norm_without_a_condition_is_a_plain_one():
    norm, tokens = ModulatedNorm(WIDTH, 0), tokens_at(5, seed=1)[0]
    torch.testing.assert_close(norm(tokens, None), tokens / tokens.square().mean(dim=-1, keepdim=True).sqrt())
    assert [name for name, _ in norm.named_parameters()] == ["norm.weight"]
