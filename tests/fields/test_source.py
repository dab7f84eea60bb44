"""The record of a recipe: what cannot be learned from it is refused before anything is written."""

import pytest

import statecast
from statecast.config import RecipeError
from statecast.fields.sources import StoreError


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"streams": {"fields": {"variables": ["t", "w"], "levels": [500], "patch": [2, 2, 2]}}},
            StoreError,
            "no variable 'w'",
        ),
        (
            {"streams": {"fields": {"variables": ["t"], "levels": [550], "patch": [2, 2, 2]}}},
            StoreError,
            "no level 550 hPa",
        ),
        (
            {"streams": {"fields": {"variables": ["t"], "levels": [500], "patch": [2, 3, 2]}}},
            RecipeError,
            "3 does not divide the 8 rows",
        ),
        (
            {"streams": {"fields": {"variables": ["nothing"], "patch": [2, 2, 2]}}},
            StoreError,
            "no value in the training period",
        ),
        ({"data": {"store": "nowhere.zarr", "train": ["2000-01-01", "2000-01-31"]}}, StoreError, "does not exist"),
        ({"window": {"extent": [80, 80]}}, ValueError, "exceeds the grid"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line_and_nothing_is_written(runs, tmp_path, change, error, message):
    with pytest.raises(error, match=message) as caught:
        statecast.pretrain(runs.recipe | change, tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_validation_period_inside_the_training_period_is_refused(runs, tmp_path):
    recipe = runs.recipe | {"data": runs.recipe["data"] | {"validate": ["2000-01-31", "2000-02-05"]}}
    with pytest.raises(
        RecipeError, match=r"data.validate is 2000-01-31 .* overlaps the training period 2000-01-01 to 2000-01-31"
    ):
        statecast.pretrain(recipe, tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_an_empty_period_is_refused(runs, tmp_path):
    data = runs.recipe["data"] | {"train": ["1990-01-01", "1990-02-01"]}
    with pytest.raises(StoreError, match="contains no data"):
        statecast.pretrain(runs.recipe | {"data": data}, tmp_path / "run", progress=False)
