"""Power of fields by wavelength along the rows. Axes: H row, W column, K wavenumber."""

import numpy as np
from jaxtyping import Float

from statecast.fields.sources import Grid


def zonal_power(fields: Float[np.ndarray, "*B H W"], grid: Grid) -> Float[np.ndarray, "*B K"]:
    """Power spectral density along the rows, a mean over them weighted by cell area; in the fields' units squared.

    |FFT(x)|² / W, without the mean; wavenumber k counts waves along the row, from 1. Rows that don't go round the globe are tapered with a
    Hann window scaled to keep their variance, after their mean is taken off. A row with missing values counts for nothing; NaN if all have
    some.
    """
    columns = fields.shape[-1]
    departures = fields - fields.mean(axis=-1, keepdims=True)
    if not grid.is_periodic:
        taper = np.hanning(columns + 2)[1:-1]
        departures = departures * taper / np.sqrt((taper**2).mean())
    whole = np.isfinite(departures).all(axis=-1)
    power = np.abs(np.fft.rfft(np.where(whole[..., None], departures, 0.0), axis=-1)[..., 1:]) ** 2 / columns
    weight = whole * grid.cell_area.sum(axis=1)
    total = weight.sum(axis=-1)[..., None]
    summed = (weight[..., None] * power).sum(axis=-2)
    return np.divide(summed, total, out=np.full(summed.shape, np.nan), where=total > 0)
