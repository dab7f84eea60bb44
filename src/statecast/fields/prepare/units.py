"""Units of archives: as `sources.units`, and a depth of water is a mass on an area."""

import xarray as xr

from statecast.fields.prepare.errors import PrepareError
from statecast.fields.sources import units as meaning
from statecast.fields.sources.units import Conversion

WATER_KG_M3 = 1000.0  # a depth of water, as archives give precipitation, is this mass on a square metre per metre
DEPTH_AND_MASS = (("m", "kg m-2"), ("m s-1", "kg m-2 s-1"))


def to_units(array: xr.DataArray, units: str | None) -> xr.DataArray:
    """The array in `units`. A depth of water converts to a mass per area. Raises PrepareError for units that can't be converted."""
    have = str(array.attrs.get("units", "")).strip()
    if units is None or units == have:
        return array
    if not have:
        raise PrepareError(
            f"variable '{array.name}': has no units in the inputs, so it can't be converted to {units}. Leave units out, or add them there."
        )
    factor, offset = conversion(have, units, str(array.name))
    converted = array if (factor, offset) == (1.0, 0.0) else array * factor + offset
    return converted.assign_attrs({**array.attrs, "units": units})


def conversion(have: str, want: str, variable: str) -> Conversion:
    """How numbers in one unit become numbers in another. Raises PrepareError for units that can't be converted."""
    rule = conversion_if_any(have, want)
    if rule is None:
        raise PrepareError(
            f"variable '{variable}': is in '{have}', which can't be converted to '{want}'. Name units of the same kind."
        )
    return rule


def conversion_if_any(have: str, want: str) -> Conversion | None:
    """The same; None for units that can't be converted, or that are unknown."""
    if meaning.are_unknown(have) or meaning.are_unknown(want):
        return None
    return meaning.conversion(have, want) or _of_water(have, want)


def _of_water(have: str, want: str) -> Conversion | None:
    """From a depth of water to its mass on an area, or back, or of their rates."""
    for depth, mass in DEPTH_AND_MASS:
        for start, end, density in ((depth, mass, WATER_KG_M3), (mass, depth, 1 / WATER_KG_M3)):
            first, last = meaning.conversion(have, start), meaning.conversion(end, want)
            if first and last:
                return Conversion(first.factor * density * last.factor, 0.0)
    return None
