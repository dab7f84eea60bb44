"""The flow head: it recovers joint distributions, its members depend on nothing but their place, and its density is exact.

One small model learns two streams given a label: two moons, of which the label tells one, and a pair of tokens with correlated values whose
mean is the label's. Axes: B sample, M member, D value.
"""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from statecast.axes import Axis
from statecast.models import AS_LEARNED, Draws, DrawsError, ModelOptions, StateModel, drawing, log_likelihood
from statecast.models.attention import Geometry
from statecast.models.drawing import log_density, solve
from statecast.models.flow import Asked, of_normal, on_path
from statecast.models.generation import generate
from statecast.models.losses import question_loss
from statecast.streams import UNKNOWN, Question, Tokens, TokenSpec, padded
from statecast.training import TrainingOptions
from statecast.training.optimiser import make_optimiser

RANK = (Axis("rank", "index"),)
SPECS = {
    "label": TokenSpec(vocabulary=2, axes=RANK),
    "moons": TokenSpec(size=2, axes=RANK),
    "pair": TokenSpec(size=1, axes=RANK),
}
SMALL = {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 4, "head": "flow"}
CORRELATION, OFFSET = 0.8, 1.5


def model_of(specs=SPECS, seed: int = 0, **options) -> StateModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StateModel(ModelOptions(**(SMALL | options)), specs)


def tokens(spec: TokenSpec, values=None, codes=None) -> Tokens:
    """One rank after the other; B N P values or B N codes."""
    content = codes if values is None else values
    values = torch.zeros(*content.shape[:2], 0) if values is None else values
    rank = torch.arange(content.shape[1], dtype=torch.float32)[:, None].expand(len(content), -1, -1)
    return Tokens(values, rank, torch.ones_like(values, dtype=torch.bool), spec, codes=codes)


def question(samples: int, seed: int) -> Question:
    random = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (samples, 1), generator=random)
    angle, is_lower = torch.pi * torch.rand(samples, generator=random), label[:, 0] == 1
    x = torch.where(is_lower, 1 - angle.cos(), angle.cos())
    y = torch.where(is_lower, 0.5 - angle.sin(), angle.sin())
    moons = torch.stack([x, y], dim=-1) + 0.05 * torch.randn(samples, 2, generator=random)
    moons = (moons - torch.tensor([0.5, 0.25])) / torch.tensor([0.87, 0.5])
    normal = torch.randn(samples, 2, generator=random)
    second = CORRELATION * normal[:, 0] + math.sqrt(1 - CORRELATION**2) * normal[:, 1]
    pair = torch.stack([normal[:, 0], second], dim=-1) + OFFSET * (2 * label - 1)
    asked = {"moons": tokens(SPECS["moons"], moons[:, None]), "pair": tokens(SPECS["pair"], pair[..., None])}
    seeds = torch.randint(2**60, (samples,), generator=random)
    return Question({"label": tokens(SPECS["label"], codes=label)}, asked, seed=seeds)


def without_label(asked: Question, hidden=slice(None)) -> Question:
    codes = asked.context["label"].codes.clone()
    codes[hidden] = UNKNOWN
    return replace(asked, context={"label": replace(asked.context["label"], codes=codes)})


@pytest.fixture(scope="module")
def learned() -> StateModel:
    """140 steps; a quarter of the samples see no label, and a tenth of the values of the pair are missing."""
    model, options = model_of(), TrainingOptions(steps=140, learning_rate=1e-2)
    optimiser, schedule = make_optimiser(model, options)
    for step in range(options.steps):
        asked = without_label(question(400, step), slice(0, 100))
        pair = asked.queries["pair"]
        observed = torch.rand(pair.observed.shape, generator=torch.Generator().manual_seed(step)) > 0.1
        queries = {**asked.queries, "pair": replace(pair, values=pair.values * observed, observed=observed)}
        asked = replace(asked, queries=queries)
        optimiser.zero_grad()
        question_loss(model, model.attempt(asked), asked).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


def drawn(model: StateModel, asked: Question, **draws) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        answers = model.answer(asked, Draws(**draws))
    return {name: said.members for name, said in answers.items() if said.members is not None}


