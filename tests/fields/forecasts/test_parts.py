"""A verification that stops and goes on, and one that is made of parts."""

import numpy as np
import pytest
import xarray as xr

from statecast.evaluation import ensemble_scores
from statecast.evaluation.kept import PartError, read_statistics
from statecast.fields.forecasts import Choice, merge, scoring, verify
from statecast.outputs import OutputError

PAST = ("2000-01-01", "2000-01-31")


@pytest.fixture
def store(make_forecasts, write) -> str:
    return write(make_forecasts(members=2), "f.zarr")


def run(store, analyses, out, **choice):
    verify(store, analyses, out, choice=Choice(**choice), progress=False, report=False)


def stop_after(monkeypatch, cases: int) -> list[int]:
    """Makes a verification stop after so many initial times; returns those that were scored."""
    scored, score = [], scoring.Scoring.__call__

    def stopping(self, init):
        if len(scored) == cases:
            raise KeyboardInterrupt
        scored.append(init)
        return score(self, init)

    monkeypatch.setattr(scoring.Scoring, "__call__", stopping)
    return scored


def test_an_interrupted_verification_goes_on_and_ends_as_one_that_was_not(
    store, analyses, tmp_path, monkeypatch, capsys
):
    run(store, analyses, tmp_path / "whole", climatology_period=PAST)
    with monkeypatch.context() as context:
        before = stop_after(context, 2)
        with pytest.raises(KeyboardInterrupt):
            run(store, analyses, tmp_path / "out", climatology_period=PAST)
    assert "2 initial times are kept" in capsys.readouterr().err and not (tmp_path / "out").exists()
    after = stop_after(monkeypatch, 9)
    run(store, analyses, tmp_path / "out", climatology_period=PAST)
    assert "holds 2 initial times of this verification; it goes on" in capsys.readouterr().err
    assert len(before) == 2 and len(after) == 4 and not set(before) & set(after)
    assert (tmp_path / "out" / "scores.json").read_bytes() == (tmp_path / "whole" / "scores.json").read_bytes()
    assert not (tmp_path / "out.unfinished").exists()


def test_another_verification_and_changed_inputs_are_noticed(
    store, analyses, tmp_path, monkeypatch, make_forecasts, write
):
    stop_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        run(store, analyses, tmp_path / "out")
    with pytest.raises(OutputError, match="holds another verification: its region differs"):
        run(store, analyses, tmp_path / "out", region=(0.0, 60.0, 0.0, 90.0))
    make_forecasts(members=2, seed=7).to_zarr(store, mode="w", zarr_format=3, consolidated=False)
    with pytest.raises(OutputError, match=r"was begun before .*f\.zarr changed"):
        run(store, analyses, tmp_path / "out")
    assert (tmp_path / "out.unfinished").exists()


def test_nothing_is_left_of_a_verification_that_fails_at_once(store, analyses, tmp_path, monkeypatch):
    stop_after(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        run(store, analyses, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_parts_are_put_together_to_the_last_digit(make_forecasts, store, analyses, write, tmp_path):
    beside = write(make_forecasts(members=3, seed=1), "g.zarr")
    for name, period in {"a": ("2000-02-03", "2000-02-03"), "b": ("2000-02-01", "2000-02-02"), "whole": None}.items():
        choice = Choice(climatology_period=PAST, period=period)
        verify(store, analyses, tmp_path / name, beside=beside, choice=choice, progress=False, report=False)
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged", report=False)
    assert (tmp_path / "merged" / "scores.json").read_bytes() == (tmp_path / "whole" / "scores.json").read_bytes()
    _, merged = read_statistics(tmp_path / "merged" / "statistics.nc", ensemble_scores)
    assert merged["period"] == ["2000-02-01 00:00:00", "2000-02-03 12:00:00"]
    assert (merged["forecasts"], merged["beside"]) == ([store], [beside])
    merge([tmp_path / "merged"], tmp_path / "again", report=False)  # what was merged is a part as well
    assert (tmp_path / "again" / "scores.json").read_bytes() == (tmp_path / "whole" / "scores.json").read_bytes()


def test_parts_that_do_not_belong_together_are_refused(store, analyses, tmp_path, truth, write):
    run(store, analyses, tmp_path / "a", period=("2000-02-01", "2000-02-02"))
    run(store, analyses, tmp_path / "overlap", period=("2000-02-02", "2000-02-03"))
    run(store, analyses, tmp_path / "leads", period=("2000-02-03", "2000-02-03"), lead_times_h=(6.0,))
    run(store, analyses, tmp_path / "region", period=("2000-02-03", "2000-02-03"), region=(0.0, 90.0, 0.0, 90.0))
    past = write(truth.isel(time=slice(0, 20)), "past.nc")
    for other, message in {
        "overlap": "have cases in common",
        "leads": "has other positions of 'lead_time' than",
        "region": "was verified with another points than",
        past: "holds no statistics of a verification",
    }.items():
        with pytest.raises(PartError, match=message):
            merge([tmp_path / "a", tmp_path / other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_statistics_hold_each_initial_time(store, analyses, tmp_path):
    run(store, analyses, tmp_path / "out")
    with xr.open_datatree(tmp_path / "out" / "statistics.nc") as tree:
        first = tree["0"]
        assert first.attrs["forecast"] == "forecast" and first.sizes["case"] == 6
        assert (np.diff(first["position"]) == 12).all()
