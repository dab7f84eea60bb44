"""Streams and tokens."""

from dataclasses import replace

import pytest
import torch

from statecast.axes import Axis, column_names
from statecast.streams import (
    FLAT,
    PADDING,
    TRAILING,
    UNKNOWN,
    Question,
    Tokens,
    TokenSpec,
    concatenate,
    stack,
    stack_questions,
)

AXES = (Axis("pixel", "plane", columns=("row", "column")), Axis("rank", "index"))
SPEC = TokenSpec(size=4, vocabulary=7, axes=AXES, order="rank", layout=(2, 2, 1), guess_size=5)
PARTS = (*TRAILING, *FLAT)


def tokens(count: int, seed: int = 0) -> Tokens:
    """With every part that tokens may have."""
    random = torch.Generator().manual_seed(seed)
    return Tokens(
        values=torch.randn(count, 4, generator=random),
        coords=torch.randn(count, 3, generator=random),
        observed=torch.rand(count, 4, generator=random) > 0.2,
        spec=SPEC,
        codes=torch.randint(7, (count,), generator=random),
        present=torch.rand(count, generator=random) > 0.2,
        weight=torch.rand(count, generator=random),
        index=torch.randperm(count, generator=random),
        about=torch.randperm(count, generator=random),
        guess=torch.randn(count, 5, generator=random),
    )


def equal(a: Tokens, b: Tokens) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in PARTS)


def test_indexing_takes_the_same_tokens_from_all_parts():
    whole = tokens(5)
    index = torch.tensor([3, 0])
    part = whole[index]
    assert len(part) == 2
    assert equal(part, Tokens(spec=SPEC, **{name: getattr(whole, name)[index] for name in PARTS}))
    batch = stack([{"a": whole}, {"a": tokens(5, seed=1)}])["a"]
    assert batch[1:3].values.shape == (2, 2, 4) and batch[1:3].codes.shape == (2, 2)
    assert len(batch) == 5


def test_a_coordinate_is_found_by_its_name():
    batch = stack([{"a": tokens(5)}, {"a": tokens(5, seed=1)}])["a"]
    for number, name in enumerate(column_names(AXES)):
        assert torch.equal(batch.coordinate(name), batch.coords[..., number])
    assert torch.equal(batch.along("pixel"), batch.coords[..., :2])
    assert torch.equal(batch.order(), batch.coordinate("rank"))
    assert replace(batch, spec=replace(SPEC, order=None)).order() is None
    with pytest.raises(ValueError, match="not in tuple"):
        batch.coordinate("altitude_m")
    with pytest.raises(KeyError, match=r"there is no axis time\. Axes: pixel, rank"):
        batch.along("time")


def test_replacing_values_keeps_place_and_mask():
    whole = tokens(4)
    other = whole.replace(torch.zeros(4, 4))
    assert not other.values.any()
    assert other.coords is whole.coords and other.observed is whole.observed


def test_hiding_an_axis_leaves_the_others():
    whole = tokens(4)
    hidden = whole.without(["pixel"])
    assert hidden.along("pixel").isnan().all() and torch.equal(hidden.along("rank"), whole.along("rank"))
    assert hidden.partial == ("pixel",) and not whole.coords.isnan().any()


def test_tokens_are_numbered_once():
    numbered = replace(tokens(4), index=None).numbered()
    assert numbered.index.tolist() == [0, 1, 2, 3]
    assert numbered[torch.tensor([2, 1])].numbered().index.tolist() == [2, 1]


def test_what_is_known_of_a_token_is_a_value_or_a_code():
    whole = replace(tokens(3), observed=torch.tensor([[True, False, False, False]] + 2 * [4 * [False]]))
    codes = torch.tensor([UNKNOWN, UNKNOWN, 5])
    assert replace(whole, codes=codes).is_known().tolist() == [True, False, True]
    assert replace(whole, codes=None).is_known().tolist() == [True, False, False]


def test_steps_of_a_token_are_found_and_left_out_by_its_layout():
    """Two channels of two steps of one point: values are channel by channel, step by step."""
    seen = torch.tensor([[True, False, False, False], [False, True, False, True], [False] * 4])
    whole = replace(tokens(3), values=torch.ones(3, 4), observed=seen)
    assert whole.steps().tolist() == [[True, False], [False, True], [False, False]]
    first = whole.only(torch.tensor([[True, False]] * 3))
    assert first.steps().tolist() == [[True, False], [False, False], [False, False]]
    assert torch.equal(first.values, first.observed.float())


def test_stacking_and_taking_apart_gives_the_samples_again():
    samples = [tokens(4, seed=s) for s in range(3)]
    batch = stack([{"a": t} for t in samples])["a"]
    for number, sample in enumerate(samples):
        assert equal(Tokens(spec=SPEC, **{name: getattr(batch, name)[number] for name in PARTS}), sample)


def test_samples_of_a_ragged_stream_are_padded_with_what_is_not_there():
    """To a multiple of what vector units add at once, also a single one."""
    ragged = replace(SPEC, ragged=True)
    long, short = (replace(t, spec=ragged, present=None) for t in (tokens(5), tokens(3, seed=1)))
    batch, alone = stack([{"a": long}, {"a": short}])["a"], stack([{"a": short}])["a"]
    assert len(batch) == len(alone) == PADDING
    assert batch.present.sum(dim=1).tolist() == [5, 3] and batch.present[1, :3].all()
    assert not batch.observed[1, 3:].any() and (batch.codes[1, 3:] == UNKNOWN).all()
    assert torch.equal(batch.values[1, :3], short.values) and torch.equal(batch.values[0, :5], long.values)
    assert equal(alone, replace(batch, **{name: getattr(batch, name)[1:] for name in PARTS}))


def test_samples_of_unequal_length_do_not_stack():
    with pytest.raises(
        ValueError, match=r"samples have \[4, 5\] tokens, expected the same number\. Declare the stream ragged"
    ):
        stack([{"a": tokens(4)}, {"a": tokens(5)}])


def test_questions_stack_in_context_and_queries():
    question = Question({"a": tokens(4)}, {"a": tokens(2, seed=1), "b": tokens(1, seed=2)}, "places", causal=True)
    batch = stack_questions([question, question]).to("cpu")
    assert batch.context["a"].values.shape == (2, 4, 4)
    assert batch.queries["b"].observed.shape == (2, 1, 4)
    assert torch.equal(batch.queries["a"].coords[1], question.queries["a"].coords)
    assert (batch.asks, batch.causal) == ("places", True)


def test_concatenated_parts_follow_one_another():
    whole = tokens(5)
    assert equal(concatenate([whole[:2], whole[2:2], whole[2:]]), whole)


def test_a_token_has_values_or_codes_and_an_order_among_its_axes():
    with pytest.raises(ValueError, match="neither values nor a vocabulary of codes"):
        TokenSpec(axes=AXES)
    with pytest.raises(KeyError, match="there is no axis time"):
        TokenSpec(size=1, axes=AXES, order="time")
    assert SPEC.order_column == "rank" and TokenSpec(size=6).dimensions == (6, 1, 1)


def test_specs_are_alike_if_channels_and_categories_alone_differ():
    assert replace(SPEC, size=6, vocabulary=9, layout=(3, 2, 1)).is_like(SPEC)
    assert not replace(SPEC, layout=(2, 1, 2)).is_like(SPEC)
    assert not replace(SPEC, axes=AXES[1:]).is_like(SPEC)
    further = replace(SPEC, axes=(*AXES, Axis("further", "index")))
    assert further.is_like(SPEC) and not SPEC.is_like(further)
