"""The noise head: members told apart by smooth fields, which choose quantiles and scale norms. Axes: B sample, Q token, M member, P value, C coordinate."""

from dataclasses import replace

import pytest
import torch

from statecast.adaptation import transfer
from statecast.axes import Axis
from statecast.models import Draws, ModelOptions, StateModel
from statecast.models.losses import question_loss
from statecast.models.noise_head import FIELDS, SCALES, local_loss
from statecast.streams import Question, Tokens, TokenSpec, padded, stack

PLANE = (Axis("place", "plane", "1", 1.0),)
RANK = (Axis("rank", "index"),)
SMALL = {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 6, "head": "noise"}
COLUMNS = 6


def model_of(axes=PLANE, seed: int = 0, size: int = 2, **options) -> StateModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StateModel(ModelOptions(**(SMALL | options)), {"air": TokenSpec(size=size, axes=axes)})


def tokens(axes, values: torch.Tensor) -> Tokens:
    at = torch.arange(values.shape[1], dtype=torch.float32)[:, None]
    coords = (torch.cat([at, 0 * at], dim=-1) if axes is PLANE else at).expand(len(values), -1, -1)
    number = torch.arange(values.shape[1]).expand(len(values), -1)
    observed = torch.ones_like(values, dtype=torch.bool)
    return Tokens(values, coords, observed, TokenSpec(size=values.shape[-1], axes=axes), index=number)


def question(axes=PLANE, samples: int = 3, seed: int = 0) -> Question:
    """Visible values of no meaning; the asked ones err together, with one sign in all tokens."""
    random = torch.Generator().manual_seed(seed)
    shown = tokens(axes, torch.randn(samples, 2, 2, generator=random))
    asked = torch.randn(samples, 1, 1, generator=random).expand(-1, COLUMNS, 2).contiguous()
    asked = asked + 0.1 * torch.randn(asked.shape, generator=random)
    return Question({"air": shown}, {"air": tokens(axes, asked)}, seed=torch.arange(samples) + 1000 * seed)


def noise_of(model: StateModel, asked: Tokens, members: int, seeds: torch.Tensor) -> torch.Tensor:
    assert model.noise is not None
    return model.noise.noise(asked.coords[..., None, :], torch.arange(members), seeds)


def test_noise_is_correlated_as_a_gaussian_of_the_distance_in_units_of_each_scale():
    asked = tokens(PLANE, torch.zeros(1, COLUMNS, 2))
    noise = noise_of(model_of(), asked, 1000, torch.tensor([7]))[0].detach().unflatten(-1, (len(SCALES), FIELDS))
    torch.testing.assert_close(noise[:, 1::2], -noise[:, ::2])
    assert noise.std(dim=1).mean() == pytest.approx(1, abs=0.05)
    for number, scale in enumerate(SCALES):
        found = (noise[0, :, number] * noise[1, :, number]).mean(dim=0).mean()
        assert found == pytest.approx(float(torch.exp(torch.tensor(-1 / (2 * scale**2)))), abs=0.15)


@pytest.mark.parametrize("axes", [PLANE, RANK], ids=["plane", "rank"])
def test_a_member_depends_on_its_number_and_its_sample_alone(axes):
    model, asked = model_of(axes).eval(), question(axes)
    all_of_them = model.answer(asked, Draws(members=6))["air"].members
    few = model.answer(asked, Draws(members=2, first=3))["air"].members
    torch.testing.assert_close(few, all_of_them[:, :, 3:5])
    last = Question({"air": pick(asked.context["air"], 2)}, {"air": pick(asked.queries["air"], 2)}, seed=asked.seed[2:])
    torch.testing.assert_close(model.answer(last, Draws(members=6))["air"].members, all_of_them[2:])
    some = replace(asked, queries={"air": asked.queries["air"][torch.tensor([4, 1])]})
    torch.testing.assert_close(model.answer(some)["air"].members, all_of_them[:, [4, 1]])
    other = model.answer(asked, Draws(members=6, seed=1))["air"].members
    assert model.answer(asked)["air"].is_drawn and not torch.allclose(other, all_of_them)


def pick(part: Tokens, sample: int) -> Tokens:
    return part.each(lambda x: x[sample : sample + 1], lambda x: x[sample : sample + 1])


def test_what_was_not_observed_and_padding_enter_neither_term():
    model, asked = model_of(), question()
    truth = asked.queries["air"]
    observed = truth.observed.clone()
    observed[:, 2, 0], observed[0, 3] = False, False

    def loss(values: torch.Tensor) -> torch.Tensor:
        seen = replace(asked, queries={"air": replace(truth, observed=observed, values=values)})
        return question_loss(model, model.attempt(seen), seen)

    changed = torch.where(observed, truth.values, 50.0)
    assert loss(changed) == loss(truth.values) and loss(truth.values + observed) != loss(truth.values)
    members = torch.randn(1, COLUMNS, 4, 2, generator=torch.Generator().manual_seed(0))
    one = pick(truth, 0).each(lambda x: x[0], lambda x: x[0])
    wide = stack([{"air": padded(one, COLUMNS + 3)}])["air"]
    grown = torch.cat([members, torch.full((1, 3, 4, 2), 9.0)], dim=1)
    unit = torch.ones(1, 1, 1)
    plain = local_loss(members, pick(truth, 0), unit, PLANE, 0.95)
    assert local_loss(grown, wide, unit, PLANE, 0.95) == pytest.approx(float(plain), rel=1e-5)


def test_the_loss_reaches_every_weight():
    model, asked = model_of(), question()
    question_loss(model, model.attempt(asked), asked).backward()
    assert model.noise is not None
    assert not [name for name, p in model.noise.named_parameters() if p.grad is None or not p.grad.any()]


def test_means_of_tokens_tell_members_that_err_together_from_those_that_err_apart():
    random = torch.Generator().manual_seed(0)
    together = torch.randn(2000, 1, 4, 1, generator=random).expand(-1, COLUMNS, -1, 2)
    apart = torch.randn(2000, COLUMNS, 4, 2, generator=random)
    truth = tokens(PLANE, torch.randn(2000, 1, 1, generator=random).expand(-1, COLUMNS, 2).contiguous())
    unit = torch.ones(1, 1, 1)
    scores = [local_loss(members.contiguous(), truth, unit, PLANE, 1.0) for members in (together, apart)]
    assert scores[0] < 0.99 * scores[1]


def test_a_finished_model_gains_members_of_its_own_distribution():
    finished, noisy = model_of(seed=1, head="ensemble").eval(), model_of(seed=2).eval()
    codec = Codec(finished.specs["air"])
    report = transfer(finished, {"air": codec}, noisy, {"air": codec})
    assert report.new and all(name.startswith("noise.") for name in report.new)
    asked = question()
    quantiles = finished.answer(asked)["air"].members.detach()
    drawn = noisy.answer(asked, Draws(members=200))["air"].members.detach()
    assert (drawn.mean(dim=-2) - quantiles.mean(dim=-2)).abs().mean() < 0.1
    assert drawn.std(dim=-2).mean() == pytest.approx(float(quantiles.std(dim=-2).mean()), rel=0.3)


class Codec:
    channels, categories = ("t", "u"), ()

    def __init__(self, spec: TokenSpec) -> None:
        self.spec = spec
