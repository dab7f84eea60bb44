"""Next: every position is asked given what comes before it, streams without an order are the condition."""

import numpy as np
import pytest
import torch

from statecast.axes import Axis
from statecast.streams import Tokens, TokenSpec
from statecast.tasks import Next, TaskError

WORDS = TokenSpec(vocabulary=7, axes=(Axis("rank", "index"),), order="rank", ragged=True)
LABEL = TokenSpec(vocabulary=3)
PLACES = TokenSpec(size=1, axes=(Axis("place", "plane"),))


def sentence(length: int) -> Tokens:
    empty = torch.zeros(length, 0)
    ranks = torch.arange(float(length))[:, None]
    return Tokens(empty, ranks, empty.bool(), WORDS, codes=torch.arange(length) % 7)


def label() -> Tokens:
    return Tokens(torch.zeros(1, 0), torch.zeros(1, 0), torch.zeros(1, 0).bool(), LABEL, codes=torch.tensor([2]))


def ask(window):
    return Next()(window, np.random.default_rng(0), np.random.default_rng(1))


@pytest.mark.parametrize("length", [0, 1, 2, 9])
def test_every_token_is_visible_and_asked_and_the_question_is_causal(length):
    question = ask({"words": sentence(length)})
    assert question.causal and question.asks == "tokens"
    for part in (question.context, question.queries):
        assert torch.equal(part["words"].codes, sentence(length).codes)
        assert part["words"].index.tolist() == list(range(length))


def test_a_stream_without_an_order_is_the_condition_and_is_not_asked():
    question = ask({"label": label(), "words": sentence(4)})
    assert set(question.context) == {"label", "words"} and set(question.queries) == {"words"}
    assert question.context["label"].codes.tolist() == [2]


def test_nothing_is_drawn_at_random():
    window = {"label": label(), "words": sentence(4)}
    generators = np.random.default_rng(0), np.random.default_rng(1)
    before = [generator.bit_generator.state for generator in generators]
    asked, complete = Next()(window, *generators), Next().complete(window, seed=5)
    assert [generator.bit_generator.state for generator in generators] == before
    assert torch.equal(asked.queries["words"].codes, complete.queries["words"].codes)


def test_numbers_that_tokens_have_already_are_kept():
    later = sentence(6).numbered()[2:]
    assert ask({"words": later}).queries["words"].index.tolist() == [2, 3, 4, 5]


def test_streams_of_which_none_has_an_order_are_refused():
    with pytest.raises(
        TaskError, match=r"task.kind next: no stream has an order axis \(label, places\).*such as masked"
    ):
        Next().require({"label": LABEL, "places": PLACES})
    Next().require({"label": LABEL, "words": WORDS})
