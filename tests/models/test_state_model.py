"""The model: what it may see, what an answer starts from, and that it learns. Axes as in the module."""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from statecast.models import ModelOptions, StateModel
from statecast.models.state_model import question_loss
from statecast.streams import COORDINATES, Question, Tokens, TokenSpec

OFFSET, PRESSURE = COORDINATES.index("offset_h"), COORDINATES.index("pressure_hpa")
STEP_H, DEPTH = 6.0, 2
SMALL = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=4, reach_deg=30.0)


def answers(model, question: Question) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return {name: said.members for name, said in model(question.context, question.queries).items()}


def zero_heads(model) -> None:
    """Answers are then their anchors."""
    for head in model.heads.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)


def test_a_token_has_a_value_for_each_channel_and_point():
    assert TokenSpec(channels=5, patch=(3, 9, 9), step_h=6).size == 1215


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
        loss = question_loss(model, model(question.context, question.queries), question)
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
        {"air": make_tokens(8, (0, 1, 4), seed=1), "surface": make_tokens(2, (0, 1, 4), (1013.25,), seed=2)},
        {"air": make_tokens(8, (2,), seed=3), "surface": make_tokens(2, (2,), (1013.25,), seed=4)},
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
    first = Question(*({n: Tokens(t.values[:1], t.coords[:1], t.observed[:1]) for n, t in w.items()}
                       for w in (question.context, question.queries)))  # fmt: skip
    torch.testing.assert_close(answers(model, first)["air"], answers(model, question)["air"][:1], rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(make_model):
    one, same, other = make_model(0).state_dict(), make_model(0).state_dict(), make_model(1).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["heads.air.weight"], other["heads.air.weight"])


def persisted(tokens: Tokens) -> torch.Tensor:
    """B N V S R: where a step was not observed, the other step of its token."""
    values, observed = ((t.unflatten(-1, (2, DEPTH, 2))) for t in (tokens.values, tokens.observed))
    return torch.where(observed, values, (values * observed).flip(-2))


def test_zero_heads_give_the_damped_state_that_was_shown_last(make_model, make_tokens):
    """exp(-|Δt| / 40 h) times the last step that was shown: until it is told how long anomalies last."""
    model = make_model()
    zero_heads(model)
    shown, asked = (make_tokens(8, slabs, seed=1) for slabs in ((0, 1), (2,)))
    prediction = answers(model, Question({"air": shown}, {"air": asked}))["air"].unflatten(-1, (2, DEPTH, 2))
    values = persisted(shown).unflatten(1, (2, 2, 12))  # level, slab, place
    last_step = values[:, :, -1, ..., -1, :]  # of the last slab
    for step in range(DEPTH):
        damped = last_step * math.exp(-(step + 1) * STEP_H / 40)
        for member in range(4):
            torch.testing.assert_close(prediction[..., member, :, step, :], damped.flatten(1, 2), rtol=0, atol=2e-3)


def test_what_was_shown_later_is_an_anchor_too_and_counts_from_its_first_step(make_model, make_tokens):
    model = make_model()
    zero_heads(model)
    shown, asked = (make_tokens(8, slabs, seed=1) for slabs in ((1,), (0,)))
    prediction = answers(model, Question({"air": shown}, {"air": asked}))["air"].unflatten(-1, (2, DEPTH, 2))
    first_step = persisted(shown)[..., 0, :]
    for step in range(DEPTH):
        damped = first_step * math.exp(-(DEPTH - step) * STEP_H / 40)
        torch.testing.assert_close(prediction[:, :, 0, :, step, :], damped, rtol=0, atol=2e-3)


def test_zero_heads_give_climatology_where_the_place_was_not_shown(make_model, question):
    model = make_model()
    zero_heads(model)
    without_air = Question({"surface": question.context["surface"]}, question.queries)
    assert not answers(model, without_air)["air"].any()
    elsewhere = question.queries["air"]
    moved = elsewhere.coords.clone()
    moved[..., 1] += 45
    assert not answers(model, Question(question.context, {"air": replace(elsewhere, coords=moved)}))["air"].any()


def test_a_token_that_is_shown_as_noise_is_not_its_own_anchor(make_model, make_tokens):
    """The same place and time is both shown and asked: the anchor is the slab before it, as if nothing had been shown there."""
    model = make_model()
    zero_heads(model)
    true, asked = make_tokens(8, (0,), seed=1), make_tokens(8, (1,), seed=2)
    both = Tokens(*(torch.cat([getattr(t, f) for t in (asked, true)], dim=1) for f in ("values", "coords", "observed")))
    with_noise, without = (answers(model, Question({"air": t}, {"air": asked}))["air"] for t in (both, true))
    assert torch.equal(with_noise, without) and without.any()
    assert not answers(model, Question({"air": asked}, {"air": asked}))["air"].any()


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


def test_the_loss_weighs_by_cell_area_and_averages_streams(make_model, question):
    model = make_model(head="point")
    predictions = {
        name: said._replace(members=torch.zeros_like(said.members))
        for name, said in model(question.context, question.queries).items()
    }
    by_hand = []
    for name, tokens in question.queries.items():
        area = torch.cos(torch.deg2rad(tokens.coords[..., 0]))[..., None] * tokens.observed
        by_hand.append(((area * (tokens.values / predictions[name].spread) ** 2).sum((1, 2)) / area.sum((1, 2))).mean())
    loss = question_loss(model, predictions, question)
    torch.testing.assert_close(loss, sum(by_hand) / 2)


