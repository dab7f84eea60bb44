"""Lazy arrays of inputs: what can't be read, or is no measurement, is named with its input, its variable and the index."""

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from statecast.fields.prepare.errors import PrepareError, first_line
from statecast.fields.sources.extremes import no_measurement

READ_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    EOFError,
    ArithmeticError,
    pickle.UnpicklingError,
)


@dataclass(frozen=True)
class Guarded:
    """A lazy array that names its input, its variable and the index that was asked when reading fails."""

    array: xr.Variable
    first: int
    input: str
    variable: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return self.array.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        try:
            values = np.asarray(self.array[key].values)
        except READ_ERRORS as error:
            at = ", ".join(
                _as_text(k, d, self.first if i == 0 else 0)
                for i, (k, d) in enumerate(zip(self._first_broken(key), self.array.dims, strict=False))
                if _is_part(k)
            )
            raise PrepareError(
                f"input {self.input}: variable '{self.variable}' cannot be read at {at or 'all of it'} ({first_line(error)}). "
                "Replace the input, or leave it out."
            ) from error

        self._require_measurements(values)
        return values

    def _require_measurements(self, values: np.ndarray) -> None:
        """Raises PrepareError for a number that stands for a missing value: regridding would mix it with others."""
        if values.size == 0 or values.dtype.kind != "f":
            return
        seen = np.isfinite(values)
        extremes = float(values.min(where=seen, initial=np.inf)), float(values.max(where=seen, initial=-np.inf))
        if found := no_measurement(extremes, str(self.array.attrs.get("units", ""))):
            raise PrepareError(
                f"input {self.input}: variable '{self.variable}' has the value {found[0]:g}, which {found[1]}, expected NaN or a "
                f"_FillValue. Give it the attribute missing_value={found[0]:g} there."
            )

    def _first_broken(self, key: Any) -> tuple[Any, ...]:
        """The first index along the first dimension at which reading fails; all of `key` if none does alone."""
        keys = key if isinstance(key, tuple) else (key,)
        steps = range(*keys[0].indices(self.shape[0])) if keys and isinstance(keys[0], slice) else ()
        for step in steps:
            try:
                self.array[(slice(step, step + 1), *keys[1:])].values  # noqa: B018  reading is the test
            except READ_ERRORS:
                return (step, *keys[1:])
        return keys


def _is_part(key: Any) -> bool:
    return not isinstance(key, slice) or key != slice(None)


def _as_text(key: Any, dim: Any, first: int) -> str:
    """An index in words, counted in the input, of which `first` were left out."""
    return (
        f"{dim}[{first + (key.start or 0)}:{first + key.stop}]" if isinstance(key, slice) else f"{dim}[{first + key}]"
    )
