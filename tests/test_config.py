"""The recipe: what is refused, with which words, and what is inherited."""

import pytest
import yaml
from pydantic import ValidationError

from statecast.config import RecipeError, read_recipe, shipped_recipes
from statecast.particles.tasks import MaskedParticles
from statecast.tasks import Forecast, Masked


def minimal(**sections) -> dict:
    return {
        "data": {"store": "a.zarr", "train": ["2000-01-01", "2000-12-31"]},
        "streams": {"air": {"variables": ["t"], "levels": [500], "patch": [2, 2, 2]}},
        "task": {"kind": "masked"},
    } | sections


def refusal(recipe, overrides=()) -> str:
    with pytest.raises(RecipeError) as caught:
        read_recipe(recipe, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_short_recipe_is_enough_and_its_dictionary_reads_back_the_same():
    recipe = read_recipe(minimal())
    assert isinstance(recipe.task, Masked) and recipe.seed == 0 and recipe.streams["air"].patch == (2, 2, 2)
    assert read_recipe(recipe.as_dict()) == recipe
    assert read_recipe(yaml.safe_load(yaml.safe_dump(recipe.as_dict()))) == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": {}}, "tasks is not an option of a recipe. Did you mean task?"),
        ({"data": {"store": "a", "train": [1, 2], "validat": 1}}, "data.validat is not an option of data. Did you mean data.validate?"),
        ({"streams": {"air": {"variables": ["t"], "level": [5]}}}, "streams.air.level is not an option of a stream. Did you mean streams.air.levels?"),
        ({"streams": {"forecast": {"variables": ["t"], "patchs": 1}}}, "streams.forecast.patchs is not an option of a stream. Did you mean streams.forecast.patch?"),
        ({"task": {"kind": "masked", "hiden": 1}}, "task.hiden is not an option of masked. Did you mean task.hidden?"),
        ({"task": {"kind": "forecast", "lead": 1}}, "task.lead is not an option of forecast. Did you mean task.leads?"),
        ({"model": {"widht": 64}}, "model.widht is not an option of model. Did you mean model.width?"),
        ({"training": {"step": 64}}, "training.step is not an option of training. Did you mean training.steps?"),
        ({"window": {"extend": [1, 1]}}, "window.extend is not an option of window. Did you mean window.extent?"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_refused_with_a_suggestion_at_every_depth(change, message):
    refused = refusal(minimal(**change))
    assert message in refused and "Options: " in refused


def test_a_key_like_no_other_gets_the_list_without_a_suggestion():
    refused = refusal(minimal(zzz=1))
    assert "Did you mean" not in refused
    assert refused.endswith("Options: adaptation, data, model, seed, streams, task, training, window.")


def test_a_misspelt_section_is_named_rather_than_the_missing_one():
    recipe = minimal()
    recipe["steams"] = recipe.pop("streams")
    assert "steams is not an option of a recipe. Did you mean streams?" in refusal(recipe)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"train": ["2000", "2001"]}}, "data.store is missing. Add it."),
        ({"data": {"store": "a", "train": ["2000"]}}, "data.train.1 is missing. Add it."),
        ({"streams": {}}, "streams: dictionary should have at least 1 item"),
        ({"streams": {"air": {}}}, "streams.air.variables is missing"),
        ({"task": {}}, "task.kind is missing. Choose one of arrange, denoise, detect, fill, forecast, interpolate, masked, next, refine, translate."),
        ({"task": {"kind": "maskd"}}, "task.kind: there is no task 'maskd'. Choose one of arrange, denoise, detect, fill, forecast, interpolate, masked, next, refine, translate."),
        ({"task": {"kind": "masked", "hidden": [0.9, 0.5]}}, "task: hidden: [0.9, 0.5] is no range of shares"),
        ({"task": {"kind": "refine", "every": 99}}, "don't always hold a visible step on both sides of the middle, with task.every 99. Take at"),
        ({"task": {"kind": "translate", "to": ["snow"]}}, "recipe: task.to: there is no stream snow."),
        ({"seed": -1}, "seed: input should be greater than or equal to 0, got -1."),
        ({"training": {"steps": "many"}}, "training.steps: input should be a valid integer"),
        ({"model": {"width": 64, "heads": 8}}, "model: width 64 with 8 heads: expected a multiple of the number of heads"),
    ],
)  # fmt: skip
def test_a_missing_key_and_a_bad_value_are_named_with_what_was_expected(change, message):
    assert message in refusal(minimal(**change))


