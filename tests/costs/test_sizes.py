"""Sizes without weights: against the real model, and what it really keeps."""

import pytest
import torch

from statecast.config import RecipeError, read_recipe
from statecast.costs import CostError, size_of, sizes
from statecast.costs.sizes import _question, layouts_of
from statecast.models import StateModel, TokenSpec
from statecast.models.state_model import question_loss
from statecast.sources import Record, fit_climatology, open_fields
from statecast.tokenizers import FieldTokenizer
from statecast.trained import build, token_spec


@pytest.fixture(autouse=True)
def one_question(monkeypatch):
    """One question a size: what is checked holds for each."""
    monkeypatch.setattr(sizes, "DRAWS", 1)


def real_model(recipe) -> StateModel:
    specs = {
        name: TokenSpec(channels=layout.channels, patch=layout.patch, step_h=6.0)
        for name, layout in layouts_of(recipe)[0].items()
    }
    return StateModel(recipe.model, specs)


def test_the_model_has_the_parameters_and_tokens_of_the_one_that_is_trained(recipe):
    stream = recipe.streams["atmosphere"]
    record = Record.open(open_fields(recipe.data.store), stream, ("2000-01-01", "2000-12-31"))
    tokenizer = FieldTokenizer(stream, fit_climatology(record))
    model, size = build(recipe.model, {"atmosphere": tokenizer}, seed=0), size_of(recipe)
    assert size.parameters == sum(p.numel() for p in model.parameters())
    assert size.tokens_per_sample == 3 * 12 * 24
    layout = layouts_of(recipe)[0]["atmosphere"]
    assert layout.values_per_token == tokenizer.values_per_token and layout.channels == token_spec(tokenizer).channels


def test_activations_are_what_autograd_keeps_of_a_real_step(recipe):
    """Within a tenth: what shares storage is counted once in both."""
    model, layouts = real_model(recipe), layouts_of(recipe)[0]
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    total = 0
    for draw in range(sizes.DRAWS):
        question, kept = _question(recipe, layouts, draw), {}

        def keep(tensor, kept=kept):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = question_loss(model, model(question.context, question.queries), question)
        total += sum(kept.values())
        del loss
    assert size_of(recipe).activation_bytes == pytest.approx(total / sizes.DRAWS, rel=0.1)


def test_operations_are_near_those_of_a_closed_form(recipe):
    """Two operations a weight and token forward, four backward, plus attention's own; the count of torch lies within a fifth."""
    layouts = layouts_of(recipe)[0]
    width, by_hand = recipe.model.width, 0.0
    for draw in range(sizes.DRAWS):
        question = _question(recipe, layouts, draw)
        shown, asked = len(question.context["atmosphere"]), len(question.queries["atmosphere"])
        size = layouts["atmosphere"].values_per_token
        linear = 12 * width**2  # of a block: four maps of attention, two of the perceptron; geometry takes some of it
        encoder = recipe.model.encoder_layers * (shown * linear + 2 * shown**2 * width)
        decoder = asked * (10 * width**2) + shown * 2 * width**2 + 2 * asked * shown * width
        ends = shown * 2 * size * width + asked * width * size * recipe.model.members
        by_hand += 6 * (encoder + decoder + ends) / sizes.DRAWS
    assert size_of(recipe).flops_per_sample == pytest.approx(by_hand, rel=0.2)


@pytest.mark.timeout(400)
def test_the_largest_recipe_has_the_size_of_its_name_and_fits_where_it_should():
    recipe = read_recipe("3.5B", ["task.slabs=2", "window.extent=[18, 36]"])  # few tokens: the weights are the same
    size = size_of(recipe)
    assert size.parameters == pytest.approx(3.5e9, rel=0.05)
    assert size.memory_gib(1, shards=False) > 16 * size.parameters / 2**30 > size.memory_gib(8, shards=True)
    assert size.memory_gib(64, shards=True) < size.memory_gib(8, shards=True) < size.memory_gib(8, shards=False)
    assert "era5.zarr can't be opened" in size.assumed[0]


@pytest.mark.parametrize(
    ("name", "parameters"), [("nano", 0.635e6), ("small", 13e6), ("base", 119e6), ("large", 822e6)]
)
def test_sizes_grow_from_recipe_to_recipe(name, parameters):
    with torch.device("meta"):
        model = real_model(read_recipe(name))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.05)


def test_bfloat16_and_checkpointing_keep_less(recipe):
    def activations(**change) -> float:
        training = recipe.training.model_copy(update=change)
        return size_of(recipe.model_copy(update={"training": training})).activation_bytes

    full = activations()
    assert activations(precision="bf16-mixed") < full and activations(activation_checkpointing=True) < 0.8 * full


def test_a_cost_needs_an_extent_where_there_is_no_store_and_a_patch_that_divides_it():
    with pytest.raises(RecipeError, match=r"window\.extent: is needed"):
        layouts_of(read_recipe("small", ["window.extent=null"]))
    with pytest.raises(RecipeError, match=r"streams\.zonal_wind\.patch"):
        layouts_of(read_recipe("small", ["window.extent=[50, 108]"]))


def test_a_number_of_samples_that_cannot_be_is_refused(recipe):
    size = size_of(recipe)
    assert size.training_flops(10) == 10 * size.flops_per_sample
    with pytest.raises(CostError, match="samples -3"):
        size.training_flops(-3)
