"""What an answer starts from: which shown tokens, and what they let expect between and beside them. Axes as in the module."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from statecast.axes import column_names
from statecast.fields.anchors import Neighbours, field_spec, persist
from statecast.models import ModelOptions, StateModel
from statecast.models.losses import question_loss
from statecast.streams import Question, Tokens, concatenate

HERE = (40.0, 10.0)
STEP_H, DEPTH = 6.0, 2
SPEC = field_spec(1, (DEPTH, 1, 1), STEP_H, token_deg=15.0)


def places(*rows: tuple[float, float, float, float], steps: list[tuple[bool, bool]] | None = None) -> Tokens:
    """Tokens of two steps at (latitude, longitude, offset_h, pressure) as one sample; `steps` are those that are asked or were observed."""
    columns = column_names(SPEC.axes)
    given = [columns.index(c) for c in ("latitude_deg", "longitude_deg", "offset_h", "pressure_hpa")]
    coords = torch.zeros(1, len(rows), len(columns))
    coords[..., given] = torch.tensor(rows)
    coords[..., columns.index("spacing_deg")] = 1.0
    observed = torch.tensor(steps or [(True, True)] * len(rows))[None]
    return Tokens(torch.zeros(observed.shape), coords, observed, SPEC)


def nearest(asked: Tokens, shown: Tokens) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Index, whether it is at the same place, and hours to the nearest shown token."""
    neighbours = Neighbours.of(asked, shown)
    return neighbours.index[..., 0], neighbours.same_place[..., 0], neighbours.gap_h[..., 0]


def markov(rate: float) -> torch.Tensor:
    """Correlation of an Ornstein-Uhlenbeck process with itself so many steps before."""
    return torch.exp(-rate * STEP_H * torch.arange(65.0))[None]


def waves() -> torch.Tensor:
    """Correlation of a smooth process of waves that decay within a day, with a little noise."""
    hours = STEP_H * torch.arange(65.0)
    smooth = torch.exp(-((hours / 30) ** 2) / 2) * torch.cos(hours / 12)
    return torch.where(hours > 0, 0.99, 1.0)[None] * smooth


def expected(asked: Tokens, shown: Tokens, values: torch.Tensor, correlation: torch.Tensor) -> torch.Tensor:
    return Neighbours.of(asked, shown).krige(values[None, :, None, :, None], correlation, STEP_H)[0][0, ..., 0, :, 0]


def spread(asked: Tokens, shown: Tokens, correlation: torch.Tensor) -> torch.Tensor:
    return Neighbours.of(asked, shown).krige(torch.zeros(1, len(shown), 1, 2, 1), correlation, STEP_H)[1][0, :, 0]


def by_normal_equations(correlation: torch.Tensor, known: list[float], asked: list[float]) -> np.ndarray:
    """Weights of known times for asked ones, both in hours."""
    at = lambda s, t: np.interp(  # noqa: E731
        np.abs(np.subtract.outer(s, t)), STEP_H * np.arange(65), correlation[0].numpy()
    )
    return np.linalg.solve(at(known, known), at(known, asked)).T


def test_the_nearest_shown_token_is_of_the_same_place_then_the_nearest_in_time():
    here = (40.0, 10.0)
    shown = places((*here, 0, 500), (*here, 12, 500), (*here, 48, 500), (40.0, 17.5, 24, 500), (*here, 24, 850))
    asked = places((*here, 24, 500), (*here, 60, 500), (*here, 36, 500), (*here, -5, 500), (40.0, 20.0, 24, 500))
    index, same_place, gap_h = nearest(asked, shown)
    assert index.tolist() == [[1, 2, 2, 0, 3]]
    assert same_place.tolist() == [[True, True, True, True, False]]
    assert gap_h.tolist() == [[12.0, 12.0, -12.0, -5.0, 0.0]]


@pytest.mark.parametrize(("lat", "lon_step"), [(85.3, 7.5), (0.0, 1.0), (89.5, 1.0)])
def test_a_close_neighbour_is_no_substitute_for_the_same_place(lat, lon_step):
    """Near the poles, and on fine grids, the next token is close; the same place days ago is the anchor all the same."""
    shown = places((lat, 10.0, 0, 500), (lat, 10.0 + lon_step, 120, 500))
    index, same_place, gap_h = nearest(places((lat, 10.0, 120, 500)), shown)
    assert (index.item(), same_place.item(), gap_h.item()) == (0, True, 120.0)


def test_a_shown_token_at_the_asked_place_and_time_is_passed_over():
    here = (40.0, 10.0)
    index, same_place, gap_h = nearest(places((*here, 24, 500)), places((*here, 24, 500), (*here, 0, 500)))
    assert (index.item(), same_place.item(), gap_h.item()) == (1, True, 24.0)
    _, same_place, _ = nearest(places((*here, 24, 500)), places((*here, 24, 500)))
    assert not same_place.item()


