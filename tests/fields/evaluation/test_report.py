"""The forecast's spectrum in the report: of a perfect forecast it is the truth's, and what is smoothed shows. Axes as in the module."""

import numpy as np
import pytest

from statecast.fields.evaluation import report, verify_forecast
from statecast.fields.evaluation.spectra import zonal_power
from statecast.fields.sources import Record, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers.windows import whole_domain

STEPS, HISTORY = 6, 2  # of a window with 1 slab of history and 2 of leads, each of two steps


STREAM = Stream(variables=("t", "msl"), levels=(500, 850), patch=(2, 6, 6))  # of `make_trained`


@pytest.fixture
def whole(make_store) -> Record:
    """The period that is verified, without gaps."""
    return Record.open(open_fields(make_store(steps=80)), STREAM, ("2001-02-14", "2001-02-18"))


@pytest.fixture
def perfect(make_trained, monkeypatch):
    """A model all of whose heads are the truth, `smoothed` over neighbours in the row if that is asked."""

    def make(*, smoothed: bool = False):
        trained = make_trained(kind="forecast", history=1, leads=2)
        tokenizer = trained.codecs["air"]

        def block(trained, task, records, first):
            anomalies = tokenizer.anomalies(records["air"], whole_domain(records["air"].grid, first, STEPS))[HISTORY:]
            if smoothed:
                anomalies = (np.roll(anomalies, 1, axis=-1) + anomalies + np.roll(anomalies, -1, axis=-1)) / 3
            return {"air": np.stack([anomalies] * 4)}

        monkeypatch.setattr(report, "forecast_block", block)
        return trained

    return make


def curves(power, record) -> dict[str, list[np.ndarray]]:
    """What each figure draws, by the name of the curve."""
    drawn = [figure.axes[0].lines for figure in report.power_figures(power, record)]
    return {name: [line.get_ydata() for lines in drawn for line in lines if line.get_label() == name] for name in power}


def test_the_spectra_of_a_perfect_forecast_are_those_of_the_truth_at_the_last_lead_time(perfect, whole):
    power = report.forecast_power(perfect(), {"air": whole}, "air")
    starts = whole.starts(STEPS)
    truth = np.mean([zonal_power(whole.read(slice(s + STEPS - 1, s + STEPS))[0], whole.grid) for s in starts], axis=0)
    drawn = curves(power, whole)
    assert set(drawn) == {"truth", "model's mean", "a member"} and len(drawn["truth"]) == 2  # t and msl
    for name in drawn:
        np.testing.assert_allclose(power[name], truth, rtol=1e-3)
        np.testing.assert_allclose(drawn[name], truth[report.mapped_channels(whole.channels)], rtol=1e-3)


def test_a_forecast_that_is_too_smooth_lacks_power_in_short_waves(perfect, whole):
    power = report.forecast_power(perfect(smoothed=True), {"air": whole}, "air")
    ratio = power["a member"] / power["truth"]
    assert (ratio[:, -4:] < 0.4).all() and (ratio[:, 0] > 0.9).all()


def test_rows_with_gaps_in_the_truth_count_for_no_curve(perfect, whole):
    """The same rows for all: a perfect forecast of what was observed in part keeps the truth's spectrum."""
    dataset = whole.dataset.load().copy()
    for variable in STREAM.variables:
        dataset[variable] = dataset[variable].where(dataset.lat > 0)
    half = Record.open(dataset, STREAM)
    power = report.forecast_power(perfect(), {"air": half}, "air")
    np.testing.assert_allclose(power["model's mean"], power["truth"], rtol=1e-3)
    assert np.isfinite(power["truth"]).all()


def test_the_report_of_a_forecast_has_a_spectrum_unless_every_row_has_gaps(make_trained, held_out, whole, tmp_path):
    trained = make_trained(kind="forecast", history=1, leads=2)
    for record, has_one in ((whole, True), (held_out, False)):
        facts = report.RunFacts("A", trained, "a.zarr", ("2001-02-14", "2001-02-18"), {}, {})
        out = tmp_path / f"{has_one}.html"
        report.write_report(facts, {"air": record}, verify_forecast({"model": trained}, record, every_h=96), out)
        page = out.read_text()
        assert ("<h2>Spectrum</h2>" in page) is has_one and ("24 h ahead, a mean over" in page) is has_one
        assert "What is scored are the model&#39;s heads" in page