def energy_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| (Székely & Rizzo 2013), without bias."""
    within = [torch.cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (one, other)]
    return float(2 * torch.cdist(one, other).mean() - within[0] - within[1])


def test_two_moons_and_a_correlated_pair_are_recovered_together(learned):
    asked = question(1500, 1000)
    members = drawn(learned, asked, members=1, steps=8)
    moons, pair = members["moons"][:, 0, 0], members["pair"][:, :, 0, 0]
    truth = asked.queries["moons"].values[:, 0]
    assert energy_distance(moons, truth) < 0.012
    apart = torch.stack([moons[:, 0], moons[:, 1].roll(1)], dim=-1)  # right margins are not enough
    assert energy_distance(apart, truth) > 0.024
    around = pair - OFFSET * (2 * asked.context["label"].codes - 1)
    assert around.mean(dim=0).abs().max() < 0.15
    covariance = torch.cov(around.T)
    torch.testing.assert_close(covariance, torch.tensor([[1.0, CORRELATION], [CORRELATION, 1.0]]), rtol=0, atol=0.15)


def test_the_label_chooses_the_moon_and_without_it_both_are_drawn(learned):
    asked = question(500, 1001)
    is_lower = asked.context["label"].codes[:, 0] == 1
    far = drawn(learned, asked, members=1, steps=4)["pair"][:, :, 0, 0].mean(dim=-1)
    assert far[is_lower].mean() > 1.2 and far[~is_lower].mean() < -1.2
    free = drawn(learned, without_label(asked), members=1, steps=4)["pair"][:, :, 0, 0].mean(dim=-1)
    assert 0.35 < (free > 0).float().mean() < 0.65 and free.std() > 1.3


def test_guidance_exaggerates_the_label(learned):
    asked = question(200, 1002)
    sign = 2.0 * asked.context["label"].codes[:, 0] - 1

    def offset(**draws):
        return float(
            (sign * drawn(learned, asked, members=1, steps=4, **draws)["pair"][:, :, 0, 0].mean(dim=-1)).mean()
        )

    of_label = {"conditions": ("label",)}
    assert offset(guidance=3.0, **of_label) > offset() + 0.2 > offset(guidance=0.0, **of_label) + 1.0
    assert offset(guidance=1.0, **of_label) == offset()
    asked = question(5, 1002)
    free, blank = (drawn(learned, asked, guidance=0.0, **of_label), drawn(learned, without_label(asked)))
    torch.testing.assert_close(free, blank, rtol=1e-4, atol=1e-4)


def test_the_density_is_that_of_the_pair(learned):
    """ln N(x; mean of the label, covariance), within what a small model has learned; with a value missing that of the other alone."""
    asked = question(200, 1003)
    pair = {"pair": asked.queries["pair"]}
    found = log_likelihood(learned, replace(asked, queries=pair), Draws(steps=8))
    mean = OFFSET * (2 * asked.context["label"].codes - 1).float()
    covariance = torch.tensor([[1.0, CORRELATION], [CORRELATION, 1.0]])
    truth = torch.distributions.MultivariateNormal(mean.expand(-1, 2), covariance).log_prob(pair["pair"].values[..., 0])
    assert abs(float((found - truth).mean())) < 0.15 and torch.corrcoef(torch.stack([found, truth]))[0, 1] > 0.85
    observed = pair["pair"].observed.clone()
    observed[:, 1] = False
    alone = {"pair": replace(pair["pair"], observed=observed, values=pair["pair"].values * observed)}
    of_first = log_likelihood(learned, replace(asked, queries=alone), Draws(steps=8))
    truth = torch.distributions.Normal(mean[:, 0], 1.0).log_prob(pair["pair"].values[:, 0, 0])
    assert abs(float((of_first - truth).mean())) < 0.15


def test_the_same_seed_draws_the_same_and_another_seed_others():
    model, asked = model_of(), question(3, 0)
    one, same, other = drawn(model, asked), drawn(model, asked), drawn(model, asked, seed=1)
    for name in one:
        assert torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name])
        assert one[name].shape[-2] == SMALL["members"]


def test_a_member_depends_neither_on_the_batch_nor_on_how_many_are_drawn(monkeypatch):
    model, asked = model_of(), question(4, 0)
    alone = asked.each(lambda t: t.each(lambda part: part[2:3], lambda part: part[2:3]))
    alone = replace(alone, seed=asked.seed[2:3])
    together = drawn(model, asked, members=5)
    later = drawn(model, alone, members=2, first=3)
    monkeypatch.setattr(drawing, "TOKENS_AT_ONCE", 1)
    one_by_one = drawn(model, asked, members=3)
    for name, members in together.items():
        torch.testing.assert_close(later[name], members[2:3, :, 3:], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one_by_one[name], members[:, :, :3], rtol=1e-5, atol=1e-5)


POINTS = {
    "label": TokenSpec(vocabulary=2, axes=RANK),
    "points": TokenSpec(size=2, axes=(Axis("place", "plane"),), ragged=True),
}


def of_points(count: int = 5, seed: int = 0) -> Question:
    random = torch.Generator().manual_seed(seed)
    values, coords = torch.randn(count, 2, generator=random), torch.randn(count, 2, generator=random)
    points = Tokens(values, coords, torch.ones(count, 2, dtype=torch.bool), POINTS["points"]).numbered()
    label = tokens(POINTS["label"], codes=torch.ones(1, 1, dtype=torch.int64))
    return Question({"label": label}, {"points": points.each(lambda part: part[None], lambda part: part[None])})


def with_points(asked: Question, points: Tokens) -> Question:
    return replace(asked, queries={"points": points})


def test_a_set_in_another_order_is_the_same_set():
    model, asked = model_of(POINTS), of_points()
    order = torch.tensor([3, 0, 4, 1, 2])
    before = drawn(model, asked)["points"]
    after = drawn(model, with_points(asked, asked.queries["points"][order]))["points"]
    torch.testing.assert_close(after, before[:, order], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(before[:, 0], before[:, 1])


def test_asked_tokens_see_one_another():
    """Without one of them the others are drawn otherwise: a joint sample, not one for each."""
    model, asked = model_of(POINTS), of_points()
    before = drawn(model, asked)["points"]
    fewer = drawn(model, with_points(asked, asked.queries["points"][:4]))["points"]
    assert not torch.allclose(before[:, :4], fewer, atol=1e-4)


def test_padding_changes_nothing():
    model, asked = model_of(POINTS), of_points()
    points = asked.queries["points"].each(lambda part: part[0], lambda part: part[0])
    longer = padded(points, 16).each(lambda part: part[None], lambda part: part[None])
    present = asked.queries["points"]
    present = replace(present, present=torch.ones(1, 5, dtype=torch.bool))
    for make in (lambda q: drawn(model, q)["points"][:, :5], lambda q: model.attempt(q)["points"].residual[:, :5]):
        torch.testing.assert_close(
            make(with_points(asked, longer)), make(with_points(asked, present)), rtol=1e-5, atol=1e-5
        )
    assert not model.attempt(with_points(asked, longer))["points"].residual[:, 5:].any()
    draws = Draws(steps=2)
    one, other = (log_likelihood(model, with_points(asked, each), draws) for each in (longer, present))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


def test_missing_values_are_neither_seen_nor_scored():
    model, asked = model_of(POINTS), of_points()
    observed = torch.ones(1, 5, 2, dtype=torch.bool)
    observed[0, 1, 0] = observed[0, 3] = False
    losses = []
    for filling in (0.0, 1e9, torch.nan):
        values = torch.where(observed, asked.queries["points"].values, filling)
        missing = with_points(asked, replace(asked.queries["points"], values=values, observed=observed))
        model.zero_grad()
        said = model.attempt(missing)
        assert not said["points"].residual[~observed].any()
        loss = question_loss(model, said, missing)
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        losses.append(loss.detach())
    assert losses[0].isfinite() and losses[0] == losses[1] == losses[2]


def test_every_parameter_gets_a_gradient_and_one_batch_is_overfitted(make_model, question):
    """Fields with anchors: the loss is that of the departures in units of their spread."""
    model = make_model(head="flow")
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses, moved = [], set()
    for _ in range(60):
        optimiser.zero_grad()
        loss = question_loss(model, model.attempt(question), question)
        loss.backward()
        if len(losses) < 3:  # time matters once the modulations are no longer 0
            moved |= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimiser.step()
        losses.append(loss.item())
    assert moved == {name for name, _ in model.named_parameters()}
    assert losses[-1] < 0.35 * losses[0]


def test_no_answer_reads_the_truth(make_model, question):
    model = make_model(head="flow")
    other = {
        n: replace(t.replace(torch.randn_like(t.values)), observed=~t.observed) for n, t in question.queries.items()
    }
    before, after = drawn(model, question), drawn(model, Question(question.context, other))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_density_is_one_of_values_not_of_departures(make_model, question):
    """log p(y) = log p((y - base) / spread) - sum log spread: the units of the anchors differ from value to value."""
    model, draws = make_model(head="flow"), Draws(steps=2)
    asked = Question({"air": question.context["air"]}, {"air": question.queries["air"][:2]})
    found = log_likelihood(model, asked, draws)
    encoded = model.encode(asked.context)
    decoded = model.decode("air", asked.queries["air"], asked.context, encoded, "tokens")
    known = asked.queries["air"].observed
    of_units = (decoded.anchored.spread.log().expand_as(known) * known).sum((1, 2))
    assert of_units.abs().min() > 0.1
    doubled = decoded.anchored._replace(
        spread=torch.ones_like(decoded.anchored.spread), base=torch.zeros_like(decoded.anchored.base)
    )
    departures = torch.where(
        known, (asked.queries["air"].values - decoded.anchored.base) / decoded.anchored.spread, 0.0
    )
    model.decode = lambda *_: decoded._replace(anchored=doubled)
    plain = log_likelihood(model, replace(asked, queries={"air": asked.queries["air"].replace(departures)}), draws)
    torch.testing.assert_close(found, plain - of_units, rtol=1e-4, atol=1e-3)


def linear_case(values: torch.Tensor) -> tuple[torch.Tensor, Asked, object]:
    matrix = torch.tensor([[0.5, -0.8, 0.1], [0.3, -0.4, 0.2], [0.0, 0.6, 0.2]])
    samples = len(values)
    asked = Asked(
        {"x": (1, 3)}, torch.zeros(samples, 1, 4), Geometry({}), None, torch.ones(samples, 3),
        torch.arange(3).expand(samples, -1), torch.arange(samples),
    )  # fmt: skip
    return matrix, asked, lambda x, time, asked: x @ matrix.T


def test_the_density_of_a_linear_flow_is_gaussian():
    """dx/dt = A x takes N(0, 1) to N(0, exp(A) exp(A)ᵀ)."""
    values = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    matrix, asked, head = linear_case(values)
    grown = torch.linalg.matrix_exp(matrix)
    truth = torch.distributions.MultivariateNormal(torch.zeros(3), grown @ grown.T).log_prob(values)
    torch.testing.assert_close(log_density(head, asked, values, Draws(steps=32)), truth, rtol=0, atol=5e-3)
    probed = log_density(head, asked, values, Draws(steps=4), probes=30)
    assert 0.01 < (probed - truth).abs().mean() < 0.2


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_a_solver_has_its_order(solver, order):
    """The error of dx/dt = x cos(4 t) falls by 2^order where the step is halved, forward and backward."""
    start = torch.tensor([[1.0]], dtype=torch.float64)
    truth = math.exp(math.sin(4.0) / 4)
    for backward in (False, True):
        first, last = (truth, 1.0) if backward else (1.0, truth)
        errors = [
            abs(
                float(
                    solve(
                        lambda x, t: x * math.cos(4 * t),
                        first * start,
                        Draws(steps=n, solver=solver),
                        backward=backward,
                    )
                )
                - last
            )
            for n in (64, 128)
        ]
        assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.2)


@pytest.mark.parametrize("path", ["rectified", "cosine"])
def test_a_path_leads_from_noise_to_truth_at_its_velocity(path):
    random = torch.Generator().manual_seed(0)
    noise, truth = torch.randn(2, 4, 3, generator=random, dtype=torch.float64)
    at = lambda t: on_path(path, noise, truth, torch.full((4,), t, dtype=torch.float64))  # noqa: E731
    torch.testing.assert_close(at(0.0)[0], noise)
    torch.testing.assert_close(at(1.0)[0], truth)
    torch.testing.assert_close((at(0.3 + 1e-6)[0] - at(0.3 - 1e-6)[0]) / 2e-6, at(0.3)[1])


def test_a_causal_question_gives_nothing_of_later_tokens_away():
    """A later token is decoded from the answer to an earlier one: inside the head they don't see one another."""
    specs = {"steps": TokenSpec(size=1, axes=RANK, order="rank")}
    model = model_of(specs)
    values = torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(0))
    window = {"steps": tokens(specs["steps"], values)}
    changed = {"steps": tokens(specs["steps"], torch.cat([values[:, :2], values[:, 2:] + 1], dim=1))}
    before, after = (drawn(model, Question(each, each, causal=True))["steps"] for each in (window, changed))
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_values_are_generated_token_by_token_with_and_without_a_cache():
    specs = {"steps": TokenSpec(size=1, axes=RANK, order="rank")}
    model, places = model_of(specs).eval(), tokens(specs["steps"], torch.zeros(3, 4, 1))
    first = tokens(specs["steps"], torch.randn(3, 1, 1, generator=torch.Generator().manual_seed(0)))
    begun = {"steps": replace(first, present=torch.ones(3, 1, dtype=torch.bool))}
    later = replace(places, coords=places.coords + 1)
    found = []
    for seed, is_cached in ((0, True), (0, False), (1, True)):
        random = torch.Generator().manual_seed(seed)
        found.append(generate(model, begun, "steps", later, random, is_cached=is_cached).values)
    assert found[0].shape == (3, 4, 1) and len(found[0].unique()) == 12
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[0], found[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 0}, "members is 0, expected at least 1"),
        ({"steps": 0}, "steps is 0, expected at least 1"),
        ({"first": -1}, "first is -1, expected at least 0"),
        ({"solver": "rk4"}, "solver is rk4, expected one of euler, midpoint, heun"),
        ({"guidance": -1.0, "conditions": ("label",)}, "guidance is -1, expected 0 or more"),
        ({"guidance": math.nan, "conditions": ("label",)}, "guidance is nan, expected 0 or more"),
        ({"guidance": 2.0}, "no stream is named as a condition"),
    ],
)
def test_impossible_draws_are_refused_in_one_line(options, message):
    with pytest.raises(DrawsError, match=message) as refused:
        Draws(**options)
    assert "\n" not in str(refused.value)


