"""Flat columns of jets, in memory and memory-mapped."""

import numpy as np
import pytest
import torch

from statecast.config import RecipeError, read_recipe
from statecast.particles import record
from statecast.particles.jets import JetError
from statecast.particles.record import Columns, read_record
from statecast.particles.source import open_source

COLUMNS = Columns(
    ("0.jets", "1.jets"),
    (250, 449),
    128,
    ("delta_eta", "log_pt"),
    ("multiplicity", "pt_gev"),
    ("class", "generated_mass_gev"),
)


def test_a_range_across_files_and_chunks_holds_exactly_its_jets(make_jets):
    found = read_record(COLUMNS)
    zero, one = make_jets(seed=0), make_jets(seed=1)
    counts = [*zero.multiplicity[250:], *one.multiplicity[:150]]
    assert len(found) == 200 and np.diff(found.offsets).tolist() == counts
    assert found.labels("class") == [*zero.labels[250:], *one.labels[:150]]
    masses = [*zero.of_jets["generated_mass_gev"][250:], *one.of_jets["generated_mass_gev"][:150]]
    assert found.labels("generated_mass_gev") == pytest.approx(masses)
    pt = np.exp(found.features[found.span(60), 1].double().numpy())
    np.testing.assert_allclose(pt, one.particles_of(10)["pt_gev"], rtol=1e-6)


def test_memory_mapped_columns_are_those_in_memory_and_are_read_once(tmp_path, monkeypatch):
    plain, mapped = read_record(COLUMNS), read_record(COLUMNS, str(tmp_path))
    for name in ("features", "kinds", "quantities"):
        one, other = getattr(plain, name), getattr(mapped, name)
        assert torch.equal(one, other) and one.dtype == other.dtype
    assert mapped.labels("class") == plain.labels("class")
    assert [p.name for p in tmp_path.iterdir()] and not list(tmp_path.glob(".part-*"))
    monkeypatch.setattr(record, "open_files", None)  # a second reading would fail
    assert torch.equal(read_record(COLUMNS, str(tmp_path)).features, plain.features)


def test_an_interrupted_cache_leaves_nothing_that_could_be_taken_for_one(tmp_path, monkeypatch, make_jets):
    def failing(jets, *, first, last):
        yield make_jets()
        raise JetError("file 1.jets: is truncated.")

    files = record.open_files(COLUMNS.files, 128)
    files.chunks = failing
    with monkeypatch.context() as patch, pytest.raises(JetError, match="truncated"):
        patch.setattr(record, "open_files", lambda names, most_constituents: files)
        read_record(COLUMNS, str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert len(read_record(COLUMNS, str(tmp_path))) == 200


def test_jets_that_exceed_memory_need_a_cache(monkeypatch):
    monkeypatch.setattr(record, "IN_MEMORY_GIB", 1e-6)
    with pytest.raises(JetError, match=r"Name a directory by data.cache"):
        read_record(COLUMNS)


@pytest.mark.parametrize(
    ("jets", "message"), [((500, 600), "have 600 jets, expected jets 500 to 600"), ((600, None), "jets 600 to the end")]
)
def test_a_range_that_is_not_there_is_refused(jets, message):
    with pytest.raises(JetError, match=message):
        read_record(Columns(("0.jets", "1.jets"), jets, 128, ("log_pt",), (), ()))


def test_a_label_that_is_not_there_is_refused():
    with pytest.raises(JetError, match="label mass: the jets have no such column"):
        read_record(Columns(("0.jets",), (0, 9), 128, ("log_pt",), (), ("mass",)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"validate": [150, 220]}, "overlaps those of training"),
        ({"validate": "all"}, "overlaps those of training"),
        ({"validate": [0, 9], "validate_files": ["1.jets", "0.jets"]}, "some are among data.files"),
    ],
)
def test_validation_on_jets_of_training_is_refused(make_recipe, data, message):
    values = make_recipe()
    values["data"] = values["data"] | data
    with pytest.raises(RecipeError, match=message):
        open_source(read_recipe(values), "train", {})


def test_a_draw_is_a_function_of_the_generator_and_finds_every_jet(make_recipe):
    source = open_source(read_recipe(make_recipe()), "train", {})
    one, other = (source.draw(np.random.default_rng(7)) for _ in range(2))
    assert all(torch.equal(one[name].values, other[name].values) for name in one)
    described = {source.describe(np.random.default_rng(seed)) for seed in range(2000)}
    assert described == {f"jet {number}" for number in range(200)}
    number = int(source.describe(np.random.default_rng(7)).split()[1])
    assert torch.equal(source.window(number)["particles"].values, one["particles"].values)
