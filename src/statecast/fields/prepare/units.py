"""Conversion of units by their meaning."""

from functools import cache
from typing import Any

import xarray as xr

from statecast.fields.prepare.errors import PrepareError

WATER_KG_M3 = 1000.0  # a depth of water, as archives give precipitation, is this mass on a square metre per metre


def to_units(array: xr.DataArray, units: str | None) -> xr.DataArray:
    """The array in `units`. A depth of water converts to a mass per area. Raises PrepareError for units that can't be converted."""
    have = str(array.attrs.get("units", "")).strip()
    if units is None or units == have:
        return array
    if not have:
        raise PrepareError(
            f"variable '{array.name}': has no units in the inputs, so it can't be converted to {units}. Leave units out, or add them there."
        )
    scale, offset = conversion(have, units, str(array.name))
    converted = array if (scale, offset) == (1.0, 0.0) else array * scale + offset
    return converted.assign_attrs({**array.attrs, "units": units})


def conversion(have: str, want: str, variable: str) -> tuple[float, float]:
    """Scale and offset from one unit to another: want = have × scale + offset."""
    registry = _registry()
    try:
        source, target = registry.Unit(have), registry.Unit(want)
        with registry.context("water"):
            zero, one = (registry.Quantity(x, source).to(target).magnitude for x in (0.0, 1.0))
    except _errors() as error:
        raise PrepareError(
            f"variable '{variable}': is in '{have}', which can't be converted to '{want}' ({error}). Name units of the same kind."
        ) from None
    return float(one - zero), float(zero)


@cache
def _registry() -> Any:
    try:
        from cf_xarray.units import units
    except ImportError:
        raise PrepareError("units: their conversion needs pint. Install statecast again, or leave units out.") from None
    import pint

    water: Any = pint.Context("water")
    density = units.Quantity(WATER_KG_M3, "kg / m ** 3")
    for per in ("", " / [time]"):
        depth, mass = f"[length]{per}", f"[mass] / [length] ** 2{per}"
        water.add_transformation(depth, mass, lambda _, value, **__: value * density)
        water.add_transformation(mass, depth, lambda _, value, **__: value / density)
    units.add_context(water)
    return units


def _errors() -> tuple[type[Exception], ...]:
    import pint

    return (pint.errors.PintError, AttributeError, ValueError, TypeError, AssertionError)
