"""A set and a sequence in one window: the number of clusters says which of two chains made the states that follow."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_domains import chain, points

import statecast as sc
from statecast.config import RecipeError, read_recipe
from statecast.costs import size_of
from statecast.mixed.source import MixedSource, join, key_of
from statecast.streams import Question, stack_questions
from statecast.trained import TrainedModel

MODEL = {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 4}
TRAINING = {"steps": 150, "batch_size": 16, "learning_rate": 0.01, "footprint": False}


def part(domain: str, folder: Path, streams: dict, train: tuple[int, int] = (0, 249)) -> dict:
    data = {"domain": domain, "file": str(folder / f"{domain}.npz"), "train": list(train), "validate": [250, 299]}
    return {"data": data, "streams": streams}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    points.write(folder / "points.npz", samples=300)
    chain.write(folder / "chain.npz", samples=300, length=6)
    with np.load(folder / "points.npz") as file:
        clusters = file["label"]
    made_by = _states(clusters - 1, length=6)
    np.savez(folder / "chain.npz", states=made_by, label=clusters - 1)
    return folder


def _states(which: np.ndarray, length: int) -> np.ndarray:
    random = np.random.default_rng(1)
    states = np.zeros((len(which), length), np.int64)
    states[:, 0] = random.integers(4, size=len(which))
    for step in range(1, length):
        cumulative = chain.CHAINS[which, states[:, step - 1]].cumsum(axis=-1)
        states[:, step] = (random.uniform(size=(len(which), 1)) > cumulative).sum(axis=-1)
    return states


@pytest.fixture(scope="module")
def recipe(folder) -> dict:
    parts = {
        "places": part("points", folder, {"points": {"points": True}, "clusters": {"label": True}}),
        "story": part("chain", folder, {"states": {"states": True}}),
    }
    return {
        "data": {"domain": "mixed", "parts": parts},
        "task": {"kind": "next", "ask": ["states"]},
        "model": MODEL,
        "training": TRAINING,
    }


@pytest.fixture(scope="module")
def run(recipe, folder) -> Path:
    sc.pretrain(recipe, folder / "run", progress=False)
    return folder / "run"


def questions(trained: TrainedModel, *, places_of: int) -> Question:
    """Of all validation samples, with the points of the sample that lies so many after."""
    cases = trained.domain.open(trained.recipe, "validate", trained.codecs).cases()
    windows = []
    for number in range(len(cases)):
        other = cases[(number + places_of) % len(cases)]
        windows.append(cases[number] | {name: other[name] for name in ("points", "clusters")})
    return stack_questions([trained.recipe.task.complete(window) for window in windows])


def log_score_of_the_second_state(trained: TrainedModel, question: Question) -> float:
    """Before which nothing but the places says which chain it is."""
    logits = trained.model.answer(question)["states"].logits[:, 1]
    truth = question.queries["states"].codes[:, 1]
    return float(torch.nn.functional.cross_entropy(logits, truth).detach())


def test_what_one_domain_shows_is_used_to_answer_the_other(run):
    trained = sc.load(run)
    own, others = (log_score_of_the_second_state(trained, questions(trained, places_of=n)) for n in (0, 7))
    assert own < others - 0.1


def test_a_condition_is_seen_by_all_and_nothing_later_by_any(run):
    trained = sc.load(run)
    question = questions(trained, places_of=0)
    question.context["states"].codes[:, 3:] = 0
    changed = trained.model.answer(question)["states"].logits
    kept = trained.model.answer(questions(trained, places_of=0))["states"].logits
    assert torch.equal(changed[:, :4], kept[:, :4]) and not torch.equal(changed[:, 4:], kept[:, 4:])


def test_the_commands_know_it(run, recipe, statecast, tmp_path):
    trained = sc.load(run)
    size = size_of(trained.recipe)
    assert size.parameters == trained.parameters
    assert statecast("evaluate", run, "--out", "out", "--quiet") == (0, "")
    records = json.loads((tmp_path / "out" / "scores.json").read_text())
    score = {r["forecast"]: r["value"] for r in records if r["metric"] == "accuracy"}
    assert score["model"] > score["marginal"] + 0.2
    assert statecast("embed", run, "--out", "embedded.nc", "--quiet") == (0, "")
    assert {"points", "clusters"} == {str(n).split("_")[0] for n in xr.open_dataset("embedded.nc").data_vars}
    assert "## places" in (run / "model" / "README.md").read_text()


def test_a_recipe_is_read_as_it_was_written(recipe):
    read = read_recipe(recipe)
    assert list(read.streams) == ["points", "clusters", "states"]
    assert read_recipe(read.as_dict()) == read and read_recipe(read.as_dict()).streams == read.streams


def test_samples_are_joined_by_what_they_are_called(folder, recipe):
    read = read_recipe(recipe)
    source = read_source(read)
    window = source.cases()[17]
    assert torch.equal(window["states"].codes, source.parts["story"].cases()[17]["states"].codes)
    assert list(source.cases().labels) == list(range(250))
    assert np.array_equal(source.cases().positions, np.arange(250.0))


def read_source(read) -> MixedSource:
    from statecast.domain import find_domain

    source = find_domain("mixed").open(read, "train", {})
    assert isinstance(source, MixedSource)
    return source


def test_only_samples_that_all_parts_have_are_drawn(folder, recipe):
    parts = recipe["data"]["parts"] | {"story": part("chain", folder, {"states": {"states": True}}, (240, 299))}
    read = read_recipe(recipe | {"data": {"domain": "mixed", "parts": parts}})
    assert list(read_source(read).cases().labels) == list(range(240, 250))


@pytest.mark.parametrize(
    ("label", "same"),
    [
        (np.datetime64("2001-02-03T06:00"), "2001-02-03 06:00:00"),
        (np.datetime64("2001-02-03"), "2001-02-03T00:00"),
        (7, "7"),
        (np.int64(2001), "2001"),
    ],
)
def test_times_and_numbers_are_the_same_in_every_spelling(label, same):
    assert key_of(label) == key_of(same)
    assert key_of("2001") != key_of("2001-01-01")


def test_parts_without_a_common_sample_are_refused(folder, recipe):
    story = part("chain", folder, {"states": {"states": True}}, (250, 299))
    parts = {"places": recipe["data"]["parts"]["places"], "story": story}
    with pytest.raises(RecipeError, match=r"no sample is in all parts .*the first 0.*the first 250"):
        join(read_source_parts(read_recipe(recipe | {"data": {"domain": "mixed", "parts": parts}})))


def read_source_parts(read) -> dict:
    from statecast.domain import find_domain
    from statecast.mixed.recipe import part_recipe

    parts = {name: part_recipe(read, name) for name in read.data.parts}
    return {name: find_domain(part.data.domain).open(part, "train", {}) for name, part in parts.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"streams": {"states": {"states": True}}}, "has the streams of its parts"),
        ({"task": {"kind": "next", "ask": ["words"]}}, "there is no stream words"),
        ({"data": {"domain": "mixed", "parts": {"a": {}}}}, "data.parts.a"),
    ],
)
def test_a_recipe_that_can_not_be_read_is_refused(recipe, change, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(recipe | change)


def test_two_streams_of_one_name_and_sections_of_the_whole_are_refused(recipe):
    places = recipe["data"]["parts"]["places"]
    for parts, message in (
        ({"a": places, "b": places}, "two parts have a stream points"),
        ({"a": places, "b": places | {"model": MODEL}}, "a part|of the whole|two parts"),
    ):
        with pytest.raises(RecipeError, match=message):
            read_recipe(recipe | {"data": {"domain": "mixed", "parts": parts}})


def test_what_was_trained_on_is_not_verified(run, statecast):
    code, error = statecast("evaluate", run, "--period", "0", "9", "--out", "out", "--quiet")
    assert code == 2 and "sample 0 was trained on" in error


def test_a_condition_that_has_no_order_can_not_be_asked_next(recipe, folder):
    with pytest.raises(RecipeError, match="stream points has no order axis"):
        sc.pretrain(recipe | {"task": {"kind": "next", "ask": ["points"]}}, folder / "refused", progress=False)


def test_texts_are_joined_to_fields_by_their_time(make_store, tmp_path):
    make_store(steps=12, start="2001-01-30").to_zarr(tmp_path / "store.zarr", consolidated=False)
    rows = ["time,text", "2001-01-30T12:00,second", "2001-01-31 00:00:00,third", "2001-02-09,never"]
    (tmp_path / "log.csv").write_text("\n".join(rows), encoding="utf-8")
    weather = {"store": str(tmp_path / "store.zarr"), "train": ["2001-01-30", "2001-02-01"]}
    log = {"domain": "text", "files": str(tmp_path / "log.csv"), "key": "time", "shuffle": False, "train": [0, 2]}
    parts = {
        "weather": {"data": weather, "streams": {"surface": {"variables": ["t2m"], "patch": [1, 2, 2]}}},
        "log": {"data": log, "streams": {"words": {"vocabulary": 300, "tokens": 16}}},
    }
    read = read_recipe({"data": {"domain": "mixed", "parts": parts}, "task": {"kind": "next", "ask": ["words"]}})
    cases = read_source(read).cases()
    assert [str(label) for label in cases.labels] == ["2001-01-30 12:00:00", "2001-01-31 00:00:00"]
    codec = read_source(read).codecs["words"]
    assert [codec.decode(cases[n]["words"].codes.tolist()) for n in range(2)] == ["second", "third"]


def test_a_recipe_inherits_the_model_alone_from_another_domain(recipe):
    base = read_recipe(
        part("points", Path(), {"points": {"points": True}}) | {"task": {"kind": "masked"}, "model": MODEL}
    )
    read = read_recipe({key: recipe[key] for key in ("data", "task")}, inherit=base)
    assert read.model == base.model and list(read.streams) == ["points", "clusters", "states"]