def test_a_place_that_was_shown_before_and_after_has_neighbours_on_both_sides():
    shown = places((*HERE, 0, 500), (*HERE, 12, 500), (*HERE, 48, 500), (41.0, 10.0, 30, 500), (*HERE, 36, 850))
    neighbours = Neighbours.of(places((*HERE, 24, 500), (*HERE, 60, 500), (41.0, 10.0, 24, 500)), shown)
    assert neighbours.enclosed.tolist() == [[True, False, False]]
    assert neighbours.index[0, 0].tolist() == [1, 2]
    assert neighbours.gap_h[0, 0].tolist() == [12.0, -24.0]


def test_features_are_mixed_linearly_in_time_between_two_sides_and_taken_whole_beside_one():
    shown = places((*HERE, 0, 500), (*HERE, 36, 500))
    features = torch.tensor([[[0.0, 3.0], [9.0, 0.0]]])
    mixed = Neighbours.of(places((*HERE, 12, 500), (*HERE, 48, 500)), shown).mixed(features)
    torch.testing.assert_close(mixed, torch.tensor([[[3.0, 2.0], [9.0, 0.0]]]))


def test_what_lies_beside_one_goes_on_with_its_tendency():
    """Tokens of two steps at 0, 6 | 12, 18 h, later and earlier than what is shown."""
    for asked, times in ((15, [12.0, 18.0]), (-9, [-12.0, -6.0])):
        weights = by_normal_equations(waves(), [0.0, 6.0], times)
        assert np.abs(weights).max() > 1  # beyond the last value, not damped
        found = expected(places((*HERE, asked, 500)), places((*HERE, 3, 500)), torch.tensor([[7.0, 1.0]]), waves())
        np.testing.assert_allclose(found[0], weights @ [7.0, 1.0], rtol=0.02)


@pytest.mark.parametrize("correlation", [markov(0.05), waves()])
def test_what_lies_between_is_the_best_linear_estimate_from_all_steps_of_both_sides(correlation):
    shown, asked = places((*HERE, 3, 500), (*HERE, 39, 500)), places((*HERE, 15, 500), (*HERE, 27, 500))
    values = torch.tensor([[7.0, 1.5], [-2.0, 7.0]])
    weights = by_normal_equations(correlation, [0.0, 6.0, 36.0, 42.0], [12.0, 18.0, 24.0, 30.0])
    found = expected(asked, shown, values, correlation).flatten()
    np.testing.assert_allclose(found, weights @ values.flatten().numpy(), rtol=0.02, atol=0.01)


def test_between_two_sides_of_a_process_without_memory_of_its_tendency_only_the_nearest_steps_count():
    """The bridge of an Ornstein-Uhlenbeck process."""
    shown, asked = places((*HERE, 3, 500), (*HERE, 27, 500)), places((*HERE, 15, 500))
    inner, outer = torch.tensor([[0.0, 1.0], [4.0, 0.0]]), torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    assert expected(asked, shown, outer, markov(0.02)).abs().max() < 0.02
    rate, hours = 0.02, np.array([6.0, 12.0])
    bridge = (np.sinh(rate * (18 - hours)) * 1.0 + np.sinh(rate * hours) * 4.0) / np.sinh(rate * 18)
    np.testing.assert_allclose(expected(asked, shown, inner, markov(rate))[0], bridge, rtol=2e-3)


@pytest.mark.parametrize("correlation", [markov(0.05), waves()])
def test_the_spread_is_the_conditional_deviation_of_the_process(correlation):
    shown, asked = places((*HERE, 3, 500), (*HERE, 39, 500)), places((*HERE, 15, 500), (*HERE, 27, 500))
    known, unknown = [0.0, 6.0, 36.0, 42.0], [12.0, 18.0, 24.0, 30.0]
    weights = by_normal_equations(correlation, known, unknown)
    lags = np.interp(np.abs(np.subtract.outer(unknown, known)), STEP_H * np.arange(65), correlation[0].numpy())
    found = spread(asked, shown, correlation).flatten()
    np.testing.assert_allclose(found, np.sqrt(1 - (weights * lags).sum(axis=1)), rtol=0.02)


def test_the_spread_grows_to_that_of_climatology_which_it_is_where_nothing_was_shown():
    shown = places((*HERE, 3, 500))
    asked = places((*HERE, 15, 500), (*HERE, -9, 500), (10.0, 10.0, 15, 500))
    beside = [[math.sqrt(1 - math.exp(-0.04 * hours)) for hours in pair] for pair in ((6, 12), (12, 6))]
    found = spread(asked, shown, markov(0.02))
    torch.testing.assert_close(found, torch.tensor([*beside, [1.0, 1.0]]), rtol=1e-3, atol=0)
    far = spread(places((*HERE, 1e4, 500)), shown, markov(0.05))
    torch.testing.assert_close(far, torch.ones_like(far), rtol=1e-3, atol=0)


