"""Detection of replaced tokens: what replaces them, and that the answer says which they are."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from statecast.axes import Axis
from statecast.streams import Tokens, TokenSpec, stack_questions
from statecast.tasks import Detect, TaskError

SPEC = TokenSpec(size=2, vocabulary=50, axes=(Axis("place", "plane"),), ragged=True)


def cloud(count: int) -> Tokens:
    """Tokens that can be told apart: value, code and place are the number; the second value of odd ones was not observed."""
    number = torch.arange(float(count))
    observed = torch.stack([torch.ones(count), number % 2 == 0], dim=1).bool()
    values = (number[:, None] + 1.0) * observed
    return Tokens(values, number[:, None].expand(-1, 2).clone(), observed, SPEC, codes=torch.arange(count))


def ask(task: Detect, window, sample: int = 0, step: int = 0):
    return task(window, np.random.default_rng([sample, 0]), np.random.default_rng([step, 1]))


@pytest.mark.parametrize("sample", range(5))
def test_the_answer_says_which_visible_tokens_hold_the_content_of_others(sample):
    tokens = cloud(40)
    question = ask(Detect(replaced=0.3), {"cloud": tokens}, sample)
    shown, asked = question.context["cloud"], question.queries["cloud"]
    assert question.asks == "replaced" and not question.causal
    differs = (shown.codes != tokens.codes)[asked.about]
    assert torch.equal(asked.codes, differs.long())
    assert asked.codes.sum() == 12


def test_what_replaces_a_token_is_the_whole_content_of_another_and_none_of_its_place():
    tokens = cloud(40)
    shown = ask(Detect(replaced=0.5), {"cloud": tokens}).context["cloud"]
    source = shown.codes
    assert torch.equal(shown.values, tokens.values[source]) and torch.equal(shown.observed, tokens.observed[source])
    assert torch.equal(shown.coords, tokens.coords) and torch.equal(shown.index, torch.arange(40))


def test_a_replaced_token_never_keeps_its_own_content():
    for sample in range(60):
        question = ask(Detect(replaced=0.5), {"cloud": cloud(4)}, sample)
        assert (question.context["cloud"].codes != torch.arange(4)).sum() == 2


def test_any_token_may_be_replaced_by_any_other():
    seen = {
        (place, code)
        for sample in range(400)
        for place, code in enumerate(
            ask(Detect(replaced=0.5), {"cloud": cloud(4)}, sample).context["cloud"].codes.tolist()
        )
    }
    assert seen == {(place, code) for place in range(4) for code in range(4)}


def test_the_asked_share_points_at_its_own_visible_tokens():
    tokens = cloud(40)
    question = ask(Detect(replaced=0.3, asked=0.25), {"cloud": tokens})
    shown, asked = question.context["cloud"], question.queries["cloud"]
    assert len(asked) == 10 and len(shown) == 40
    assert torch.equal(asked.coords, shown.coords[asked.about]) and torch.equal(asked.index, shown.index[asked.about])
    assert torch.equal(asked.codes, (shown.codes != tokens.codes)[asked.about].long())


def test_tokens_at_one_place_are_told_apart_by_their_number():
    tokens = cloud(10)
    tokens.coords.zero_()
    question = ask(Detect(replaced=0.5), {"cloud": tokens})
    asked = question.queries["cloud"]
    assert asked.about.tolist() == list(range(10))
    assert torch.equal(asked.codes, (question.context["cloud"].codes != tokens.codes).long())


def test_values_without_codes_are_replaced_too():
    spec = TokenSpec(size=1, axes=(Axis("rank", "index"),), order="rank")
    number = torch.arange(20.0)[:, None]
    window = {"states": Tokens(number, number, torch.ones(20, 1).bool(), spec)}
    question = ask(Detect(replaced=0.2), window)
    differs = (question.context["states"].values != number)[:, 0]
    assert torch.equal(question.queries["states"].codes, differs.long()) and differs.sum() == 4
    assert question.context["states"].codes is None


@pytest.mark.parametrize(("count", "replaced"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_of_few_tokens_one_is_replaced_if_there_is_another(count, replaced):
    question = ask(Detect(replaced=0.15), {"cloud": cloud(count)})
    assert question.queries["cloud"].codes.sum() == replaced
    assert len(question.context["cloud"]) == len(question.queries["cloud"]) == count


def test_ragged_samples_stack_and_padding_asks_nothing():
    stacked = stack_questions([ask(Detect(), {"cloud": cloud(count)}) for count in (0, 1, 2, 9)])
    asked = stacked.queries["cloud"]
    assert asked.present.sum(dim=-1).tolist() == [0, 1, 2, 9]
    assert (asked.codes[~asked.present] == -1).all() and (asked.about < 16).all()


def test_a_question_is_a_function_of_the_generator_of_the_sample_alone():
    task, window = Detect(replaced=0.4, asked=0.5), {"cloud": cloud(20)}
    one, same, other = (ask(task, window, sample, step) for sample, step in ((3, 0), (3, 1), (4, 0)))
    for part in ("context", "queries"):
        first, second, third = (getattr(question, part)["cloud"] for question in (one, same, other))
        assert torch.equal(first.values, second.values) and torch.equal(first.codes, second.codes)
        assert not torch.equal(first.values, third.values)
    first, again, other = (task.complete(window, seed).context["cloud"].codes for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_none_or_all_is_refused(share):
    with pytest.raises(ValidationError, match="replaced"):
        Detect(replaced=share)


CODES = TokenSpec(vocabulary=50, axes=(Axis("rank", "index"),), order="rank", ragged=True)


class Always:
    """Proposes one code for every hidden token, which it must not see."""

    def __call__(self, question, generator):
        asked = question.queries["s"]
        assert not set(asked.index.tolist()) & set(question.context["s"].index.tolist())
        return {"s": torch.full((len(asked),), 7)}


def test_a_proposal_that_is_the_truth_does_not_count_as_replaced(monkeypatch):
    monkeypatch.setattr("statecast.tasks.detect.proposer", lambda directory: Always())
    empty, codes = torch.zeros(40, 0), torch.arange(40) % 10
    tokens = Tokens(empty, torch.arange(40.0)[:, None], empty.bool(), CODES, codes=codes)
    question = ask(Detect(replaced=0.5, proposals="run"), {"s": tokens})
    shown, asked = question.context["s"], question.queries["s"]
    assert torch.equal(asked.codes, (shown.codes != codes).long()) and set(shown.codes[asked.codes == 1].tolist()) == {
        7
    }
    assert 10 < asked.codes.sum() <= 20 and asked.codes[codes == 7].sum() == 0


def test_proposals_are_of_codes_by_a_model_that_is_there():
    task = Detect(proposals="gone")
    with pytest.raises(TaskError, match=r"task.proposals: stream cloud has values, expected codes alone"):
        task.require({"cloud": SPEC})
    with pytest.raises(TaskError, match=r"task.proposals: "):
        task.require({"s": CODES})
