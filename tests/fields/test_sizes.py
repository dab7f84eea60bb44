"""The window of a training sample without values."""

from dataclasses import replace

import pytest

from statecast.config import RecipeError, read_recipe
from statecast.fields.sizes import sizes
from statecast.fields.sources import StoreError
from statecast.runs import open_training


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


def test_answers_over_several_lattices_are_told_to_cost_so_many_times(runs):
    recipe = read_recipe(runs.recipe | {"window": {"lattices": 4}})
    assert any("costs 4 times one answer" in text for text in sizes(recipe).assumed)
    assert not sizes(read_recipe(runs.recipe)).assumed
