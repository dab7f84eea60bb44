"""Vertical coordinates: pressures in whatever units, and what is none."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statecast.fields.sources import StoreError, open_fields

PER_HPA = {
    "hPa": 1.0,
    "mb": 1.0,
    "millibars": 1.0,
    "Pa": 100.0,
    "pascal": 100.0,
    "kPa": 0.1,
    "bar": 1e-3,
    "atm": 1 / 1013.25,
}
SOME = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def one_line(store) -> str:
    with pytest.raises(StoreError) as error:
        open_fields(store)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    return str(error.value)


@SOME
@given(
    units=st.sampled_from(sorted(PER_HPA)),
    name=st.sampled_from(["level", "plev", "lev", "isobaric", "height"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    levels=st.lists(st.integers(1, 1050), min_size=3, max_size=3, unique=True),
)
def test_pressures_in_any_units_are_the_same_levels(make_store, units, name, dtype, levels):
    store = make_store(steps=1)
    numbered = store.assign_coords(level=("level", (np.array(levels) * PER_HPA[units]).astype(dtype), {"units": units}))
    opened = open_fields(numbered.rename(level=name))
    assert opened.level.values.tolist() == sorted(levels)
    for k, level in enumerate(levels):
        np.testing.assert_array_equal(opened["t"].sel(level=level), store["t"].isel(level=k))


@SOME
@given(
    numbers=st.lists(st.integers(1, 137), min_size=3, max_size=3, unique=True),
    attributes=st.sampled_from(
        [
            {},
            {"units": "1"},
            {"units": "level"},
            {"long_name": "model_level_number"},
            {"standard_name": "atmosphere_hybrid_sigma_pressure_coordinate", "units": "1"},
            {"standard_name": "atmosphere_sigma_coordinate"},
            {"long_name": "hybrid level", "formula_terms": "a: a b: b ps: ps"},
            {"standard_name": "height"},
            {"standard_name": "atmosphere_ln_pressure_coordinate", "units": "1"},
            {"units": "m"},
            {"units": "K"},
        ]
    ),
    name=st.sampled_from(["level", "lev"]),
)
def test_model_levels_heights_and_bare_numbers_are_no_pressures(make_store, numbers, attributes, name):
    store = make_store(steps=1).assign_coords(level=("level", numbers, attributes)).rename(level=name)
    assert "expected a pressure" in one_line(store)


@pytest.mark.parametrize("levels", [[50000.0, 70000, 85000], [0.0, 500, 850], [-1.0, 500, 850]])
def test_pressures_that_are_none_on_earth_are_refused(make_store, levels):
    assert "run from" in one_line(make_store(steps=1).assign_coords(level=("level", levels, {"units": "hPa"})))


def test_one_level_belongs_to_the_variables_above_the_surface(make_store):
    store = make_store(steps=2).isel(level=1)
    opened = open_fields(store)
    assert {name for name, array in opened.data_vars.items() if "level" in array.dims} == {"t", "u"}
    np.testing.assert_array_equal(opened["t"].isel(level=0).transpose(*store["t"].dims), store["t"])
    np.testing.assert_array_equal(opened["msl"].transpose(*store["msl"].dims), store["msl"])


def test_one_level_that_may_be_of_a_variable_or_not_is_refused(make_store):
    store = make_store(steps=2).isel(level=1).rename(t="foo")
    assert "does not say whether 'foo' is on it" in one_line(store)
    assert open_fields(store[["foo"]])["foo"].sizes["level"] == 1  # nothing else could be meant
