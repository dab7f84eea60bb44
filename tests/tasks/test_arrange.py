"""Arrangement: tokens without their positions are visible, and each position asks which of them belongs there."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from statecast.axes import Axis
from statecast.streams import Tokens, TokenSpec, stack_questions
from statecast.tasks import Arrange, TaskError

PLACE, RANK = Axis("place", "plane"), Axis("rank", "index")
SPEC = TokenSpec(size=1, vocabulary=50, axes=(PLACE, RANK), order="rank", ragged=True)
LABEL = TokenSpec(vocabulary=3)


def puzzle(count: int) -> Tokens:
    """Tokens that can be told apart: value, code, place and rank are the number."""
    number = torch.arange(float(count))[:, None]
    observed = torch.ones(count, 1, dtype=torch.bool)
    return Tokens(number, number.expand(-1, 3).clone(), observed, SPEC, codes=torch.arange(count))


def label() -> Tokens:
    return Tokens(torch.zeros(1, 0), torch.zeros(1, 0), torch.zeros(1, 0).bool(), LABEL, codes=torch.tensor([2]))


def ask(task: Arrange, window, sample: int = 0, step: int = 0):
    return task(window, np.random.default_rng([sample, 0]), np.random.default_rng([step, 1]))


@pytest.mark.parametrize("task", [Arrange(), Arrange(hidden=0.3), Arrange(axes=("rank",)), Arrange(asked=0.4)])
def test_codes_point_at_the_visible_token_that_belongs_to_the_asked_place(task):
    for sample in range(5):
        question = ask(task, {"pieces": puzzle(20)}, sample)
        shown, asked = question.context["pieces"], question.queries["pieces"]
        assert question.asks == "places"
        assert torch.equal(shown.values[asked.codes][:, 0], asked.coords[:, 0])  # a token's value is its place
        assert torch.equal(shown.index[asked.codes], asked.index) and torch.equal(asked.about, asked.codes)


def test_positions_of_what_is_asked_are_hidden_and_all_others_are_shown():
    question = ask(Arrange(hidden=0.3), {"pieces": puzzle(20)})
    shown, asked = question.context["pieces"], question.queries["pieces"]
    hidden = shown.coords.isnan().all(dim=-1)
    assert len(asked) == 6 and set(hidden.nonzero()[:, 0].tolist()) == set(asked.codes.tolist())
    assert torch.equal(shown.coords[~hidden], shown.values[~hidden].expand(-1, 3))
    assert shown.partial == ("place", "rank")


def test_an_axis_that_is_not_named_stays():
    shown = ask(Arrange(axes=("place",)), {"pieces": puzzle(20)}).context["pieces"]
    assert shown.along("place").isnan().all() and torch.equal(shown.along("rank"), shown.values)
    assert shown.partial == ("place",)


def test_tokens_that_lacked_an_axis_before_still_do():
    question = ask(Arrange(axes=("place",)), {"pieces": puzzle(20).without(["rank"])})
    assert set(question.context["pieces"].partial) == {"place", "rank"}
    assert set(question.queries["pieces"].partial) == {"rank"}


def test_content_is_complete_and_in_random_order():
    shown = [ask(Arrange(), {"pieces": puzzle(20)}, sample).context["pieces"].codes.tolist() for sample in range(3)]
    assert all(sorted(codes) == list(range(20)) for codes in shown)
    assert shown[0] != shown[1] != shown[2] and shown[0] != list(range(20))


def test_a_stream_without_the_axes_is_shown_and_not_asked():
    question = ask(Arrange(axes=("rank",)), {"pieces": puzzle(5), "label": label()})
    assert set(question.queries) == {"pieces"} and question.context["label"].codes.tolist() == [2]
    assert set(ask(Arrange(), {"pieces": puzzle(5), "label": label()}).queries) == {"pieces"}


def test_two_tokens_at_one_place_are_two_tokens():
    tokens = puzzle(6)
    tokens.coords.zero_()
    question = ask(Arrange(), {"pieces": tokens})
    shown, asked = question.context["pieces"], question.queries["pieces"]
    assert asked.codes.tolist() == list(range(6)) and sorted(asked.index.tolist()) == list(range(6))
    assert torch.equal(shown.index[asked.codes], asked.index)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_tokens_are_all_asked(count):
    question = ask(Arrange(), {"pieces": puzzle(count)})
    assert question.queries["pieces"].codes.tolist() == list(range(count))
    assert len(question.context["pieces"]) == count


def test_ragged_samples_stack_and_padding_asks_nothing():
    asked = stack_questions([ask(Arrange(), {"pieces": puzzle(count)}) for count in (0, 1, 2, 9)]).queries["pieces"]
    assert asked.present.sum(dim=-1).tolist() == [0, 1, 2, 9]
    assert (asked.codes[~asked.present] == -1).all()


def test_a_question_is_a_function_of_the_generator_of_the_sample_alone():
    task, window = Arrange(hidden=0.5, asked=0.5), {"pieces": puzzle(20)}
    one, same, other = (ask(task, window, sample, step) for sample, step in ((3, 0), (3, 1), (4, 0)))
    for part in ("context", "queries"):
        first, second, third = (getattr(question, part)["pieces"] for question in (one, same, other))
        assert torch.equal(first.index, second.index) and not torch.equal(first.index, third.index)
    first, again, other = (task.complete(window, seed).context["pieces"].index for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_window_is_left_as_it_was():
    tokens = puzzle(5)
    ask(Arrange(), {"pieces": tokens})
    assert torch.equal(tokens.coords, puzzle(5).coords) and tokens.partial == ()


def test_an_axis_that_no_stream_has_is_refused():
    with pytest.raises(TaskError, match=r"task.axes: no stream has an axis time. Axes: place, rank. Name one of them"):
        Arrange(axes=("place", "time")).require({"pieces": SPEC, "label": LABEL})
    Arrange(axes=("place",)).require({"pieces": SPEC, "label": LABEL})


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_a_hidden_share_of_none_or_more_than_all_is_refused(share):
    with pytest.raises(ValidationError, match="hidden"):
        Arrange(hidden=share)