def test_the_order_of_the_tokens_does_not_matter():
    shown, asked = places((*HERE, 3, 500), (*HERE, 27, 500)), places((*HERE, 15, 500), (*HERE, 39, 500))
    values = torch.tensor([[7.0, 1.0], [4.0, 6.0]])
    both = expected(asked, shown, values, waves())
    torch.testing.assert_close(expected(asked, shown[torch.tensor([1, 0])], values.flip(0), waves()), both)


@pytest.mark.parametrize("constant", [1.0, 0.9995])
def test_what_never_changes_stays_and_nothing_overflows(constant):
    shown, asked = places((*HERE, 3, 500), (*HERE, 27, 500)), places((*HERE, 15, 500), (*HERE, 51, 500))
    found = expected(
        asked, shown, torch.full((2, 2), 3.0), torch.full((1, 65), constant).index_fill(1, torch.tensor(0), 1)
    )
    torch.testing.assert_close(found, torch.full((2, 2), 3.0), rtol=1e-2, atol=0)


def test_a_step_that_was_not_observed_takes_the_value_of_the_nearest_one_that_was():
    values = torch.tensor([[1.0, 9.0, 9.0, 4.0], [9.0, 9.0, 5.0, 9.0], [9.0, 9.0, 9.0, 9.0]]).T[None]
    observed = values < 9
    found = persist(values.mT[..., None], observed.mT[..., None])[0, ..., 0]
    torch.testing.assert_close(found, torch.tensor([[1.0, 1.0, 1.0, 4.0], [5.0, 5.0, 5.0, 5.0], [0.0, 0.0, 0.0, 0.0]]))


def test_a_token_that_shows_other_steps_than_are_asked_is_the_nearest_and_enclosed_on_the_side_of_those():
    """Of a record of every 12 hours the steps between: 0 | 12 | 24 h known, in tokens of 0, 6 | 12, 18 | 24, 30 h."""
    first, second = (True, False), (False, True)
    shown = places((*HERE, 3, 500), (*HERE, 15, 500), (*HERE, 27, 500), steps=[first] * 3)
    asked = places((*HERE, 15, 500), (*HERE, 27, 500), steps=[second] * 2)
    neighbours = Neighbours.of(asked, shown)
    assert neighbours.index[0].tolist()[0] == [1, 2] and neighbours.index[0, 1, 0] == 2
    assert neighbours.enclosed.tolist() == [[True, False]] and neighbours.same_place[0, :, 0].tolist() == [True, True]
    assert neighbours.known.tolist() == [[[[True, False], [True, False]], [[True, False], [False, False]]]]
    values = torch.tensor([[9.0, 0.0], [4.0, 0.0], [-1.0, 0.0]])
    weights = by_normal_equations(waves(), [12.0, 24.0], [18.0])
    assert expected(asked, shown, values, waves())[0, 1] == pytest.approx((weights @ [4.0, -1.0]).item(), abs=0.02)
    before = places((*HERE, 15, 500), steps=[first])
    assert Neighbours.of(
        before, places((*HERE, 3, 500), (*HERE, 15, 500), (*HERE, 27, 500), steps=[second] * 3)
    ).index.tolist() == [[[1, 0]]]


def test_a_step_that_was_not_observed_does_not_count():
    asked, values = places((*HERE, 15, 500)), torch.tensor([[0.0, 1.0], [5.0, -2.0]])
    shown = places((*HERE, 3, 500), (*HERE, 27, 500), steps=[(False, True), (True, True)])
    weights = by_normal_equations(waves(), [6.0, 24.0, 30.0], [12.0, 18.0])
    np.testing.assert_allclose(
        expected(asked, shown, values, waves())[0], weights @ [1.0, 5.0, -2.0], rtol=0.02, atol=0.01
    )


# the answers of a model whose heads say nothing


def answers(model, question: Question) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return {name: said.members for name, said in model.answer(question).items()}


def zero_heads(model) -> None:
    """Answers are then their anchors."""
    for head in model.heads.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)


def test_a_token_has_a_value_for_each_channel_and_point():
    assert field_spec(5, (3, 9, 9), 6.0, token_deg=9.0).size == 1215


def persisted(tokens: Tokens) -> torch.Tensor:
    """B N V S R: where a step was not observed, the other step of its token."""
    values, observed = ((t.unflatten(-1, (2, DEPTH, 2))) for t in (tokens.values, tokens.observed))
    return torch.where(observed, values, (values * observed).flip(-2))


