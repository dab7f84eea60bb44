"""The model: what it may see, what an answer starts from, and that it learns. Axes as in the module."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from statecast.models import ModelOptions
from statecast.models.losses import question_loss
from statecast.streams import Question


def answers(model, question: Question) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return {name: said.members for name, said in model.answer(question).items()}


@pytest.mark.parametrize("head", ["ensemble", "point"])
def test_every_asked_token_gets_its_members(make_model, question, head):
    model = make_model(head=head)
    prediction = answers(model, question)
    members = {"ensemble": 4, "point": 1}[head]
    assert {name: tuple(p.shape) for name, p in prediction.items()} == {
        "air": (2, 24, members, 8),
        "surface": (2, 12, members, 2),
    }


@pytest.mark.parametrize("head", ["ensemble", "point"])
def test_the_model_overfits_one_batch_and_every_parameter_gets_a_gradient(make_model, question, head):
    """Both streams have times that differ and one has two levels, so that no part of the geometry is without effect."""
    model = make_model(head=head)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses, moved = [], set()
    for _ in range(50):
        optimiser.zero_grad()
        loss = question_loss(model, model.answer(question), question)
        loss.backward()
        if len(losses) < 2:  # what the modulations tell apart matters once they are no longer 0
            moved |= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimiser.step()
        losses.append(loss.item())
    assert moved == {name for name, _ in model.named_parameters()}
    assert losses[-1] < 0.35 * losses[0]


def test_the_encoder_never_sees_a_hidden_value(make_model, question):
    """Neither the values of the queries nor those of the context that were not observed: the answer is the same to the bit."""
    model = make_model()
    before = answers(model, question)
    random = torch.Generator().manual_seed(9)
    hidden = {n: t.replace(torch.randn(t.values.shape, generator=random)) for n, t in question.queries.items()}
    shown = {
        n: t.replace(torch.where(t.observed, t.values, torch.randn(t.values.shape, generator=random)))
        for n, t in question.context.items()
    }
    after = answers(model, Question(shown, hidden))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_observed_zero_is_not_a_gap(make_model, question):
    model = make_model()
    air = question.context["air"]
    zeros = replace(air, values=torch.zeros_like(air.values), observed=torch.ones_like(air.observed))
    gaps = replace(zeros, observed=torch.zeros_like(air.observed))
    one, other = (answers(model, Question({"air": t}, question.queries)) for t in (zeros, gaps))
    assert not torch.allclose(one["air"], other["air"])


def test_answers_do_not_depend_on_the_order_of_what_is_shown_or_asked(make_model, make_tokens):
    """If what was shown last is nearer than what is shown next; of two that are as near, the one that comes first is the anchor."""
    model = make_model()
    question = Question(
        {"air": make_tokens("air", (0, 1, 4), seed=1), "surface": make_tokens("surface", (0, 1, 4), seed=2)},
        {"air": make_tokens("air", (2,), seed=3), "surface": make_tokens("surface", (2,), seed=4)},
    )
    before = answers(model, question)
    random = torch.Generator().manual_seed(3)
    orders = {name: torch.randperm(len(t), generator=random) for name, t in question.queries.items()}
    context = {
        name: question.context[name][torch.randperm(len(question.context[name]), generator=random)]
        for name in reversed(question.context)
    }
    after = answers(model, Question(context, {name: t[orders[name]] for name, t in question.queries.items()}))
    for name, order in orders.items():
        torch.testing.assert_close(after[name], before[name][:, order], rtol=1e-4, atol=1e-5)


def test_answers_do_not_depend_on_what_else_is_asked(make_model, question):
    model = make_model()
    before = answers(model, question)
    alone = answers(model, Question(question.context, {"air": question.queries["air"][3:5]}))
    torch.testing.assert_close(alone["air"], before["air"][:, 3:5], rtol=1e-4, atol=1e-5)


def test_samples_of_a_batch_do_not_see_one_another(make_model, question):
    model = make_model()
    first = question.each(lambda tokens: tokens.each(lambda part: part[:1], lambda part: part[:1]))
    torch.testing.assert_close(answers(model, first)["air"], answers(model, question)["air"][:1], rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(make_model):
    one, same, other = make_model(0).state_dict(), make_model(0).state_dict(), make_model(1).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["heads.air.weight"], other["heads.air.weight"])


def test_a_stream_of_which_nothing_is_shown_can_be_asked(make_model, question):
    model = make_model()
    none = question.context["air"][:0]
    empty = Question({**question.context, "air": none}, question.queries)
    absent = Question({"surface": question.context["surface"]}, question.queries)
    torch.testing.assert_close(answers(model, empty)["air"], answers(model, absent)["air"])


def test_a_stream_that_the_model_does_not_know_is_refused(make_model, question):
    with pytest.raises(KeyError, match="ocean"):
        make_model()(question.context, {"ocean": question.queries["air"]})
    with pytest.raises(KeyError, match="ocean"):
        make_model()({"ocean": question.context["air"]}, question.queries)


def test_the_loss_weighs_tokens_and_averages_streams(make_model, question):
    model = make_model(head="point")
    predictions = {
        name: replace(said, members=torch.zeros_like(said.members)) for name, said in model.answer(question).items()
    }
    by_hand = []
    for name, tokens in question.queries.items():
        area = tokens.weight[..., None] * tokens.observed
        by_hand.append(((area * (tokens.values / predictions[name].spread) ** 2).sum((1, 2)) / area.sum((1, 2))).mean())
    loss = question_loss(model, predictions, question)
    torch.testing.assert_close(loss, sum(by_hand) / 2)


@pytest.mark.parametrize("options", [{"width": 64, "heads": 8}, {"width": 100, "heads": 3}])
def test_heads_without_room_for_content_are_refused_with_the_options(options):
    with pytest.raises(
        ValidationError, match="expected a multiple of the number of heads, with more than 8 values per head"
    ):
        ModelOptions(**options)
