"""Sizes without weights: against the real model and the questions of a real training."""

import pytest

from statecast.config import read_recipe
from statecast.costs import CostError, size_of, sizes
from statecast.costs.memory import Weights
from statecast.costs.sizes import draw_counts
from statecast.domain import find_domain
from statecast.splits import open_training
from statecast.trained import build
from statecast.training import QuestionDataset


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(sizes, "DRAWS", 4)


def sizes_of(recipe):
    return find_domain(recipe.data.domain).sizes(recipe)


@pytest.fixture
def source(recipe):
    return open_training(recipe, {})


def test_the_model_has_the_parameters_and_tokens_of_the_one_that_is_trained(recipe, source, few_draws):
    model, size = build(recipe.model, source.codecs, seed=0), size_of(recipe)
    assert size.parameters == sum(p.numel() for p in model.parameters())
    assert size.tokens_per_sample == 3 * 12 * 24
    assert size.as_dict()["parameters"] == size.parameters > size.as_dict()["largest_block"]


def test_the_numbers_of_tokens_are_those_of_the_questions_of_a_training(recipe, source, few_draws):
    questions = QuestionDataset(source, recipe.task, recipe.seed, 1, 4)
    for sample, counts in enumerate(draw_counts(recipe, sizes_of(recipe).window)):
        question = questions[sample]
        assert counts.shown == {"atmosphere": len(question.context["atmosphere"])}
        assert counts.asked == {"atmosphere": len(question.queries["atmosphere"])}


@pytest.mark.parametrize(
    ("name", "parameters"), [("nano", 0.635e6), ("small", 13e6), ("base", 119e6), ("large", 822e6), ("3.5B", 3.5e9)]
)
def test_sizes_grow_from_recipe_to_recipe(name, parameters):
    recipe = read_recipe(name)
    assert Weights.of_options(recipe.model, sizes_of(recipe).specs).all == pytest.approx(parameters, rel=0.05)


@pytest.mark.timeout(400)
def test_the_largest_recipe_has_the_window_of_atmorep_and_fits_where_it_should(few_draws):
    size = size_of(read_recipe("3.5B", ["training.accumulate=128"]))
    assert size.tokens_per_sample == 12 * 6 * 12 * (5 * 5 + 1)
    assert size.memory_gib(1, shards=False) > 16 * size.parameters / 2**30 > size.memory_gib(8, shards=True)
    assert size.memory_gib(64, shards=True) < size.memory_gib(8, shards=True) < size.memory_gib(8, shards=False)
    assert "era5.zarr does not exist" in size.assumed[0]


def test_a_number_of_samples_that_cannot_be_is_refused(recipe, few_draws):
    size = size_of(recipe)
    assert size.training_flops(10) == 10 * size.flops_per_sample
    with pytest.raises(CostError, match="samples -3"):
        size.training_flops(-3)


@pytest.mark.parametrize("name", ["forecast", "interpolate", "refine", "cosmo-rea6", "radklim"])
def test_atmoreps_applications_have_a_cost_without_their_archives_and_fit_a_gpu(name, few_draws):
    size = size_of(read_recipe(f"atmorep-{name}", inherit=read_recipe("base")))
    assert any("era5.zarr does not exist" in assumption for assumption in size.assumed)
    assert 1e8 < size.parameters < 2.5e8 and size.memory_gib(64, shards=False) < 40
