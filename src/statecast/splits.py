"""The split of a record that a recipe trains on, opened by its domain."""

from collections.abc import Mapping
from typing import Any

from statecast.config import Recipe, RecipeError
from statecast.domain import Source, find_domain
from statecast.tasks import TaskError


def open_training(recipe: Recipe, known: Mapping[str, Any]) -> Source:
    """The training split of a recipe. Raises RecipeError if the task can't be applied to its streams."""
    source = find_domain(recipe.data.domain).open(recipe, "train", known)
    assert source is not None
    try:
        recipe.task.require({name: codec.spec for name, codec in source.codecs.items()})
        recipe.task.require_conditions(tuple(source.codecs))
    except TaskError as error:
        raise RecipeError(str(error)) from None
    if recipe.model.head in ("flow", "noise") and recipe.task.rollout_blocks > 1:
        raise RecipeError(
            f"task.rollout is {recipe.task.rollout_blocks}, but a {recipe.model.head} head learns from one answer at a time, expected 1. "
            "Remove this key; its members are rolled out when they are drawn."
        )
    return source
