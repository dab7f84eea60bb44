"""Events through the whole core: tokens of several jets, what a model of single jets passes on to one of events, and the search."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import statecast as sc
from statecast.config import RecipeError, read_recipe
from statecast.costs import size_of
from statecast.numbered import SeenError
from statecast.particles.event_codec import EVENT_PLACE, EventCodec, InEvent
from statecast.particles.event_source import EventSource, open_event_source
from statecast.particles.events import Events
from statecast.particles.inference.search import Experiment, process_probabilities, read_range, search
from statecast.particles.jets import JetError
from statecast.particles.verbs import tag
from statecast.streams import stack
from statecast.trained import ModelError

parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("fastjet")

STREAMS = {
    "particles": {"particles": ["delta_eta", "delta_phi", "log_pt_fraction", "log_pt", "charge"]},
    "jet": {"quantities": ["multiplicity", "pt_gev", "mass_gev"]},
    "event": {"numbers": ["met_gev", "met_cos_phi", "dijet_mass_gev"]},
    "label": {"label": "class"},
}
TASK = {"kind": "translate", "to": ["label"]}
TRAINING = {"steps": 6, "batch_size": 4, "validate_every": 3, "validation_samples": 4, "footprint": False}


def random_events(jets, count, seed=0):
    random = np.random.default_rng(seed)
    counts = random.integers(2, 4, count)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    event = np.repeat(np.arange(count), counts)
    chosen = jets[np.lexsort((-jets.of_jets["pt_gev"][: offsets[-1]], event))]
    of_events = {name: random.uniform(0.5, 1.5, count) for name in ("met_gev", "met_phi", "weight")}
    labels = np.where(chosen.labels[offsets[:-1]] == "two", "signal", "background")
    sections = np.where(labels == "signal", 1.0, 50.0)
    unlabelled = replace(chosen, labels=None)
    return Events(offsets, unlabelled, of_events | {"cross_section_fb": sections}, labels)


@pytest.fixture
def events(make_jets):
    return random_events(make_jets(400), 120)


@pytest.fixture
def file(events, tmp_path):
    from statecast.particles.sources.event_columns import table_of

    path = tmp_path / "events.parquet"
    parquet.write_table(table_of(events), path)
    return str(path)


@pytest.fixture
def recipe(file, make_recipe):
    """Of a tiny model of events."""
    data = {"domain": "particles", "files": file, "train": [0, 39], "validate": [40, 79]}
    return lambda **changes: make_recipe(TASK, **({"data": data, "streams": STREAMS, "training": TRAINING} | changes))


@pytest.fixture
def tuning(file):
    """Of a fine-tuning to events."""
    data = {"files": file, "train": [0, 39], "validate": [40, 79]}
    return {"data": data, "streams": STREAMS, "task": TASK, "training": TRAINING}


def source_of(recipe, known=None):
    source = open_event_source(read_recipe(recipe), "train", known or {})
    assert isinstance(source, EventSource)
    return source


def test_the_tokens_of_all_jets_of_an_event_follow_one_another(recipe, events):
    source = source_of(recipe())
    for number in (0, 7):
        window = source.window(number)
        two = events.leading(2)
        sizes = two.jets.multiplicity[two.offsets[number] : two.offsets[number] + 2]
        particles, jet, event = window["particles"], window["jet"], window["event"]
        rank_of_jet = particles.along("jet")[:, 0].tolist()
        assert rank_of_jet == [0.0] * sizes[0] + [1.0] * sizes[1]
        assert particles.along("index")[:, 0].tolist() == [*range(sizes[0]), *range(sizes[1])]
        assert jet.along("jet")[:, 0].tolist() == [0.0] * 3 + [1.0] * 3 and jet.spec.ragged
        assert len(event) == 1 and event.coords[0].tolist() == list(EVENT_PLACE)
        of_process = events.of_events["weight"][:40][events.labels[:40] == events.labels[number]]
        expected = events.of_events["weight"][number] / of_process.mean()
        assert window["label"].weight.tolist() == pytest.approx([expected], rel=1e-5)
        assert window["label"].codes.tolist() == [["background", "signal"].index(events.labels[number])]


def test_numbers_of_the_event_are_standardised_by_the_training_split(recipe):
    source = source_of(recipe())
    values = torch.cat([case["event"].values for case in map(source.cases().__getitem__, range(40))])
    torch.testing.assert_close(values.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(dim=0, correction=0), torch.ones(3))


def test_a_drawn_event_depends_on_the_generator_alone_and_turned_jets_keep_their_momenta(recipe):
    turning = source_of(recipe(data=recipe()["data"] | {"rotate": True}))
    one, same = (turning.draw(np.random.default_rng(3))["particles"] for _ in range(2))
    straight = source_of(recipe()).draw(np.random.default_rng(3))["particles"]
    assert torch.equal(one.coords, same.coords) and not torch.equal(one.coords, straight.coords)
    torch.testing.assert_close(one.along("plane").norm(dim=-1), straight.along("plane").norm(dim=-1))


def test_an_event_of_one_jet_is_encoded_as_the_jet_is(runs, recipe):
    from statecast.adaptation import transfer
    from statecast.particles.codec import OneJet
    from statecast.trained import build

    base = sc.load(runs.masked)
    single = STREAMS | {"event": {"numbers": ["met_gev"], "jets": 1}}
    source = source_of(recipe(streams=single), base.codecs)
    model = build(base.recipe.model, source.codecs, 1, base.model.axes)
    report = transfer(base.model, base.codecs, model, source.codecs)
    assert any("spots.jet" in name for name in report.new) and "coordinates.layers.0.weight" in report.mixed
    jets = source.record.jets
    shown = ("particles", "jet")
    for number in range(3):
        span = jets.span(int(source.record.offsets[number]))
        jet = OneJet(jets.features[span], jets.kinds[span].long(), jets.quantities[source.record.offsets[number]])
        event = source.window(number)
        with torch.no_grad():
            theirs = base.model.encode(stack([{name: base.codecs[name].tokens(jet) for name in shown}]))
            ours = model.encode(stack([{name: event[name] for name in shown}]))
        for name in shown:
            count = len(event[name])
            was, now = theirs.tokens[0, theirs.spans[name]][:count], ours.tokens[0, ours.spans[name]][:count]
            torch.testing.assert_close(now, was, atol=2e-5, rtol=1e-4)
    moved = replace(event["particles"], coords=event["particles"].coords + torch.tensor([0.0, 0.0, 0.0, 5.0]))
    with torch.no_grad():
        apart = model.encode(stack([{"particles": moved, "jet": event["jet"]}]))
    assert not torch.allclose(apart.tokens, ours.tokens, atol=1e-3)  # jets that differ are seen apart


def test_a_model_of_jets_becomes_one_of_events_that_comes_back_and_is_evaluated(runs, tuning, events, tmp_path):
    base = sc.load(runs.masked)
    made = sc.finetune(tuning, base, tmp_path / "run", progress=False)
    found = sc.load(tmp_path / "run")
    assert isinstance(found.codecs["particles"], InEvent) and isinstance(found.codecs["event"], EventCodec)
    assert torch.equal(found.codecs["particles"].of.mean, base.codecs["particles"].mean)
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, found.model.state_dict()[name])
    new = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["new_parameters"]
    assert new and all(any(word in name for word in ("label", "event", "spots.jet", "coordinates")) for name in new)
    said = process_probabilities(found, events[40:80])
    np.testing.assert_allclose(said.sum(axis=1), 1)
    np.testing.assert_allclose(process_probabilities(found, events[40:80], batch=7), said, atol=1e-6)
    sc.evaluate(found, out=tmp_path / "scores", progress=False)
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert {score["metric"] for score in scores} == {"log_score", "accuracy"}
    size = size_of(found.recipe)
    assert size.parameters == found.parameters and not size.assumed
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "events 0 to 39" in card and "one an event" in card


def test_a_model_of_events_starts_another_one(runs, tuning, tmp_path):
    first = sc.finetune(tuning, runs.masked, tmp_path / "one", progress=False)
    other = tuning | {"adaptation": {"change": "heads"}}
    second = sc.finetune(other, first, tmp_path / "two", progress=False)
    before, after = first.model.state_dict(), second.model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed and all(name.startswith(("heads", "code_heads", "decoder_norm")) for name in changed)


def test_what_is_asked_of_events_are_labels(recipe):
    codes = STREAMS | {"codes": {"asks": "codebook", "size": 8}}
    for changes, message in (
        (
            {"streams": codes, "task": {"kind": "masked_particles"}},
            "a sample is an event, of which only labels are asked",
        ),
        ({"data": recipe()["data"] | {"cache": "there"}}, "data.cache: events are held in memory"),
        ({"streams": STREAMS | {"more": {"numbers": ["met_gev"]}}}, "2 hold numbers"),
        ({"streams": STREAMS | {"event": {"numbers": ["met"]}}}, "met is not known. Choose among met_gev"),
    ):
        with pytest.raises(RecipeError, match=message):
            read_recipe(recipe() | changes)


def test_events_that_are_not_there_are_refused(recipe):
    data = recipe()["data"]
    with pytest.raises(JetError, match=r"have 120 events, expected events 0 to 500\. Name a range"):
        source_of(recipe(data=data | {"train": [0, 500], "validate": None}))


def test_a_search_chooses_on_validation_and_counts_on_the_test(runs, tuning, file, tmp_path, capsys):
    found = sc.finetune(tuning, runs.masked, tmp_path / "run", progress=False)
    scores = search(found, file, (80, 119), Experiment("signal", 100.0))
    assert {score.metric for score in scores} >= {"significance_cut", "significance_bins"}
    assert all(np.isfinite(score.value) and score.n == 40 for score in scores)
    louder = search(found, file, (80, 119), Experiment("signal", 100.0, {"signal": 4.0}))
    by_name, loud = ({s.metric: s.value for s in each} for each in (scores, louder))
    assert loud["significance_bins"] > 2 * by_name["significance_bins"]
    with pytest.raises(JetError, match="events 40 to 79 of validation overlap the test, 60 to 119"):
        search(found, file, (60, 119), Experiment("signal"))
    with pytest.raises(
        SeenError, match=r"numbers 30 to 39 of events.parquet: overlap 0 to 39, which the model has learned from"
    ):
        search(found, file, (30, 39), Experiment("signal"))
    with pytest.raises(JetError, match="process higgs: the events have background, signal"):
        search(found, file, (80, 119), Experiment("higgs"))
    with pytest.raises(ModelError, match="the model is of single jets, expected one of events"):
        search(runs.tagged, file, (80, 119), Experiment("signal"))
    with pytest.raises(ModelError, match="the model is of events, expected one of single jets"):
        tag(found, file, tmp_path / "tags.parquet")


def test_the_command_prints_the_table(runs, tuning, file, tmp_path, capsys):
    from statecast.cli.jets import search as command

    sc.finetune(tuning, runs.masked, tmp_path / "run", progress=False)
    command(str(tmp_path / "run"), [file], signal="signal", test=(80, 119), cross_section=["signal=2"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("analysis") and printed[1].startswith("model") and len(printed) == 2


def test_the_page_on_searches_names_the_recipe_of_a_model_from_scratch_as_large_as_the_backbone():
    page = (Path(__file__).parents[2] / "docs" / "particles" / "search.md").read_text()
    (command,) = re.findall(r"`statecast pretrain (jets-search .*?) --out runs/scratch`", page)
    name, *overrides = shlex.split(command)
    scratch, tuned = read_recipe(name, overrides), read_recipe(name, inherit=read_recipe("jets"))
    assert scratch == tuned


def test_a_range_of_a_file_is_read(file, events):
    part = read_range([file], (40, 49))
    assert part.labels.tolist() == events.labels[40:50].tolist()
