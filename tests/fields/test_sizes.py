"""The window of a training sample without values."""

from dataclasses import replace

import pytest

from statecast.config import RecipeError, read_recipe
from statecast.fields.sizes import sizes
from statecast.fields.sources import StoreError, monthly
from statecast.splits import open_training


@pytest.mark.parametrize("apart", [False, True])
def test_tokens_are_as_the_codecs_of_a_training_have_them(apart):
    """But for the size of a token in degrees, which no cost depends on."""
    tokens = f"streams.atmosphere.levels_share_token={str(not apart).lower()}"
    recipe = read_recipe("quickstart", ["streams.atmosphere.variables=[t, u]", tokens])
    (found,), (codec,) = sizes(recipe).specs.values(), open_training(recipe, {}).codecs.values()
    assert replace(found, axes=codec.spec.axes) == codec.spec
    assert [axis.name for axis in found.axes] == [axis.name for axis in codec.spec.axes]
    assert found.size == codec.values_per_token


def test_a_cost_needs_an_extent_where_there_is_no_store_and_a_patch_that_divides_it():
    with pytest.raises(RecipeError, match=r"window\.extent: is needed"):
        sizes(read_recipe("small", ["window.extent=null"]))
    with pytest.raises(RecipeError, match=r"streams\.zonal_wind\.patch"):
        sizes(read_recipe("small", ["window.extent=[50, 108]"]))


def test_a_store_that_is_there_and_broken_is_refused(tmp_path):
    (tmp_path / "broken.nc").write_text("nothing")
    with pytest.raises(StoreError, match="cannot be read as"):
        sizes(read_recipe("small", [f"data.store={tmp_path / 'broken.nc'}"]))


def test_the_data_side_takes_what_it_takes(tmp_path):
    """The record is kept in memory by each process, and so is the climatology."""
    recipe = read_recipe("quickstart", ["training.workers=2", f"data.cache={{path: {tmp_path}, size_gb: 5}}"])
    needs, source = sizes(recipe).data, open_training(recipe, {})
    (stream,) = source.streams.values()
    record, mean = stream.record, stream.tokenizer.climatology.mean
    assert record.in_memory is not None
    assert needs["values of the training period, float32"] == round(record.in_memory.nbytes / 2**30, 3)
    assert needs["memory of 3 processes that read"] == round(3 * (record.in_memory.nbytes + mean.nbytes) / 2**30, 3)
    chunk = 5 * 64 * record.in_memory[0].nbytes
    expected = round((monthly.ARRAYS * 2 * mean.nbytes + chunk) / 2**30, 3)
    assert needs["memory while statistics are computed, beside that"] == expected
    assert needs["disk for its sums while it is prepared"] == round(4 * mean.nbytes / 2**30, 3)
    assert needs["disk of the cache, at most"] == round(5e9 / 2**30, 3)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_has_no_needs():
    assert sizes(read_recipe("small")).data == {}


def test_answers_over_several_lattices_are_told_to_cost_so_many_times(runs):
    recipe = read_recipe(runs.recipe | {"window": {"lattices": 4}})
    assert any("costs 4 times one answer" in text for text in sizes(recipe).assumed)
    assert not sizes(read_recipe(runs.recipe)).assumed
