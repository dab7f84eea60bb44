"""Units of archives: see `sources.units`. What can't be converted is refused."""

import xarray as xr

from statecast.fields.prepare.errors import PrepareError
from statecast.fields.sources.units import Conversion, are_unknown, conversion_of


def to_units(array: xr.DataArray, units: str | None) -> xr.DataArray:
    """The array in `units`. A depth of water converts to a mass per area. Raises PrepareError for units that can't be converted."""
    have = str(array.attrs.get("units", "")).strip()
    if units is None or units == have:
        return array
    if not have:
        raise PrepareError(
            f"variable '{array.name}': has no units in the inputs, so it can't be converted to {units}. Leave units out, or add them there."
        )
    rule = conversion_if_any(array, units)
    if rule is None:
        raise PrepareError(
            f"variable '{array.name}': is in '{have}', which can't be converted to '{units}'. Name units of the same kind."
        )
    converted = array if rule == Conversion(1.0, 0.0) else array * rule.factor + rule.offset
    return converted.assign_attrs({**array.attrs, "units": units})


def conversion_if_any(array: xr.DataArray, units: str) -> Conversion | None:
    """How the values of a variable become numbers in `units`; None for units that can't be converted, or that are unknown."""
    is_unknown = are_unknown(str(array.attrs.get("units", ""))) or are_unknown(units)
    return None if is_unknown else conversion_of(array, units)