def test_overrides_are_yaml_at_any_depth_and_the_mapping_stays_as_it_was():
    given = minimal()
    recipe = read_recipe(
        given,
        [
            "training.steps=7",
            "streams.air.patch=[1, 3, 3]",
            "data.validate=[2001-01-01, 2001-02-01]",
            "training.ema=null",
        ],
    )
    assert recipe.training.steps == 7 and recipe.streams["air"].patch == (1, 3, 3)
    assert recipe.data.validate_on == ("2001-01-01", "2001-02-01") and recipe.training.ema is None
    assert given == minimal()


def test_an_override_fills_an_empty_section():
    assert read_recipe(minimal(training=None), ["training.steps=7"]).training.steps == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps", "'training.steps' is not an override, expected key=value"),
        ("=3", "'=3' is not an override"),
        ("seed.steps=3", "override seed.steps=3: 'seed' holds a value, not a section."),
        ("training.steps=[1", "override training.steps=[1: is not valid YAML"),
        ("training.step=1", "Did you mean training.steps?"),
    ],
)
def test_an_override_that_cannot_be_is_refused(override, message):
    assert message in refusal(minimal(seed=1), [override])


def test_dates_stay_text_in_files_and_overrides(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(minimal()).replace("'2000-01-01'", "2000-01-01").replace("'2000-12-31'", "2000"))
    assert read_recipe(path).data.train == ("2000-01-01", "2000")
    assert read_recipe(path, ["data.train=[1979, 2015-06-01T06:00]"]).data.train == ("1979", "2015-06-01T06:00")


def test_a_fine_tuning_recipe_inherits_what_it_leaves_out():
    base = read_recipe(minimal(seed=3, model={"width": 64}, window={"extent": [6, 6]}, training={"steps": 9}))
    tuned = read_recipe({"task": {"kind": "forecast"}, "data": {"validate": ["2001", "2001"]}}, inherit=base)
    assert isinstance(tuned.task, Forecast)
    assert (tuned.seed, tuned.model.width, tuned.window.extent) == (3, 64, (6, 6))
    assert (tuned.data.store, tuned.data.validate_on) == ("a.zarr", ("2001", "2001"))
    assert tuned.training.steps == 1000  # training is not inherited: it is what a recipe is about
    assert list(tuned.streams) == ["air"]


def test_streams_are_inherited_as_a_whole_or_not_at_all():
    base = read_recipe(minimal())
    other = {"rain": {"variables": ["tp"], "patch": [1, 1, 1]}}
    assert list(read_recipe({"task": {"kind": "masked"}, "streams": other}, inherit=base).streams) == ["rain"]


def test_a_recipe_cannot_be_changed():
    recipe = read_recipe(minimal())
    for section, key in ((recipe, "seed"), (recipe.data, "store"), (recipe.task, "slabs"), (recipe.training, "steps")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, key, 1)


PRETRAINED_TOO = {"images-digits"}


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_that_ships_can_be_read(name):
    """A fine-tuning recipe is named after the pre-training whose model it starts from; AtmoRep's start from `base`."""
    base, _, tuning = (name, "", "") if name in PRETRAINED_TOO else name.partition("-")
    base = "base" if base == "atmorep" else base
    read = read_recipe(name, inherit=read_recipe(base)) if tuning else read_recipe(name)
    assert isinstance(read.task, Masked | MaskedParticles) is not bool(tuning)


def test_what_is_no_recipe_is_refused_in_one_line(tmp_path):
    assert "is neither a file nor a recipe that ships with statecast (" in refusal(str(tmp_path / "none.yaml"))
    for text, message in (("[1, 2]", "got list"), ("a: [1", "is not valid YAML"), ("", "got NoneType")):
        (tmp_path / "r.yaml").write_text(text)
        assert message in refusal(tmp_path / "r.yaml")


@pytest.mark.parametrize("name", ["values", "a.b", "two words"])
def test_a_name_that_no_stream_can_have_is_refused(name):
    values = read_recipe("quickstart").as_dict()
    with pytest.raises(RecipeError, match=f"'{name}' can't name a stream"):
        read_recipe(values | {"streams": {name: values["streams"]["atmosphere"]}})
