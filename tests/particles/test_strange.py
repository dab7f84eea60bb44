"""Strange jets: names of particles, tables as Parquet, what is refused."""

import numpy as np
import pytest
import torch
from pyarrow import parquet

import statecast as sc
from statecast.particles.strange import END, token_names
from statecast.surprise.score import Asking, surprises
from statecast.surprise.strange import Search
from statecast.trained import load

FEW = Search(windows=6, parts=2, batch=8)


def windows(run, count: int = 5) -> tuple:
    trained = load(run)
    cases = trained.domain.open(trained.recipe, "validate", trained.codecs).cases()
    return trained, [cases[number] for number in range(count)]


def test_each_particle_is_asked_once_given_the_others(runs):
    trained, some = windows(runs.masked)
    for window, found in zip(some, surprises(trained, some, Asking(4)), strict=True):
        count = len(window["particles"])
        nats = found["codes"].nats[:, -1]
        assert np.isfinite(nats[:count]).all() and np.isnan(nats[count:]).all()  # the end of the jet is not hidden
        assert np.isnan(found["particles"].nats).all() and np.isnan(found["jet"].nats).all()


def test_parts_hide_each_particle_with_its_code(runs):
    trained, (window, *_) = windows(runs.masked)
    ((first, *others),) = trained.recipe.task.in_turn(window, 4)
    assert len(others) == 3
    for question in (first, *others):
        hidden, shown = question.queries["codes"].index, question.context["particles"].index
        assert not set(hidden.tolist()) & set(shown.tolist())
        assert len(hidden) + len(shown) == len(window["particles"])
        assert "codes" not in question.context


def test_the_next_particle_has_an_exact_likelihood_and_the_end_of_the_jet_too(runs):
    trained, some = windows(runs.generating)
    for window, found in zip(some, surprises(trained, some, Asking(4)), strict=True):
        assert len(window["codes"]) == len(window["particles"]) + 1
        assert np.isfinite(found["codes"].nats[:, -1]).all() and np.isfinite(found["bins"].nats[:, -1]).all()


def test_a_token_has_rank_momentum_direction_and_kind_of_its_particle(runs):
    trained, (window, *_) = windows(runs.generating)
    names = token_names(trained.codecs, 0, window, "codes")
    codec, tokens = trained.codecs["particles"], window["particles"]
    features = tokens.values * codec.std + codec.mean
    assert names["rank"].tolist() == list(range(len(tokens) + 1))
    np.testing.assert_allclose(names["pt_gev"][:-1], torch.exp(features[:, 3].double()))
    np.testing.assert_allclose(names["delta_phi"][:-1], tokens.coordinate("delta_phi"), rtol=1e-4, atol=1e-6)
    assert names["kind"][-1] == END and np.isnan(names["pt_gev"][-1]) and END not in names["kind"][:-1]
    numbers = token_names(trained.codecs, 0, window, "bins")
    assert numbers["quantity"].tolist() == ["multiplicity", "pt_gev", "mass_gev"]
    assert numbers["value"][0] == pytest.approx(len(tokens), abs=0.01)


def test_tables_hold_a_row_for_each_jet_and_for_each_particle(runs, tmp_path):
    found = sc.anomalies(runs.masked, out=tmp_path / "out", search=FEW, progress=False)
    samples, tokens = (parquet.read_table(tmp_path / "out" / f"{name}.parquet") for name in ("samples", "tokens"))
    assert samples["sample"].to_pylist() == list(range(200, 250))
    first = tokens.filter(np.asarray(tokens["sample"]) == 200)
    assert first["channel"].to_pylist() == ["code"] * len(first)
    mean = np.mean(first["excess"].to_pylist())
    assert samples["score"][0].as_py() == pytest.approx(mean, rel=1e-4)
    assert samples["surprise"][0].as_py() == pytest.approx(np.sum(first["surprise"].to_pylist()), rel=1e-4)
    assert 1 / 7 <= np.min(samples["stranger_share"].to_pylist()) <= 1
    page = (tmp_path / "out" / "report.html").read_text()
    which = found.tables.samples["which"][found.tables.strangest()[0]]
    assert "rank " in which and "pt_gev " in which and "kind " in which and which in page


@pytest.mark.parametrize(
    ("data", "period", "message"),
    [
        ("sample:atmosphere", (), "sample:atmosphere"),
        ("1.jets", ("0", "900"), "have 300 jets, expected jets 0 to 900"),
        ("1.jets", ("first", "last"), "expected the numbers of the first and the last jet"),
    ],
)
def test_other_data_or_no_jet_is_one_line_and_leaves_nothing(runs, tmp_path, statecast, data, period, message):
    asked = ["--period", *period] if period else []
    code, said = statecast("anomalies", runs.masked, "--data", data, *asked, "--out", "out", "--quiet")
    assert code == 2 and message in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
