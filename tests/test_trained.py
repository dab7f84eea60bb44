"""Model directories: they load to the bit, or say in one line why not."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from statecast.adaptation import transfer
from statecast.answer import answer
from statecast.config import read_recipe
from statecast.fields.sources import Record, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.fields.tokenizers.windows import whole_domain
from statecast.models import ModelOptions
from statecast.tasks import Forecast
from statecast.trained import ModelError, TrainedModel, build, load


@pytest.fixture
def record(make_store) -> Record:
    stream = Stream(variables=("t", "msl"), levels=(500, 850), patch=(2, 6, 6))
    return Record.open(open_fields(make_store(steps=40, missing=0.05)), stream)


@pytest.fixture
def make_trained(record):
    def make(seed: int = 0) -> TrainedModel:
        stream = Stream(variables=("t", "msl"), levels=(500, 850), patch=(2, 6, 6))
        options = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=4)
        data = {"store": "a.zarr", "train": ["2000", "2001"]}
        recipe = {"data": data, "streams": {"air": stream.model_dump()}, "task": {"kind": "masked"}}
        tokenizers = {"air": FieldTokenizer(stream, fit_climatology(record))}
        return TrainedModel(build(options, tokenizers, seed), tokenizers, read_recipe(recipe))

    return make


@pytest.fixture
def directory(make_trained, tmp_path):
    make_trained().save(tmp_path / "model")
    return tmp_path / "model"


def prediction(trained: TrainedModel, record: Record) -> torch.Tensor:
    window = trained.codecs["air"].tokenize(record, whole_domain(record.grid, 0, 4))
    return answer(trained, Forecast(history=1, leads=1).complete({"air": window}))["air"]


def test_what_was_saved_predicts_the_same_to_the_bit(make_trained, directory, record):
    kept, loaded = make_trained(), load(directory)
    assert torch.equal(prediction(kept, record), prediction(loaded, record))
    assert loaded.recipe == kept.recipe and not loaded.model.training
    assert torch.equal(prediction(loaded, record), prediction(load(directory.parent), record))  # as a run directory


def test_the_same_seed_gives_the_same_model_and_the_global_random_state_stays(make_trained, record):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, same, other = (prediction(make_trained(seed), record) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_attention_reaches_as_far_as_a_token_unless_the_recipe_says_otherwise(make_trained, record):
    def reach_of(model) -> float:
        (place,) = [axis for axis in model.axes if axis.kind == "sphere"]
        return place.spacing

    trained = make_trained()
    assert reach_of(trained.model) == pytest.approx(6 * record.grid.spacing_deg)
    options = ModelOptions(width=32, heads=2, members=4, reach_deg=3.0)
    assert reach_of(build(options, trained.codecs, 0)) == 3.0


def test_the_reach_of_a_model_goes_with_it_to_streams_of_other_tokens(make_trained, directory):
    loaded = load(directory)
    coarser = {
        name: replace(codec, stream=codec.stream.model_copy(update={"patch": (2, 12, 6)}))
        for name, codec in loaded.codecs.items()
    }
    assert build(loaded.model.options, coarser, 0).axes != loaded.model.axes == make_trained().model.axes
    assert build(loaded.model.options, coarser, 0, loaded.model.axes).axes == loaded.model.axes


def test_the_model_card_names_what_the_model_knows(directory, make_trained):
    card = (directory / "README.md").read_text()
    assert "| air | t, msl | 500, 850 | 2 x 6 x 6 | 12 x 24 |" in card
    assert f"{make_trained().parameters:,} parameters" in card and "{" not in card


def test_saving_over_a_model_is_refused(make_trained, directory):
    with pytest.raises(FileExistsError):
        make_trained().save(directory)


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def other_format(path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


def wider(path) -> None:
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"model": facts["model"] | {"width": 64}}))


def without_a_weight(path) -> None:
    weights = load_file(path)
    del weights["encoder_norm.weight"]
    save_file(weights, path)


DAMAGED = r"is damaged or of another version \(.*{}.*\)\. Copy it again or train a new model\."
NO_FACTS = r"model\.json is not valid JSON \(.*\)\. Copy it again\."


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("model.safetensors", cut, DAMAGED.format("")),
        ("model.safetensors", lambda p: p.unlink(), DAMAGED.format("No such file")),
        ("model.safetensors", without_a_weight, DAMAGED.format(r"encoder_norm\.weight")),
        ("model.json", cut, NO_FACTS),
        ("model.json", lambda p: p.write_text("[]"), "was written in format None"),
        ("model.json", lambda p: p.write_text("{}"), "was written in format None"),
        (
            "model.json",
            other_format,
            r"was written in format 99, but this version of statecast reads format 5\. Train it again with this version",
        ),
        ("model.json", wider, DAMAGED.format("size mismatch")),
        ("recipe.yaml", lambda p: p.write_text("a: [1"), DAMAGED.format("")),
        ("recipe.yaml", lambda p: p.write_text(""), DAMAGED.format("is not a recipe")),
        ("streams/air.nc", lambda p: p.unlink(), DAMAGED.format(r"air\.nc")),
        ("streams/air.nc", lambda p: p.write_bytes(b"nothing"), DAMAGED.format("")),
    ],
)
def test_a_damaged_model_directory_is_refused_in_one_line(directory, name, damage, message):
    damage(directory / name)
    with pytest.raises(ModelError, match=rf"^model .*: {message}") as caught:
        load(directory)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_what_is_no_model_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file", tmp_path / "absent", "nothing"):
        with pytest.raises(ModelError, match="is not a model directory"):
            load(path)


def test_a_model_that_was_being_written_when_its_process_was_killed_is_written_again(runs, tmp_path):
    trained = load(runs.forecast)
    (tmp_path / "model.part" / "streams").mkdir(parents=True)
    trained.save(tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["model"] and load(tmp_path / "model").parameters
    with pytest.raises(FileExistsError):
        trained.save(tmp_path / "model")


def test_a_model_answers_on_the_best_device_unless_told_otherwise(make_trained, tmp_path, device, monkeypatch):
    made = make_trained()
    made.save(tmp_path / "model")
    monkeypatch.setattr("statecast.trained.best_device", lambda: device)
    there = load(tmp_path / "model")
    assert there.device.type == device and load(tmp_path / "model", "cpu").device.type == "cpu"
    assert load(there) is there
    there.save(tmp_path / "copy")
    again = load(tmp_path / "copy", "cpu")
    for name, value in made.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=0, atol=0)


def test_a_fine_tuning_goes_on_from_a_model_on_another_device(make_trained, device):
    base, here, there = make_trained(0), make_trained(1), make_trained(1)
    transfer(base.model, base.codecs, here.model, here.codecs)
    transfer(base.to(device).model, base.codecs, there.model, there.codecs)
    for name, value in here.model.state_dict().items():
        torch.testing.assert_close(there.model.state_dict()[name], value, rtol=0, atol=0)
