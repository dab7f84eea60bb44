"""What every command makes of a store in other units, of lost units, of missing values: the same answer, or one line."""

import numpy as np
import pytest
import xarray as xr

import statecast
from statecast.fields.sources import StoreError, open_fields
from statecast.fields.verbs import complete, evaluate, predict
from statecast.trained import ModelError

INIT, PERIOD = "2000-02-15T00", ("2000-02-10", "2000-02-24")


@pytest.fixture
def store(runs) -> xr.Dataset:
    return open_fields(runs.store).load()


def in_other_units(store: xr.Dataset) -> xr.Dataset:
    t, msl = store["t"] - 273.15, store["msl"] / 100
    return store.assign(t=t.assign_attrs(units="degrees_Celsius"), msl=msl.assign_attrs(units="millibars"))


def test_forecasts_from_a_store_in_other_units_are_the_same(runs, store, capsys):
    expected = predict(runs.forecast, store, INIT, 2, members=2)
    found = predict(runs.forecast, in_other_units(store), INIT, 2, members=2)
    for name in ("t", "msl"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
        assert found[name].attrs["units"] == store[name].attrs["units"]
    assert "variable 't' is converted from 'degrees_Celsius' to 'K'" in capsys.readouterr().err


def test_gaps_of_a_store_in_other_units_are_filled_alike(runs, store):
    gappy = store.where(store.time != np.datetime64("2000-02-15"))
    filled = [
        complete(runs.pretrained, each, PERIOD, members=1, progress=False) for each in (gappy, in_other_units(gappy))
    ]
    np.testing.assert_allclose(filled[1]["t"], filled[0]["t"], rtol=1e-5)


def test_units_of_something_else_are_refused(runs, store):
    with pytest.raises(ModelError, match=r"'msl' is in 'm' in the store, the model learned it in 'Pa'. Convert it"):
        predict(runs.forecast, store.assign(msl=store["msl"].assign_attrs(units="m")), INIT, 2)


def test_values_whose_units_were_lost_are_refused(runs, store):
    lost = in_other_units(store)
    lost["msl"].attrs = {}
    with pytest.raises(ModelError, match=r"'msl' runs from .* in 'unknown' in the store, far from"):
        predict(runs.forecast, lost, INIT, 2)


@pytest.mark.parametrize("run", ["forecast", "pretrained"])
def test_a_period_without_a_value_of_a_variable_is_not_scored(runs, store, tmp_path, run):
    store["msl"] = store["msl"].where(store.time < np.datetime64(PERIOD[0]))
    with pytest.raises(
        StoreError, match="'msl' has no value to be scored by from 2000-02-10 00:00:00 to 2000-02-24 18:00:00"
    ):
        evaluate(getattr(runs, run), store, PERIOD, tmp_path / "out", report=False, progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", [["msl"], ["t", "msl"]])
def test_a_period_to_be_validated_or_embedded_has_values(runs, store, tmp_path, missing, capsys):
    for name in missing:
        store[name] = store[name].where(store.time < np.datetime64(PERIOD[0]))
    store.to_zarr(tmp_path / "gone.zarr", zarr_format=3, consolidated=False)
    arguments = (runs.pretrained, str(tmp_path / "gone.zarr"), PERIOD, tmp_path / "out.nc")
    if missing == ["msl"]:
        statecast.embed(*arguments, progress=False)
        assert "variable 'msl' has no value from 2000-02-10 00:00:00 to 2000-02-24 18:00:00" in capsys.readouterr().err
        return
    with pytest.raises(StoreError, match=r"nor has another, expected some. Name another period"):
        statecast.embed(*arguments, progress=False)
    assert not (tmp_path / "out.nc").exists()


def test_a_variable_that_is_missing_at_the_start_of_a_forecast_is_told(runs, store, capsys):
    predict(
        runs.forecast,
        store.assign(msl=store["msl"].where(store.time < np.datetime64("2000-02-01"))),
        INIT,
        1,
        members=1,
    )
    assert "variable 'msl' has no value from 2000-02-14 18:00:00 to 2000-02-15 00:00:00" in capsys.readouterr().err