def test_zero_heads_give_the_damped_state_that_was_shown_last(make_model, make_tokens):
    """exp(-|Δt| / 40 h) times the last step that was shown: until it is told how long anomalies last."""
    model = make_model()
    zero_heads(model)
    shown, asked = (make_tokens("air", slabs, seed=1) for slabs in ((0, 1), (2,)))
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
    shown, asked = (make_tokens("air", slabs, seed=1) for slabs in ((1,), (0,)))
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
    true, asked = make_tokens("air", (0,), seed=1), make_tokens("air", (1,), seed=2)
    both = concatenate([asked, true])
    with_noise, without = (answers(model, Question({"air": t}, {"air": asked}))["air"] for t in (both, true))
    assert torch.equal(with_noise, without) and without.any()
    assert not answers(model, Question({"air": asked}, {"air": asked}))["air"].any()


def test_departures_are_counted_in_units_of_what_the_anchor_leaves_and_of_climatology_where_nothing_was_observed(
    make_model, make_tokens
):
    """Heads that always say one: the answer lies one spread off its anchor, which differs between channels and steps."""
    model = make_model()
    steps = torch.arange(model.anchors["air"].of_lag.shape[1])
    model.anchors["air"].of_lag.copy_(torch.stack([torch.exp(-0.05 * steps), torch.exp(-1e-4 * steps)]))
    shown, asked = (make_tokens("air", slabs, seed=1) for slabs in ((0,), (1,)))
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
    assert (model.answer(asked)["fine"].spread == 1).all()


@pytest.fixture
def guided(make_tokens):
    """A question about a stream that isn't shown, with a first guess, and a model that knows it."""
    air, fine = (field_spec(2, (DEPTH, 1, 2), STEP_H, token_deg=30.0, guessed=guessed) for guessed in (False, True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=4)
        model = StateModel(options, {"air": air, "fine": fine})
    guess = torch.randn(2, 24, fine.guess_size, generator=torch.Generator().manual_seed(4))
    asked = replace(make_tokens("air", (0,), seed=3), spec=fine, guess=guess)
    return model, Question({"air": make_tokens("air", (0,), seed=1)}, {"fine": asked})


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
        model.anchors["fine"].guess_map[1] = (
            0.25  # all points of the second channel: a quarter of the sum of what lies around
        )
    guess = question.queries["fine"].guess.unflatten(-1, (2, DEPTH, 18))
    answer = answers(model, question)["fine"][:, :, 0].unflatten(-1, (2, DEPTH, 2))
    torch.testing.assert_close(answer[:, :, 1], 0.25 * guess[:, :, 1].sum(-1, keepdim=True).expand(-1, -1, -1, 2))
    torch.testing.assert_close(answer[:, :, 0], guess[:, :, 0, :, 8:10])


def test_the_first_guess_is_read_and_all_that_reads_it_learns(guided):
    model, question = guided
    asked = question.queries["fine"]
    other = Question(question.context, {"fine": replace(asked, guess=asked.guess + 1.0)})
    model.load_state_dict(model.state_dict() | {"anchors.fine.guess_map": torch.zeros(2, 2, 18)})
    assert not torch.allclose(answers(model, question)["fine"], answers(model, other)["fine"])
    question_loss(model, model.answer(question), question).backward()
    for name in ("anchors.fine.guess_map", "anchors.fine.guess.weight", "anchors.fine.guess.bias"):
        assert model.get_parameter(name).grad.abs().max() > 0


@pytest.mark.parametrize("steps", [(True, False), (False, False)], ids=["one step", "none"])
def test_a_channel_that_was_not_observed_counts_no_more_than_a_step_that_was_not(steps):
    """Another channel was observed at both steps: what is missing is no anomaly of 0 that is certain."""
    shown, asked = places((*HERE, 0, 500)), places((*HERE, 12, 500))
    neighbours = Neighbours.of(asked, shown)
    values = (
        torch.tensor([[2.0, 1.5], [2.0, 1.5]])[None, None, ..., None] * torch.tensor([[True, True], steps])[..., None]
    )
    observed = torch.tensor([[True, True], steps])[None, None]
    found, left = neighbours.krige(values, waves().expand(2, -1), STEP_H, observed)
    alone = places((*HERE, 0, 500), steps=[steps])
    wanted = expected(asked, alone, torch.tensor([[2.0, 1.5]]), waves())
    torch.testing.assert_close(found[0, 0, 1, :, 0], wanted[0])
    torch.testing.assert_close(left[0, 0, 1], spread(asked, alone, waves())[0])
    whole = neighbours.krige(values[:, :, :1], waves(), STEP_H)
    torch.testing.assert_close(found[:, :, :1], whole[0], rtol=0, atol=0)
    torch.testing.assert_close(left[:, :, :1], whole[1], rtol=0, atol=0)
