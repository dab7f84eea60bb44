"""Whether values can be those of the variable that a model learned: units that were lost, or are wrong, show in the numbers.

Axes: T time, V channel, H row, W column.
"""

import numpy as np
from jaxtyping import Float

from statecast.fields.sources import Record
from statecast.fields.sources.units import UNKNOWN_UNITS, are_unknown
from statecast.fields.tokenizers.fields import FieldTokenizer
from statecast.trained import ModelError

SAMPLE_STEPS = 4
ENOUGH_VALUES = 100  # fewer say nothing about a distribution
FARTHEST = 20.0  # standard deviations of anomalies that the mean may be away: no climate changes as much, °C and K differ by more
LARGEST_RATIO = 20.0  # of the spread to the one that was learned; mm and m, % and fractions differ by more


def require_plausible(tokenizer: FieldTokenizer, record: Record) -> None:
    """Raises ModelError for a channel whose values, at some times of the record, are far from what the model learned.

    They are if their mean is `FARTHEST` standard deviations away from the climatology, or their spread is `LARGEST_RATIO` times the one
    that was learned; where the units are unknown also if it is as much smaller, as that of rain in m instead of mm.
    """
    steps = np.unique(np.linspace(0, len(record) - 1, min(SAMPLE_STEPS, len(record))).round().astype(int))
    learned = tokenizer.climatology
    expected = learned.at(record.months_passed[steps], record.hour_utc[steps])
    values, units = np.full(expected.shape, np.nan, np.float32), [UNKNOWN_UNITS] * len(learned.channels)
    read = np.concatenate([record.read(slice(step, step + 1)) for step in steps])
    for v, channel in enumerate(record.channels):
        if channel in learned.channels:
            values[:, learned.channels.index(channel)] = read[:, v]
            units[learned.channels.index(channel)] = record.units[v]
    away = tokenizer.departures(values, expected) / learned.anomaly_std[:, None, None]
    for v, channel in enumerate(learned.channels):
        seen = np.isfinite(away[:, v])
        if seen.sum() < ENOUGH_VALUES:
            continue
        numbers, mean = values[:, v][seen], float(expected[:, v].mean(where=seen))
        spread, usual = _spread(numbers), _learned_spread(tokenizer, v, expected[:, v][seen])
        is_lost = are_unknown(units[v]) or are_unknown(learned.units[v])
        is_small = is_lost and 0 < spread < usual / LARGEST_RATIO
        if abs(away[:, v].mean(where=seen)) > FARTHEST or spread > LARGEST_RATIO * usual or is_small:
            raise ModelError(
                f"variable '{channel}' runs from {numbers.min():g} to {numbers.max():g} in '{units[v]}' in the store, far from the "
                f"{mean:g} ± {usual:g} in '{learned.units[v]}' that the model learned. Correct its values or its units."
            )


def _spread(values: Float[np.ndarray, " N"]) -> float:
    return float(values.std(dtype=np.float64))


def _learned_spread(tokenizer: FieldTokenizer, number: int, expected: Float[np.ndarray, " N"]) -> float:
    """Of values: what the climatology varies by, and the anomalies; those of a logarithm are about as large as the mean is."""
    if tokenizer.is_logarithmic.ravel()[number]:
        return float(np.abs(expected).mean(dtype=np.float64)) * 2
    return float(np.hypot(_spread(expected), tokenizer.climatology.anomaly_std[number]))
