"""The smallest and largest value of each channel, and what they say: rounding below 0, or a number that stands for a missing value.

Axes: T time, V channel, H row, W column.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from statecast.fields.sources.anomalies import chunks
from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.record import Record
from statecast.fields.sources.units import are_unknown, conversion, tell

ROUNDING, RARE, OFTEN = 1e-2, 1e-3, 0.05  # of the mean magnitude, of all values, of all values; see `lowest_value`
ABSOLUTE_ZERO_C = -273.15
STAND_FOR_MISSING = (-999, -9999, -99999, -32767, -32768, 1e20, 9.999e20, 1e30, 1e35, 1e36, 9.969209968386869e36)


def require_some_values(record: Record) -> None:
    """Tell of each channel without a value in a record. Raises StoreError if none has one."""
    seen = np.zeros(len(record.channels), bool)
    for chunk in chunks(record):
        seen |= np.isfinite(record.read(chunk)).any(axis=(0, 2, 3))
        if seen.all():
            return
    times = record.dataset.indexes["time"]
    missing = [str(channel) for channel, is_seen in zip(record.channels, seen, strict=True) if not is_seen]
    what = f"variable '{missing[0]}' has no value from {times[0]} to {times[-1]} (NaN everywhere)"
    if not seen.any():
        raise StoreError(f"{what}, nor has another, expected some. Name another period.")
    tell(f"{what}: nothing is said about it.")


class Extremes:
    """The smallest and largest value of each channel, and whether those below 0 are rounding, as packing and differences leave in rain.

    They are if none lies further below than `ROUNDING` of the mean magnitude, or if they are fewer than `RARE` of the values of a channel
    that is exactly 0 as often as rain is: then a single one says nothing.
    """

    def __init__(self, channels: int) -> None:
        self._lowest, self._highest = np.full(channels, np.inf), np.full(channels, -np.inf)
        self._magnitude, self._values, self._zeros, self._below = np.zeros((4, channels))

    def add(self, values: Float[np.ndarray, "T V H W"], channels: slice = slice(None)) -> None:
        """Values of some of the channels, by default of all."""
        seen = np.isfinite(values)
        axes = (0, 2, 3)
        lowest, highest = self._lowest[channels], self._highest[channels]
        np.minimum(lowest, values.min(axis=axes, where=seen, initial=np.inf), out=lowest)
        np.maximum(highest, values.max(axis=axes, where=seen, initial=-np.inf), out=highest)
        self._magnitude[channels] += np.abs(values).sum(axis=axes, where=seen, dtype=np.float64)
        self._values[channels] += seen.sum(axis=axes)
        self._zeros[channels] += (values == 0).sum(axis=axes)
        self._below[channels] += (values < 0).sum(axis=axes, where=seen)

    def lowest_value(self) -> Float[np.ndarray, " V"]:
        """The smallest value of each channel, 0 if what is below is rounding."""
        values = np.maximum(self._values, 1)
        is_tiny = -self._lowest <= ROUNDING * self._magnitude / values
        is_rare = (self._below <= RARE * values) & (self._zeros >= OFTEN * values)
        return np.where((self._lowest < 0) & (is_tiny | is_rare), 0.0, self._lowest)

    def require_measurements(self, record: Record) -> None:
        """Raises StoreError for a channel with a number that archives write where nothing was measured."""
        for channel, units, *extremes in zip(record.channels, record.units, self._lowest, self._highest, strict=True):
            if found := no_measurement(extremes, units):
                raise StoreError(
                    f"variable '{channel}' has the value {found[0]:g}, which {found[1]}, expected NaN or a "
                    f"_FillValue. Give the variable the attribute missing_value: {found[0]:g}."
                )


def no_measurement(extremes: Sequence[float], units: str) -> tuple[float, str] | None:
    """The smallest or largest value of a variable, if it stands for a missing one or no temperature can have it, and why."""
    for value in filter(np.isfinite, extremes):
        if np.isclose(value, STAND_FOR_MISSING, rtol=1e-6, atol=0).any():
            return value, "archives write where nothing was measured"
        rule = conversion(units, "K") if value < ABSOLUTE_ZERO_C and not are_unknown(units) else None
        if rule is not None and rule.factor * value < ABSOLUTE_ZERO_C:
            return value, f"no temperature in {units} has, nor the difference of two"
    return None
