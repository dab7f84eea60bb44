"""Attention maps and roll-out against formulas that are written out. Axes: H head, N query token, M shown token."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from statecast.explain.attention import decoder_rows, encoder_rows, nearest_shown, rollout, trace
from statecast.explain.sensitivity import as_batch
from statecast.streams import Question, concatenate


def written_out(layer) -> torch.Tensor:
    """softmax(q · k / sqrt(D) - sum over axes of a |e(x_q) + s - e(x_k)|² / 2), as H N M, distance by distance."""
    attention = layer.attention
    query, key = (
        project(tokens)[0].unflatten(-1, (attention.heads, -1))
        for project, tokens in ((attention.to_query, layer.queries), (attention.to_key, layer.context))
    )
    maps = []
    for head in range(attention.heads):
        logits = query[:, head] @ key[:, head].T / math.sqrt(attention.content_size)
        for axis, spots in attention.spots.items():
            at, there = layer.at.along[axis], layer.where.along[axis].metric[0]
            spot = at.metric[0]
            if at.frame is not None:
                spot = spot + torch.einsum("s,nsk->nk", spots.reach * spots.shift[head], at.frame[0])
            a = (spots.reach * spots.log_width[head].exp()) ** -2
            logits = logits - a * (spot[:, None] - there[None]).square().sum(-1) / 2
        maps.append(logits.softmax(dim=-1))
    return torch.stack(maps)


def test_attention_is_a_probability_over_all_that_is_shown(traced, one):
    shown = sum(tokens.values.shape[-2] for tokens in one.context.values())
    for rows, layers in ((decoder_rows(traced), 2), (encoder_rows(traced, 5), 2)):
        assert rows.shape == (layers, 3, shown) and (rows >= 0).all()
        torch.testing.assert_close(rows.sum(dim=-1), torch.ones(layers, 3).double())


def test_attention_maps_equal_the_softmax_with_distances_written_out(traced):
    for layer in (*traced.encoder, *traced.decoder):
        torch.testing.assert_close(layer.probabilities(slice(None)), written_out(layer))
    torch.testing.assert_close(encoder_rows(traced, 7)[1], written_out(traced.encoder[1])[:, 7])
    torch.testing.assert_close(decoder_rows(traced)[0], written_out(traced.decoder[0])[:, 0])


def test_keys_that_a_query_does_not_see_take_nothing(precise, whole):
    """In a causal question the maps and the roll-out have a place for what comes before alone."""
    asked = whole.queries["air"][torch.tensor([5])]
    traced = trace(precise, as_batch(Question(whole.context, {"air": asked}, causal=True), precise))
    order = torch.cat([tokens.order() for tokens in whole.context.values()])
    later = order >= asked.order()
    assert later.any() and not decoder_rows(traced)[..., later].any() and not rollout(traced)[later].any()
    assert rollout(traced).sum().item() == pytest.approx(1.0)
    for layer in (*traced.encoder, *traced.decoder):
        value = layer.attention.project(layer.queries, layer.at, layer.context, layer.where)[2][0]
        mixed = (layer.probabilities(slice(None)) @ value).transpose(0, 1).flatten(1)
        inputs = (layer.queries, layer.at, layer.context, layer.where, layer.visible)
        torch.testing.assert_close(layer.attention.output(mixed)[None], layer.attention(*inputs))


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


def test_the_nearest_shown_token_is_the_last_one_of_the_place(precise, whole, make_tokens):
    """Of slabs 0 and 2, for a token of slab 3."""
    later = make_tokens("air", (3,)).each(lambda part: part[0], lambda part: part[0])[torch.tensor([17])]
    asked = as_batch(Question(whole.context, {"air": later}), precise)
    shown = asked.context["air"]
    found = shown[torch.tensor([nearest_shown(precise, asked)])]
    for axis in ("place", "pressure_hpa"):
        assert torch.equal(asked.queries["air"].along(axis), found.along(axis))
    assert found.coordinate("offset_h").item() == shown.coordinate("offset_h").max().item()


def test_the_asked_token_itself_which_is_shown_corrupted_is_passed_over(precise, whole):
    """Tokens are known by their number: a token shown at the asked place, but not the asked one, counts."""
    asked = replace(whole.queries["air"][torch.tensor([5])], index=torch.tensor([99]))
    numbered = whole.context["air"].numbered()
    numbers = {}
    for number in (99, 98):
        itself = replace(asked, index=torch.tensor([number]))
        shown = {"air": concatenate([numbered, itself]), "surface": whole.context["surface"]}
        numbers[number] = nearest_shown(precise, as_batch(Question(shown, {"air": asked}), precise))
    assert numbers[98] == len(numbered) != numbers[99]


def test_a_question_about_several_tokens_is_refused(precise, whole):
    with pytest.raises(ValueError, match="several tokens"):
        trace(precise, as_batch(whole, precise))