def test_a_condition_that_is_not_shown_is_refused():
    with pytest.raises(DrawsError, match=r"condition weather: the question does not show it. Visible streams: label"):
        drawn(model_of(), question(2, 0), guidance=2.0, conditions=("weather",))


def test_a_density_needs_a_flow_head_and_values():
    asked = question(2, 0)
    with pytest.raises(ValueError, match="the model has the head ensemble, expected flow"):
        log_likelihood(model_of(head="ensemble"), asked, AS_LEARNED)
    with pytest.raises(ValueError, match="the question asks no value of label"):
        log_likelihood(model_of(), Question(asked.queries, asked.context), AS_LEARNED)


def test_unknown_paths_and_no_layers_are_refused():
    for option in ({"flow_path": "spiral"}, {"flow_layers": 0}, {"head": "gan"}):
        with pytest.raises(ValidationError, match=next(iter(option))):
            ModelOptions(**option)


@pytest.mark.parametrize("path", ["rectified", "cosine"])
def test_with_a_skip_a_head_that_knows_nothing_draws_a_standard_normal(path):
    model = model_of(flow_path=path, flow_skip=True)
    for head in model.flow.heads.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        drawn = model.answer(question(400, seed=0), Draws(members=1, steps=32))["moons"].members
    assert abs(drawn.mean()) < 0.15 and drawn.std() == pytest.approx(1, abs=0.1)


def test_the_skip_is_the_regression_of_the_velocity_of_normal_values():
    noise, truth = torch.randn(2, 20_000, 1, generator=torch.Generator().manual_seed(0))
    for path in ("rectified", "cosine"):
        for t in (0.1, 0.5, 0.8):
            time = torch.full((20_000,), t)
            values, velocity = on_path(path, noise, truth, time)
            slope = (values * velocity).mean() / (values**2).mean()
            assert slope == pytest.approx(of_normal(path, time)[0].item(), abs=0.04)
