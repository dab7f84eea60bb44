"""The records that ship with statecast."""

import numpy as np
import pytest

from statecast.fields.samples import SAMPLES, sample_path
from statecast.fields.sources import Record, fit_climatology, open_fields
from statecast.fields.streams import Stream


def test_an_unknown_sample_has_no_path():
    with pytest.raises(KeyError):
        sample_path("sample:ocean")


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_described_beside_them(name):
    assert name in sample_path(name).with_name("README.md").read_text()


def test_the_atmosphere_is_global_and_without_gaps():
    dataset = open_fields("sample:atmosphere")
    record = Record.open(dataset, Stream(variables=("t",), levels=(500, 850)), ("2000-07-01", "2000-07-10"))
    assert record.grid.shape == (24, 48)
    assert record.grid.is_periodic
    assert record.grid.cell_area.sum() == pytest.approx(1, abs=1e-6)
    assert len(record.starts(len(record))) == 1 and record.step_h == 6
    values = record.read(slice(None))
    assert np.isfinite(values).all()
    upper, lower = (values * record.grid.cell_area).sum(axis=(2, 3)).mean(axis=0)
    assert 240 < upper < lower < 300  # K, and colder above


def test_the_storm_is_regional_with_missing_values_and_has_a_climatology():
    record = Record.open(open_fields("sample:storm1996"), Stream(variables=("msl", "v500")))
    assert record.grid.shape == (33, 36)
    assert not record.grid.is_periodic
    missing = np.isnan(record.read(slice(None))).mean()
    assert 0.1 < missing < 0.4
    assert (fit_climatology(record).anomaly_std > 0).all()
