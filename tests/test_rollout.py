"""Training through a roll-out: each block is shown the answer to the last, in the place of the truth."""

import math

import pytest
import torch
from pydantic import ValidationError

import statecast
from statecast.models.losses import question_losses
from statecast.rollout import training_losses
from statecast.splits import open_training
from statecast.streams import Question, stack_questions
from statecast.tasks import Forecast
from statecast.trained import build
from statecast.training import QuestionDataset

DAMPING = math.exp(-3.7)  # per hour, at the start


def asked_of(runs, **task):
    """The first two samples of a training, and a model with answers that are their anchors."""
    trained = statecast.load(runs.forecast)
    recipe = statecast.read_recipe(
        runs.tuning | {"task": {"kind": "forecast", "history": 1, "leads": 1} | task}, inherit=trained.recipe
    )
    questions = QuestionDataset(open_training(recipe, trained.codecs), recipe.task, 0, 2, 4)
    return trained.model, recipe.task, stack_questions([questions[0], questions[1]])


class Recording:
    """Answers as the model does and keeps what it was asked."""

    def __init__(self, model):
        self.model, self.asked, self.answers = model, [], []

    def __call__(self, question: Question):
        self.asked.append(question)
        self.answers.append(self.model.answer(question))
        return self.answers[-1]


def test_one_block_is_what_it_was(runs):
    model, task, question = asked_of(runs)
    answer = Recording(model)
    losses = training_losses(answer, model, question, task)
    expected = question_losses(model, model.answer(question), question)
    assert losses.keys() == expected.keys() and all(torch.equal(losses[n], expected[n]) for n in losses)


@pytest.mark.parametrize(("history", "leads", "blocks"), [(1, 1, 3), (2, 1, 2), (1, 2, 2)])
def test_each_block_looks_as_the_first_does_and_is_shown_the_answers(runs, history, leads, blocks):
    model, task, question = asked_of(runs, history=history, leads=leads, rollout=blocks)
    answer = Recording(model)
    losses = training_losses(answer, model, question, task)
    assert len(answer.asked) == blocks
    first = answer.asked[0]
    for block, asked in enumerate(answer.asked):
        for side, of_first in ((asked.context, first.context), (asked.queries, first.queries)):
            offsets = side["fields"].coordinate("offset_h")[0].sort().values
            torch.testing.assert_close(offsets, of_first["fields"].coordinate("offset_h")[0].sort().values)
        if block and history == leads:
            shown = answer.answers[block - 1]["fields"].members.mean(dim=-2)
            torch.testing.assert_close(asked.context["fields"].values, shown)
    parts = [question_losses(model, a, q)["fields"] for a, q in zip(answer.answers, answer.asked, strict=True)]
    torch.testing.assert_close(losses["fields"], torch.stack(parts).mean())
    whole = torch.cat([q.queries["fields"].values for q in answer.asked], dim=1)
    assert torch.equal(whole.sort(dim=1).values, question.queries["fields"].values.sort(dim=1).values)  # all, once


def test_levels_with_tokens_of_their_own_are_all_shown_in_every_block(runs):
    """Tokens lie level by level: those of the second block are not the last ones."""
    streams = {"t": {"variables": ["t"], "levels": [500, 850], "patch": [2, 2, 2], "levels_share_token": False}}
    task = {"kind": "forecast", "history": 1, "leads": 1, "rollout": 3}
    recipe = statecast.read_recipe(runs.recipe | {"streams": streams, "task": task})
    source = open_training(recipe, {})
    model = build(recipe.model, source.codecs, seed=0)
    question = stack_questions([QuestionDataset(source, recipe.task, 0, 1, 1)[0]])
    answer = Recording(model)
    training_losses(answer, model, question, recipe.task)
    for last, asked in zip(answer.answers, answer.asked[1:], strict=False):
        torch.testing.assert_close(asked.context["t"].values, last["t"].members.mean(dim=-2))
        for axis in ("pressure_hpa", "offset_h"):
            first = answer.asked[0].context["t"].coordinate(axis)
            assert torch.equal(asked.context["t"].coordinate(axis), first)


def test_with_anchors_alone_the_second_block_is_the_damping_of_the_damping(runs):
    """Tokens of two steps of 6 h: from the last step of the answer, damped by 12 h, its steps lie 6 and 12 h ahead."""
    model, task, question = asked_of(runs, rollout=2)
    for head in model.heads.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    correlation = model.anchors["fields"].of_lag
    correlation.copy_(torch.exp(-DAMPING * 6 * torch.arange(correlation.shape[1])))
    answer = Recording(model)
    training_losses(answer, model, question, task)
    start = question.context["fields"]
    last = (start.values * start.observed).unflatten(-1, (3, 2, 4))[..., -1, :]
    second = answer.answers[1]["fields"].members[:, :, 0].unflatten(-1, (3, 2, 4))
    for step in range(2):
        expected = last * math.exp(-DAMPING * 12) * math.exp(-DAMPING * 6 * (step + 1))
        torch.testing.assert_close(second[..., step, :], expected, rtol=0, atol=0.02)


def test_the_loss_of_the_second_block_reaches_through_the_first(runs):
    model, task, question = asked_of(runs, rollout=2)
    answer = Recording(model)
    training_losses(answer, model, question, task)
    loss = question_losses(model, answer.answers[1], answer.asked[1])["fields"]
    (gradient,) = torch.autograd.grad(loss, answer.answers[0]["fields"].members)
    assert gradient.abs().max() > 0


def test_a_run_through_a_roll_out_trains_verifies_and_goes_on_as_if_it_had_not_been_stopped(runs, tmp_path):
    task = {"kind": "forecast", "history": 1, "leads": 1, "rollout": 2}
    recipe = runs.tuning | {"task": task, "training": runs.tuning["training"] | {"checkpoint_every": 1}}
    whole = statecast.finetune(recipe, runs.forecast, tmp_path / "whole", progress=False).model.state_dict()
    unfinished = tmp_path / "again.unfinished"
    (tmp_path / "whole").rename(unfinished)
    (unfinished / "checkpoints" / "step-00000003.ckpt").unlink()
    (unfinished / "model").rename(unfinished / "start")
    again = statecast.finetune(recipe, runs.forecast, tmp_path / "again", resume=True, progress=False)
    assert all(torch.equal(value, whole[name]) for name, value in again.model.state_dict().items())
    found = statecast.evaluate(
        tmp_path / "again", runs.store, runs.held_out, tmp_path / "s", every_h=96, progress=False, report=False
    )
    assert found.verifications[0].labels("lead_time_h") == (6.0, 12.0)  # of one block


def test_a_roll_out_needs_all_of_an_answer():
    with pytest.raises(
        ValidationError, match=r"rollout is 2 and asked 0\.5: a roll-out continues from its own answer and needs all"
    ):
        Forecast(rollout=2, asked=0.5)
