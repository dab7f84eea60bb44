"""Domains are found by name: those of statecast, and those that announce themselves by an entry point."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from tiny_domains import chain, points

from statecast.config import Recipe, RecipeError, read_recipe, recipe_type, shipped_recipes
from statecast.domain import DomainError, domain_names, find_domain
from statecast.fields.domain import DOMAIN as FIELDS
from statecast.fields.recipe import FieldRecipe
from statecast.tasks import TaskOptions


def recipe(domain: str, stream: dict, **data) -> dict:
    return {
        "data": {"domain": domain, "file": "data.npz", "train": [0, 9]} | data,
        "streams": {"tokens": stream},
        "task": {"kind": "masked"},
    }


def test_the_domain_of_statecast_and_those_of_entry_points_are_found_by_name():
    assert find_domain("fields") is FIELDS
    assert find_domain("chain") is chain.DOMAIN and find_domain("points") is points.DOMAIN
    assert domain_names() == ["chain", "fields", "images", "mixed", "particles", "points", "showers", "text"]
    assert all(find_domain(name).name == name for name in domain_names())


def test_a_domain_that_is_not_installed_is_refused_in_one_line():
    message = (
        r"data.domain: there is no domain jets. Installed: chain, fields, images, mixed, particles, points, showers, text. "
        r"Name one of them."
    )
    with pytest.raises(DomainError, match=message):
        find_domain("jets")
    with pytest.raises(DomainError, match=message):
        read_recipe(recipe("jets", {"points": True}))


def test_a_recipe_is_of_the_type_of_its_domain():
    assert recipe_type(recipe("points", {})) is points.PointsRecipe
    assert recipe_type(recipe("chain", {})) is chain.ChainRecipe
    assert recipe_type({"data": {"store": "store.zarr"}}) is FieldRecipe  # the default
    assert recipe_type({}) is FieldRecipe
    assert recipe_type({"data": "no section"}) is FieldRecipe


def test_streams_are_read_as_those_of_the_domain():
    read = read_recipe(recipe("points", {"points": True}))
    assert isinstance(read, points.PointsRecipe) and isinstance(read.streams["tokens"], points.Points)
    assert read_recipe(read.as_dict()) == read
    assert isinstance(read_recipe(recipe("chain", {"states": True})).streams["tokens"], chain.States)


def test_options_of_another_domain_are_refused():
    with pytest.raises(RecipeError, match="is not an option of"):
        read_recipe(recipe("points", {"points": True}, store="store.zarr"))
    with pytest.raises(RecipeError, match="store"):
        read_recipe(
            {"data": {"train": ["2000", "2001"]}, "streams": {"t": {"variables": ["t"]}}, "task": {"kind": "masked"}}
        )
    with pytest.raises(RecipeError, match=r"streams\.tokens.*states"):
        read_recipe(recipe("chain", {"state": True}))


def test_the_task_of_a_domain_of_its_own_is_refused_elsewhere():
    fill = recipe("points", {"points": True}) | {"task": {"kind": "fill"}}
    with pytest.raises(RecipeError, match=r"task.kind: there is no task 'fill'. Choose one of arrange, denoise"):
        read_recipe(fill)


def test_shipped_recipes_are_those_of_all_domains_by_name():
    shipped = shipped_recipes()
    assert list(shipped) == sorted(shipped) and {"quickstart", "small", "base"} <= set(shipped)
    assert all(path.is_file() and path.suffix == ".yaml" for path in shipped.values())
    assert {path.parent.parent.name for path in shipped.values()} == {
        "fields",
        "images",
        "particles",
        "showers",
        "text",
    }  # the tiny domains ship none


def test_a_domain_that_ships_a_recipe_adds_it_to_the_list(monkeypatch, tmp_path):
    package = tmp_path / "tiny_recipes"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tiny.yaml").write_text("task: {kind: masked}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(points.DOMAIN, "recipes", "tiny_recipes", raising=False)
    assert shipped_recipes()["tiny"] == package / "tiny.yaml" and "quickstart" in shipped_recipes()


def test_a_recipe_that_does_not_ship_is_refused_with_those_that_do():
    with pytest.raises(
        RecipeError, match=r"recipe nowhere: is neither a file nor a recipe that ships with statecast \(.*quickstart"
    ):
        read_recipe("nowhere")
    assert not Path("nowhere").exists()


def test_every_task_of_the_core_is_open_to_every_domain():
    kinds = {"masked", "forecast", "interpolate", "refine", "translate", "denoise", "detect", "arrange", "next"}
    for kind in kinds - {"translate"}:
        read = read_recipe(recipe("points", {"points": True}) | {"task": {"kind": kind}})
        assert isinstance(read, Recipe) and isinstance(read.task, TaskOptions) and read.task.kind == kind


def test_a_recipe_of_the_core_alone_has_no_options_of_a_domain():
    with pytest.raises(ValidationError, match="Extra inputs"):
        Recipe.model_validate(recipe("points", {}))
