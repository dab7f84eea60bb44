"""Attention maps and roll-out against formulas that are written out. Axes: H head, N query token, M shown token."""

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from statecast.explain.attention import decoder_rows, encoder_rows, nearest_shown, rollout, trace
from statecast.streams import Question


def written_out(layer) -> torch.Tensor:
    """softmax(q · k / sqrt(D) - a |x_q + s - x_k|² / 2 - b (t_q + τ - t_k)² / 2 - c (l_q - l_k)² / 2), as H N M, distance by distance."""
    attention, at, where = layer.attention, layer.at, layer.where
    query, key = (
        project(tokens)[0].unflatten(-1, (attention.heads, -1))
        for project, tokens in ((attention.to_query, layer.queries), (attention.to_key, layer.context))
    )
    maps = []
    for head in range(attention.heads):
        east, north = attention.reach * attention.shift[head]
        spot = (at.place + east * at.east + north * at.north)[0]
        a = (attention.reach * attention.log_width[head].exp()) ** -2
        b, c = attention.log_width_days[head].exp() ** -2, attention.log_width_height[head].exp() ** -2
        apart = (spot[:, None] - where.place[0][None]).square().sum(-1)
        days = at.days[0][:, None] + attention.shift_days[head] - where.days[0][None]
        height = at.height[0][:, None] - where.height[0][None]
        content = query[:, head] @ key[:, head].T / math.sqrt(attention.content_size)
        maps.append((content - a * apart / 2 - b * days**2 / 2 - c * height**2 / 2).softmax(dim=-1))
    return torch.stack(maps)


def test_attention_is_a_probability_over_all_that_is_shown(traced, question):
    shown = sum(tokens.values.shape[-2] for tokens in question.context.values())
    for rows, layers in ((decoder_rows(traced), 2), (encoder_rows(traced, 5), 2)):
        assert rows.shape == (layers, 3, shown) and (rows >= 0).all()
        torch.testing.assert_close(rows.sum(dim=-1), torch.ones(layers, 3).double())


def test_attention_maps_equal_the_softmax_with_distances_written_out(traced):
    for layer in (*traced.encoder, *traced.decoder):
        torch.testing.assert_close(layer.probabilities(slice(None)), written_out(layer))
    torch.testing.assert_close(encoder_rows(traced, 7)[1], written_out(traced.encoder[1])[:, 7])
    torch.testing.assert_close(decoder_rows(traced)[0], written_out(traced.decoder[0])[:, 0])


def test_fused_and_unfused_attention_and_the_maps_give_the_same_output(traced):
    for layer in (*traced.encoder, *traced.decoder):
        inputs = (layer.queries, layer.at, layer.context, layer.where)
        fused = layer.attention(*inputs)
        with sdpa_kernel(SDPBackend.MATH):
            torch.testing.assert_close(layer.attention(*inputs), fused)
        value = layer.attention.project(*inputs)[2][0]
        mixed = (layer.probabilities(slice(None)) @ value).transpose(0, 1).flatten(1)
        torch.testing.assert_close(layer.attention.output(mixed)[None], fused)


def test_rollout_equals_the_product_of_whole_matrices_and_sums_to_one(traced):
    row = sum(written_out(layer).mean(dim=0)[0] for layer in traced.decoder) / 2
    half = torch.eye(len(row)).double() / 2
    first, second = (written_out(layer).mean(dim=0) / 2 + half for layer in traced.encoder)
    found = rollout(traced)
    torch.testing.assert_close(found, row @ second @ first)
    assert found.sum().item() == pytest.approx(1.0) and (found >= 0).all()


@pytest.mark.parametrize("chunk", [1, 7, 10**6])
def test_rollout_does_not_depend_on_the_chunk(traced, chunk):
    torch.testing.assert_close(rollout(traced, chunk), rollout(traced))


class Largest(TorchDispatchMode):
    """The most values that any tensor holds which is made inside."""

    def __init__(self):
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.values = max(self.values, tensor.numel())
        return made


def test_memory_is_bounded_by_the_chunk(traced):
    """No more than heads × chunk × tokens of attention, or the tokens themselves, at a time: far less than all pairs."""
    heads, tokens = 3, len(traced.encoder[0].queries[0])
    with Largest() as largest:
        rollout(traced, chunk=8), decoder_rows(traced), encoder_rows(traced, 0)
    assert largest.values <= heads * tokens * 16 < heads * tokens**2 / 4


def test_the_nearest_shown_token_is_the_last_one_of_the_place(asked, question):
    among = torch.cat([tokens.coords[0] for tokens in question.context.values()])
    mine, found = question.queries["air"].coords[0, 0], among[nearest_shown(question)]
    assert torch.equal(mine[[0, 1, 5]], found[[0, 1, 5]])
    assert found[2] == question.context["air"].coords[0, :, 2].max()


def test_a_question_about_several_tokens_is_refused(precise, asked):
    both = {name: tokens[torch.arange(2)] for name, tokens in asked.whole.queries.items()}
    with pytest.raises(ValueError, match="several tokens"):
        trace(precise.model, Question(asked.question.context, both))
