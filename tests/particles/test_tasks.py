"""What is shown and what is asked about jets; above all that no question contains its answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from statecast.config import RecipeError, read_recipe
from statecast.models import ModelOptions, StateModel
from statecast.particles.codec import OneJet
from statecast.particles.source import open_source, window_of
from statecast.particles.tasks import MaskedParticles, Mix, NextParticle
from statecast.streams import UNKNOWN, stack_questions
from statecast.tasks import Translate
from statecast.trained import build

STREAMS = {
    "particles": {},
    "jet": {"quantities": ["multiplicity", "pt_gev", "mass_gev"]},
    "codes": {"asks": "codebook", "size": 32},
    "momenta": {"asks": "values"},
    "bins": {"asks": "bins", "size": 64},
    "label": {"label": "class"},
}
NEXT = {"kind": "next_particle", "ask": ["codes", "momenta", "bins"], "show": ["jet", "label"]}


@pytest.fixture
def source(make_recipe):
    return open_source(read_recipe(make_recipe(NEXT, streams=STREAMS)), "train", {})


@pytest.fixture
def model(source) -> StateModel:
    options = ModelOptions(width=32, encoder_layers=1, decoder_layers=1, heads=2, members=4)
    return build(options, source.codecs, seed=0)


def ask(task, window, seed=0):
    return task(window, np.random.default_rng(seed), np.random.default_rng(1))


@pytest.mark.parametrize("number", [0, 3, 17])
def test_hidden_and_visible_particles_are_all_particles(source, number):
    task = MaskedParticles(ask=("codes", "momenta"), show=("jet",))
    window = source.window(number)
    question = ask(task, window)
    shown, asked = question.context["particles"].index.tolist(), question.queries["codes"].index.tolist()
    assert sorted(shown + asked) == list(range(len(window["particles"])))
    assert 0.25 < len(asked) / len(window["particles"]) < 0.45
    assert question.queries["momenta"].index.tolist() == asked
    assert set(question.context) == {"particles", "jet"} and not question.causal


def test_a_question_does_not_change_with_the_direction_and_momentum_of_hidden_particles(source, model):
    """The leak test: whatever a hidden particle is, context and coordinates of queries are the same."""
    task, number = MaskedParticles(ask=("codes", "momenta"), show=("jet",)), 9
    jet = source.jet(number)
    question = ask(task, source.window(number))
    hidden = question.queries["momenta"].index
    features, kinds = jet.features.clone(), jet.kinds.clone()
    features[hidden] += torch.tensor([0.4, -0.3, -2.0, -2.0, 1.0])
    kinds[hidden] = (kinds[hidden] + 2) % 5
    other = ask(task, window_of(OneJet(features, kinds, jet.quantities, jet.labels), source.codecs))
    for name, tokens in question.context.items():
        for part in ("values", "coords", "codes", "observed", "index"):
            one, two = getattr(tokens, part), getattr(other.context[name], part)
            assert (one is None and two is None) or torch.equal(one, two), (name, part)
    assert not torch.equal(question.queries["momenta"].values, other.queries["momenta"].values)
    for name, tokens in question.queries.items():
        assert torch.equal(tokens.coords, other.queries[name].coords)
        assert tokens.coords.shape[-1] == 1
        blank = stack_questions([question]), stack_questions([other])
        one, two = (model.answer(q)[name] for q in blank)
        assert torch.equal(*(said.logits if said.logits is not None else said.members for said in (one, two)))


@pytest.mark.parametrize("changed", [0, 4, 9])
def test_the_next_particle_is_asked_of_those_before_it_only(source, model, changed):
    task = NextParticle(ask=("codes", "momenta", "bins"), show=("jet", "label"))
    number = next(n for n in range(50) if len(source.window(n)["particles"]) > 12)
    window = source.window(number)
    other = dict(window)
    values = window["particles"].values.clone()
    values[changed:] += 1.0
    coords = window["particles"].coords.clone()
    coords[changed:, :2] += 0.2
    other["particles"] = replace(window["particles"], values=values, coords=coords)
    one, two = (model.answer(stack_questions([task.complete(w)])) for w in (window, other))
    for name in ("codes", "momenta"):
        before, after = (said[name].logits if name == "codes" else said[name].members for said in (one, two))
        assert torch.equal(before[:, : changed + 1], after[:, : changed + 1])
        assert not torch.equal(before[:, changed + 1 :], after[:, changed + 1 :])
    assert torch.equal(one["bins"].logits, two["bins"].logits)  # numbers of the jet come before its particles


def test_the_numbers_of_a_jet_are_asked_of_those_before_them(source, model):
    task = NextParticle(ask=("codes", "bins"), show=("jet", "label"))
    window = source.window(1)
    values = window["jet"].values.clone()
    values[1:] += 1.0
    changed = {**window, "jet": replace(window["jet"], values=values)}
    one, two = (model.answer(stack_questions([task.complete(w)])) for w in (window, changed))
    assert torch.equal(one["bins"].logits[:, :2], two["bins"].logits[:, :2])
    assert not torch.equal(one["bins"].logits[:, 2], two["bins"].logits[:, 2])
    assert not torch.equal(one["codes"].logits[:, 0], two["codes"].logits[:, 0])


def test_some_samples_see_no_label(source):
    task = NextParticle(ask=("codes",), show=("jet", "label"), unlabelled=0.3)
    questions = [ask(task, source.window(0), seed) for seed in range(150)]
    unknown = [question.context["label"].codes[0] == UNKNOWN for question in questions]
    assert 0.2 < np.mean(unknown) < 0.4
    assert (task.complete(source.window(0)).context["label"].codes != UNKNOWN).all()


def test_a_mixture_asks_its_questions_by_weight_and_the_same_in_a_step(source):
    masked, following = MaskedParticles(ask=("codes",), show=("jet",)), NextParticle(ask=("codes",), show=("jet",))
    mix = Mix(tasks=(masked, following, Translate(to=("label",))), weights=(1, 2, 1))
    kinds = []
    for step in range(200):
        pair = [mix(source.window(n), np.random.default_rng(n), np.random.default_rng(step)) for n in (0, 1)]
        assert pair[0].causal == pair[1].causal and pair[0].queries.keys() == pair[1].queries.keys()
        kinds.append("next" if pair[0].causal else next(iter(pair[0].queries)))
        if kinds[-1] == "label":
            assert set(pair[0].context) == {"particles", "jet", "momenta", "bins"}  # no stream that a task asks for
    assert np.mean([kind == "next" for kind in kinds]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([kind == "label" for kind in kinds]) == pytest.approx(0.25, abs=0.09)
    assert not mix.complete(source.window(0)).causal and mix.asked_streams(STREAMS) == ("codes",)


@pytest.mark.parametrize(
    ("task", "streams", "message"),
    [
        ({"kind": "masked"}, {}, "there is no task 'masked'. Choose one of masked_particles, mix, next_particle, translate."),
        ({"kind": "masked_particles", "ask": ["kods"]}, {}, "task.ask: there is no stream kods"),
        ({"kind": "masked_particles", "ask": ["particles"]}, {}, "task.ask: particles is visible too"),
        ({"kind": "masked_particles", "ask": ["label"]}, {}, "task.ask: label is no target stream (codes, momenta, bins)"),
        ({"kind": "masked_particles", "ask": ["bins"]}, {}, "task.ask: bins is of the whole jet"),
        ({"kind": "masked_particles", "particles": "jet"}, {}, "task.particles: jet holds no particles, expected particles"),
        ({"kind": "masked_particles", "hidden": [0.5, 0.2]}, {}, "hidden: [0.5, 0.2] is no range of shares"),
        ({"kind": "masked_particles", "show": ["momenta"]}, {}, "streams.momenta: is a target, but the task shows it"),
        ({"kind": "translate", "to": ["label"]}, {}, "is a target, but the task shows it"),
        ({"kind": "mix", "tasks": [{"kind": "next_particle"}], "weights": [1, 2]}, {}, "weights: 2 for 1 tasks"),
        ({"kind": "mix", "tasks": [NEXT | {"conditions": ["jet"]}]}, {}, "conditions: are those of the whole mix"),
        (NEXT, {"particles": {"particles": ["delta_eta", "log_pt"]}}, "say too little for an inverse"),
        (NEXT, {"others": {"particles": ["delta_eta", "delta_phi", "log_pt"]}}, "2 hold particles (particles, others), expected one"),
        (NEXT, {"fine": {"asks": "residual"}}, "of: needs the stream of a codebook, with asks residual"),
        (NEXT, {"fine": {"asks": "residual", "of": "bins"}}, "streams.fine.of: bins asks for no codebook, expected one of codes"),
        (NEXT, {"jet": {"quantities": ["tau99"]}}, "streams.jet.quantities.0: tau99 is not known. Choose among multiplicity, pt_gev"),
        (NEXT, {"codes": {"asks": "codebook", "sice": 3}}, "streams.codes.sice is not an option of a stream. Did you mean streams.codes.size?"),
    ],
)  # fmt: skip
def test_a_recipe_that_makes_no_sense_is_refused_in_one_line(make_recipe, task, streams, message):
    with pytest.raises(RecipeError) as caught:
        read_recipe(make_recipe(task, streams=STREAMS | streams))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_bins_need_numbers_of_the_jet(make_recipe):
    streams = {"particles": {}, "codes": STREAMS["codes"], "bins": STREAMS["bins"]}
    with pytest.raises(RecipeError, match="no stream has quantities"):
        read_recipe(make_recipe({"kind": "next_particle"}, streams=streams))