def test_departures_are_counted_in_units_of_what_the_anchor_leaves_and_of_climatology_where_nothing_was_observed(
    make_model, make_tokens
):
    """Heads that always say one: the answer lies one spread off its anchor, which differs between channels and steps."""
    model = make_model()
    steps = torch.arange(model.correlation_of("air").shape[1])
    model.correlation_of("air").copy_(torch.stack([torch.exp(-0.05 * steps), torch.exp(-1e-4 * steps)]))
    shown, asked = (make_tokens(8, slabs, seed=1) for slabs in ((0,), (1,)))
    never = shown.observed.unflatten(-1, (2, DEPTH, 2)).clone()
    never[:, 0, 0] = False  # the first channel of the first token
    shown = replace(shown, observed=never.flatten(-3))
    said = model({"air": shown}, {"air": asked})["air"]
    spread = said.spread.unflatten(-1, (2, DEPTH, 2))
    torch.testing.assert_close(spread[:, 0, 0], torch.ones(2, DEPTH, 2))
    seen = never[:, :, 0].any(dim=-2).all(dim=-1)
    for step in range(DEPTH):
        expected = math.sqrt(1 - math.exp(-0.1 * (step + 1)))
        torch.testing.assert_close(
            spread[:, :, 0, step][seen], torch.full((int(seen.sum()), 2), expected), rtol=2e-3, atol=0
        )
    assert (
        spread[:, :, 1][never[:, :, 1].any(dim=-2, keepdim=True).expand(-1, -1, DEPTH, -1)] == 0.1
    ).all()  # the least
    for head in model.heads.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.ones_(head.bias)
    one = model({"air": shown}, {"air": asked})["air"].members[:, :, 0]
    zero_heads(model)
    anchor = model({"air": shown}, {"air": asked})["air"].members[:, :, 0]
    torch.testing.assert_close(one - anchor, said.spread)


def test_what_starts_from_climatology_or_a_first_guess_is_counted_in_plain_units(make_model, question, guided):
    without_air = Question({"surface": question.context["surface"]}, question.queries)
    assert (make_model()(without_air.context, without_air.queries)["air"].spread == 1).all()
    model, asked = guided
    assert (model(asked.context, asked.queries)["fine"].spread == 1).all()


@pytest.mark.parametrize("options", [{"width": 64, "heads": 8}, {"width": 100, "heads": 3}])
def test_heads_without_room_for_content_are_refused_with_the_options(options):
    with pytest.raises(
        ValidationError, match="expected a multiple of the number of heads, with more than 8 values per head"
    ):
        ModelOptions(**options)


@pytest.fixture
def guided(make_tokens):
    """A question about a stream that isn't shown, with a first guess, and a model that knows it."""
    spec = TokenSpec(channels=2, patch=(DEPTH, 1, 2), step_h=STEP_H, guessed=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = StateModel(SMALL, {"air": TokenSpec(channels=2, patch=(DEPTH, 1, 2), step_h=STEP_H), "fine": spec})
    asked = replace(make_tokens(8, (0,), seed=3), guess=make_tokens(72, (0,), seed=4).values)
    return model, Question({"air": make_tokens(8, (0,), seed=1)}, {"fine": asked})


def test_zero_heads_give_the_first_guess_at_the_points_of_the_token(guided):
    model, question = guided
    zero_heads(model)
    guess = question.queries["fine"].guess.unflatten(-1, (2, DEPTH, 3, 6))  # a token has 1 x 2 points
    for member in range(4):
        answer = answers(model, question)["fine"][:, :, member].unflatten(-1, (2, DEPTH, 1, 2))
        torch.testing.assert_close(answer, guess[..., 1:2, 2:4])


def test_the_map_of_the_first_guess_reads_what_lies_around_a_token_channel_by_channel(guided):
    model, question = guided
    zero_heads(model)
    with torch.no_grad():
        model.guess_map["fine"][1] = 0.25  # all points of the second channel: a quarter of the sum of what lies around
    guess = question.queries["fine"].guess.unflatten(-1, (2, DEPTH, 18))
    answer = answers(model, question)["fine"][:, :, 0].unflatten(-1, (2, DEPTH, 2))
    torch.testing.assert_close(answer[:, :, 1], 0.25 * guess[:, :, 1].sum(-1, keepdim=True).expand(-1, -1, -1, 2))
    torch.testing.assert_close(answer[:, :, 0], guess[:, :, 0, :, 8:10])


def test_the_first_guess_is_read_and_all_that_reads_it_learns(guided):
    model, question = guided
    asked = question.queries["fine"]
    other = Question(question.context, {"fine": replace(asked, guess=asked.guess + 1.0)})
    model.load_state_dict(model.state_dict() | {"guess_map.fine": torch.zeros(2, 2, 18)})
    assert not torch.allclose(answers(model, question)["fine"], answers(model, other)["fine"])
    question_loss(model, model(question.context, question.queries), question).backward()
    for name in ("guess_map.fine", "guesses.fine.weight", "guesses.fine.bias"):
        assert model.get_parameter(name).grad.abs().max() > 0
