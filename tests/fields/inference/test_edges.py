"""The filter of answers where a model is asked. Axes: E member, T time, V channel, H row, W column."""

from dataclasses import replace

import numpy as np
import torch

from statecast.config import read_recipe
from statecast.fields.edges import with_edges
from statecast.fields.inference import complete, forecast
from statecast.fields.inference.blocks import forecast_block
from statecast.fields.source import field_source
from statecast.fields.sources import Record
from statecast.fields.tokenizers import sources_of
from statecast.fields.tokenizers.edges import FEATURES, EdgeFilter
from statecast.trained import load

INIT = "2001-02-05T06"


def of_numbers(trained, steps: int):
    """The model with weights of no meaning."""
    random = np.random.default_rng(0)
    codecs = {}
    for name, codec in trained.codecs.items():
        weights = 0.1 * random.standard_normal((steps, len(codec.climatology.channels), FEATURES))
        codecs[name] = replace(codec, edges=EdgeFilter(weights.astype(np.float32)))
    return replace(trained, codecs=codecs)


def that_fills(trained):
    recipe = read_recipe(trained.recipe.as_dict() | {"task": {"kind": "masked", "slabs": 2}, "training": {"steps": 40}})
    return replace(trained, recipe=recipe)


def records_of(trained, store):
    return {name: Record.open(store, codec.stream) for name, codec in trained.codecs.items()}


def test_what_is_written_has_the_correction_of_what_is_scored(persistent, global_store):
    trained = persistent(names=("surface",), leads=1)
    mended, records = of_numbers(trained, 1), records_of(trained, global_store)
    start = Record.open(global_store, trained.codecs["surface"].stream).dataset.indexes["time"].get_loc(INIT)
    scored = [forecast_block(m, m.recipe.task, records, start)["surface"] for m in (mended, trained)]
    written = [forecast(m, global_store, INIT, 1, members=2).msl.values[0] for m in (mended, trained)]
    correction = (scored[0] - scored[1])[0, 0, 0]
    assert np.abs(correction).max() > 1
    np.testing.assert_allclose(written[0] - written[1], np.broadcast_to(correction, (2, 1, 12, 24)), atol=0.1)
    later = [forecast(m, global_store, INIT, 3, members=2).msl.values[0, :, 2] for m in (mended, trained)]
    assert np.abs(later[0] - later[1]).max() > 1  # each block is corrected


def test_gaps_are_corrected_and_observations_stay(make_trained, global_store):
    trained = that_fills(make_trained(names=("surface",)))
    store = global_store.load()
    period = ("2001-02-05", "2001-02-05")
    plain, mended = (complete(m, {"surface": store}, period, 2).msl for m in (trained, of_numbers(trained, 1)))
    known = np.isfinite(store.msl.sel(time="2001-02-05").values)
    np.testing.assert_array_equal(mended.values[:, known], plain.values[:, known])
    difference = (mended - plain).values[:, ~known]
    assert np.abs(difference).min() > 0
    np.testing.assert_allclose(difference[0], difference[1], atol=0.1)  # the same for all members


def test_a_filter_is_fitted_to_the_training_period_stored_and_read(make_trained, global_store, tmp_path):
    trained = that_fills(make_trained(names=("surface",)))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        trained.model.heads["surface"].bias += torch.randn_like(trained.model.heads["surface"].bias)
    source = field_source(trained.recipe, sources_of(trained.codecs, records_of(trained, global_store)), trained.codecs)
    mended = with_edges(trained, source)
    edges = mended.codecs["surface"].edges
    assert edges is not None and edges.weights.any() and edges.weights.shape == (1, 1, FEATURES)
    mended.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").codecs["surface"].edges.weights, edges.weights)
    without = trained.recipe.model_copy(
        update={"window": trained.recipe.window.model_copy(update={"mend_edges": False})}
    )
    assert with_edges(replace(trained, recipe=without), source).codecs["surface"].edges is None
    short = trained.recipe.model_copy(update={"training": trained.recipe.training.model_copy(update={"steps": 2})})
    assert with_edges(replace(trained, recipe=short), source).codecs["surface"].edges is None


def test_a_recipe_of_before_is_written_as_it_was(make_trained):
    recipe = make_trained(names=("surface",)).recipe
    assert "mend_edges" not in recipe.as_dict()["window"]
    assert read_recipe(recipe.as_dict()).window.mend_edges
