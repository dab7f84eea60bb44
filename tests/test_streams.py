"""Streams and tokens."""

import pytest
import torch
from pydantic import ValidationError

from statecast.streams import COORDINATES, Channel, Question, Stream, Tokens, concatenate, stack, stack_questions


def tokens(count: int, values: int = 3, seed: int = 0) -> Tokens:
    random = torch.Generator().manual_seed(seed)
    return Tokens(
        torch.randn(count, values, generator=random),
        torch.randn(count, len(COORDINATES), generator=random),
        torch.rand(count, values, generator=random) > 0.2,
    )


def equal(a: Tokens, b: Tokens) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("values", "coords", "observed"))


def test_a_channel_is_written_with_its_level():
    assert str(Channel("t", 850.0)) == "t@850"
    assert str(Channel("msl", None)) == "msl"


@pytest.mark.parametrize("repeated", [{"variables": ("t", "t")}, {"variables": ("t",), "levels": (500, 500)}])
def test_a_name_given_twice_is_refused(repeated):
    with pytest.raises(ValidationError, match=r"are named twice: .* Name each once"):
        Stream(**repeated)


@pytest.mark.parametrize(
    ("wrong", "where", "reason"),
    [
        ({"variables": ()}, ("variables",), "too_short"),
        ({"variables": ("t",), "patch": (3, 0, 9)}, ("patch", 1), "greater_than_equal"),
        ({"variables": ("t",), "log_scale": {"t": 0.0}}, ("log_scale", "t"), "greater_than"),
        ({"variables": ("t",), "level": (500,)}, ("level",), "extra_forbidden"),
    ],
)
def test_a_stream_without_variables_an_empty_patch_a_scale_of_zero_and_an_unknown_key_are_refused(wrong, where, reason):
    with pytest.raises(ValidationError) as refused:
        Stream(**wrong)
    assert [(error["loc"], error["type"]) for error in refused.value.errors()] == [(where, reason)]


def test_a_stream_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Stream(variables=("t",)).patch = (1, 1, 1)


def test_indexing_takes_the_same_tokens_from_all_three_arrays():
    whole = tokens(5)
    index = torch.tensor([3, 0])
    part = whole[index]
    assert len(part) == 2
    assert equal(part, Tokens(whole.values[index], whole.coords[index], whole.observed[index]))
    batch = stack([{"a": whole}, {"a": tokens(5, seed=1)}])["a"]
    assert batch[1:3].values.shape == (2, 2, 3)
    assert len(batch) == 5


def test_a_coordinate_is_found_by_its_name():
    batch = stack([{"a": tokens(5)}, {"a": tokens(5, seed=1)}])["a"]
    for number, name in enumerate(COORDINATES):
        assert torch.equal(batch.coordinate(name), batch.coords[..., number])
    with pytest.raises(ValueError, match="not in tuple"):
        batch.coordinate("altitude_m")


def test_replacing_values_keeps_place_and_mask():
    whole = tokens(4)
    other = whole.replace(torch.zeros(4, 3))
    assert not other.values.any()
    assert other.coords is whole.coords and other.observed is whole.observed


def test_stacking_and_taking_apart_gives_the_samples_again():
    samples = [tokens(4, seed=s) for s in range(3)]
    batch = stack([{"a": t} for t in samples])["a"]
    for number, sample in enumerate(samples):
        assert equal(Tokens(batch.values[number], batch.coords[number], batch.observed[number]), sample)


def test_samples_of_unequal_length_do_not_stack():
    with pytest.raises(RuntimeError, match="equal size"):
        stack([{"a": tokens(4)}, {"a": tokens(5)}])


def test_questions_stack_in_context_and_queries():
    question = Question({"a": tokens(4)}, {"a": tokens(2, seed=1), "b": tokens(1, seed=2)})
    batch = stack_questions([question, question]).to("cpu")
    assert batch.context["a"].values.shape == (2, 4, 3)
    assert batch.queries["b"].observed.shape == (2, 1, 3)
    assert torch.equal(batch.queries["a"].coords[1], question.queries["a"].coords)


def test_concatenated_parts_follow_one_another():
    whole = tokens(5)
    assert equal(concatenate([whole[:2], whole[2:2], whole[2:]]), whole)
