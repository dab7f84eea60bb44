"""Units by their meaning, not their spelling, by pint with the unit registry of cf-xarray.

`kelvin` is `K`, `m s**-1` is `m/s`, degrees Celsius are converted to kelvin, and a depth of water is a mass on an area. pint is imported
for spellings that differ only.
"""

import sys
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import xarray as xr

UNKNOWN_UNITS = "unknown"
SPELLINGS = {
    "": UNKNOWN_UNITS,
    UNKNOWN_UNITS: UNKNOWN_UNITS,
    "(0 - 1)": "1",
    "0-1": "1",
    "fraction": "1",
    "proportion": "1",
    "unitless": "1",
    "dimensionless": "1",
    "none": "1",
    "-": "1",
    "~": "1",
    "k": "K",
    "kelvin": "K",
    "kelvins": "K",
    "degk": "K",
    "c": "degC",
    "celsius": "degC",
    "℃": "degC",
    "deg c": "degC",
    "deg_c": "degC",
    "degree c": "degC",
    "degrees c": "degC",
    "degree_celsius": "degC",
    "degrees_celsius": "degC",
    "degrees celsius": "degC",
    "mb": "hPa",
    "hpa": "hPa",
    "millibar": "hPa",
    "millibars": "hPa",
    "mbar": "hPa",
    "pa": "Pa",
    "pascal": "Pa",
    "pascals": "Pa",
    "kpa": "kPa",
    "m of water equivalent": "m",
    "m of water": "m",
    "kts": "knot",
}
"""Spellings, in lower case, that udunits or the archives have and pint has not, or means something else by."""
WATER_KG_M3 = 1000.0  # a depth of water, as archives give precipitation, is this mass on a square metre per metre
DEPTH_AND_MASS = (("m", "kg m-2"), ("m s-1", "kg m-2 s-1"))


class Conversion(NamedTuple):
    """value in the other units = factor · value + offset"""

    factor: float
    offset: float


def spelled(units: str) -> str:
    """Units in the usual spelling of those that have several."""
    text = " ".join(units.split())
    return SPELLINGS.get(text.lower(), text)


def are_unknown(units: str) -> bool:
    return spelled(units) == UNKNOWN_UNITS


@cache
def conversion(units: str, to: str) -> Conversion | None:
    """How numbers in `units` become numbers in the units `to`; None if they measure different things, or mean nothing to pint."""
    units, to = spelled(units), spelled(to)
    if units == to:
        return Conversion(1.0, 0.0)
    from cf_xarray.units import units as registry
    from pint.errors import PintError

    try:
        zero, thousand = (float(registry.Quantity(x, registry.parse_units(units)).to(to).magnitude) for x in (0.0, 1e3))
    except (PintError, ValueError, AssertionError, TypeError, AttributeError):
        return None
    return _exact((thousand - zero) / 1e3, zero)


def _exact(factor: float, offset: float) -> Conversion:
    """A conversion; none at all if it differs from that by rounding."""
    is_same = abs(factor - 1) < 1e-12 and abs(offset) < 1e-12
    return Conversion(1.0, 0.0) if is_same else Conversion(factor, offset)


def conversion_of_values(units: str, to: str, standard_name: str = "") -> Conversion | None:
    """How values of a variable in `units` become numbers in the units `to`: as `conversion`, and a depth of water is a mass on an area.

    None for units of something else, and for a thickness of snow or ice, whose density is not that of water.
    """
    is_water = "thickness" not in standard_name or "lwe_thickness" in standard_name
    return conversion(units, to) or (_of_water(units, to) if is_water else None)


def conversion_of(array: xr.DataArray, to: str) -> Conversion | None:
    """The same of an array with these attributes."""
    return conversion_of_values(
        str(array.attrs.get("units", UNKNOWN_UNITS)), to, str(array.attrs.get("standard_name", ""))
    )


def _of_water(units: str, to: str) -> Conversion | None:
    """From a depth of water to its mass on an area, or back, or of their rates."""
    for depth, mass in DEPTH_AND_MASS:
        for start, end, density in ((depth, mass, WATER_KG_M3), (mass, depth, 1 / WATER_KG_M3)):
            first, last = conversion(units, start), conversion(end, to)
            if first and last:
                return _exact(first.factor * density * last.factor, 0.0)
    return None


def is_unit(units: str) -> bool:
    """Whether pint knows what they mean."""
    from cf_xarray.units import units as registry
    from pint.errors import PintError

    try:
        registry.parse_units(spelled(units))
    except (PintError, ValueError, AssertionError, TypeError, AttributeError):
        return False
    return True


def are_same(units: str, other: str) -> bool:
    """True for units that mean the same, however they are spelled. Unknown units are the same as any."""
    return are_unknown(units) or are_unknown(other) or conversion(units, other) == Conversion(1.0, 0.0)


def converted(dataset: xr.Dataset, wanted: Mapping[str, str], why: str = "in which the model learned it") -> xr.Dataset:
    """A dataset whose variables are in the units that are wanted, lazily; units that can't be converted are left, for others to refuse.

    What is converted is told on standard error, and `why`.
    """
    for name, units in wanted.items():
        have = str(dataset[name].attrs.get("units", UNKNOWN_UNITS)) if name in dataset.data_vars else UNKNOWN_UNITS
        if are_same(have, units):
            continue
        if rule := conversion_of(dataset[name], units):
            tell(f"variable '{name}' is converted from '{have}' to '{units}', {why}.")
            dataset = dataset.assign({name: _scaled(dataset[name], rule, units)})
    return dataset


def _scaled(array: xr.DataArray, rule: Conversion, units: str) -> xr.DataArray:
    """factor · array + offset without reading it: the way in which packed values are unpacked."""
    variable = array.variable.copy(deep=False)
    variable.attrs = {**array.attrs, "units": units, "scale_factor": rule.factor, "add_offset": rule.offset}
    variable.encoding = {}
    decoded = xr.decode_cf(xr.Dataset({"values": variable}), decode_times=False, decode_coords=False)["values"]
    attributes = {key: value for key, value in decoded.attrs.items() if key not in ("scale_factor", "add_offset")}
    return array.copy(data=decoded.variable._data).assign_attrs(attributes)


def tell(message: str) -> None:
    """Say on standard error what is done to data that did not fit."""
    print(f"note: {message}", file=sys.stderr)
