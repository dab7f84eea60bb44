"""Units by their meaning: spellings that are the same, conversions against closed forms, and what is no conversion."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from statecast.fields.sources import open_fields
from statecast.fields.sources.units import Conversion, are_same, conversion, conversion_of_values, converted

SAME = (
    ("K", "kelvin", "Kelvin", "degK"),
    ("degC", "celsius", "degrees_Celsius", "deg C", "°C", "C"),
    ("m s-1", "m/s", "m s**-1", "m s^-1", "meter second-1"),
    ("hPa", "mb", "mbar", "millibars", "hectopascal"),
    ("kg m-2 s-1", "kg m**-2 s**-1", "kg/m2/s"),
    ("1", "(0 - 1)", "fraction", "dimensionless", "kg kg-1", "kg kg**-1", "m3 m-3"),
    ("mm h-1", "mm/hr", "mm hr-1"),
)
ONE_OF = st.sampled_from(SAME)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ONE_OF, ONE_OF, st.data())
def test_units_are_the_same_whatever_their_spelling_and_others_are_not(one, other, data):
    a, b = data.draw(st.sampled_from(one)), data.draw(st.sampled_from(other))
    assert are_same(a, b) == (one is other)


@pytest.mark.parametrize(
    ("units", "to", "factor", "offset"),
    [
        ("degC", "K", 1.0, 273.15),
        ("degF", "degC", 5 / 9, -160 / 9),
        ("hPa", "Pa", 100.0, 0.0),
        ("g kg-1", "kg kg-1", 1e-3, 0.0),
        ("%", "1", 1e-2, 0.0),
        ("mm day-1", "m s-1", 1e-3 / 86400, 0.0),
        ("knots", "m s-1", 1852 / 3600, 0.0),
        ("km h-1", "m s-1", 1 / 3.6, 0.0),
    ],
)
def test_conversions_are_those_of_the_definitions(units, to, factor, offset):
    np.testing.assert_allclose(conversion(units, to), (factor, offset), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(conversion(to, units), (1 / factor, -offset / factor), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("units", "to"), [("K", "Pa"), ("m2 s-2", "m"), ("kg m-2", "mm"), ("level", "hPa"), ("dBZ", "mm h-1"), ("K", "?")]
)
def test_what_measures_something_else_is_not_converted(units, to):
    assert conversion(units, to) is None and not are_same(units, to)


@pytest.mark.parametrize(
    ("units", "to", "factor"),
    [("m", "kg m-2", 1e3), ("mm", "kg m-2", 1.0), ("kg m-2 s-1", "mm day-1", 86400.0), ("m of water", "kg m**-2", 1e3)],
)
def test_a_depth_of_water_is_a_mass_on_an_area(units, to, factor):
    np.testing.assert_allclose(conversion_of_values(units, to), (factor, 0.0), rtol=1e-12)
    np.testing.assert_allclose(conversion_of_values(to, units), (1 / factor, 0.0), rtol=1e-12)


def test_the_thickness_of_snow_is_none_of_water():
    assert conversion_of_values("m", "kg m-2", "surface_snow_thickness") is None
    assert conversion_of_values("m", "kg m-2", "lwe_thickness_of_surface_snow_amount") == Conversion(1e3, 0.0)
    assert conversion_of_values("m", "kg m-2 s-1") is None  # an amount is no rate


def test_units_that_are_not_given_match_any():
    assert are_same("", "K") and are_same("unknown", "Pa")
    assert conversion("dBZ", "dBZ") == Conversion(1.0, 0.0)


def test_a_variable_is_converted_lazily_and_told(make_store, tmp_path, capsys):
    store = make_store(steps=3, missing=0.1)
    celsius = store.assign(t2m=(store["t2m"] - 273.15).assign_attrs(units="degC", long_name="air"))
    celsius.to_zarr(tmp_path / "store.zarr", zarr_format=3, consolidated=False)
    opened = open_fields(tmp_path / "store.zarr")
    in_kelvin = converted(opened, {"t2m": "K", "msl": "pascal", "absent": "K"})
    assert not in_kelvin["t2m"].variable._in_memory
    np.testing.assert_allclose(in_kelvin["t2m"].transpose("time", "lat", "lon"), store["t2m"], rtol=1e-6)
    assert in_kelvin["t2m"].attrs == {"units": "K", "long_name": "air"}
    assert (
        capsys.readouterr().err
        == "note: variable 't2m' is converted from 'degC' to 'K', in which the model learned it.\n"
    )
    xr.testing.assert_identical(in_kelvin["msl"], opened["msl"])


def test_what_can_not_be_converted_is_left_to_be_refused(make_store):
    store = make_store(steps=2)
    xr.testing.assert_identical(converted(store, {"t2m": "Pa"}), store)
