"""First guess of a stream that is estimated from others: their anomalies, interpolated to its points.

Axes: T time, V channel, H row, W column, I, J row and column of a target, N token, P value, M month, D hour of the day.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from scipy.interpolate import BSpline

from statecast.axes import column_names
from statecast.fields.sources import Grid, StoreError
from statecast.fields.sources.climatology import Reference
from statecast.fields.streams import Channel
from statecast.fields.tokenizers.fields import FieldTokenizer
from statecast.fields.tokenizers.located import Located, StreamSource
from statecast.streams import Tokens, Window

SIGNED = 0.01  # of the anomalies' standard deviation: rain of -1e-9 mm is rounding and does not count as negative


CALENDAR = ("hour_utc", "solar_time_rad", "year_fraction")


def read_window(streams: Mapping[str, Located], *, hide_calendar: bool = False) -> Window:
    """The tokens of every stream of a window, with the first guess for streams that have one.

    hide_calendar  of the model that is asked (`window.hide_calendar` of its recipe): without the hour of the day and the season
    """
    window = {name: stream.tokens() for name, stream in streams.items()}
    for name, stream in streams.items():
        tokenizer = stream.tokenizer
        if tokenizer.stream.first_guess:
            departures = tokenizer.departures(first_guess(name, streams), stream.climatology)
            guess = tokenizer.with_margin(departures, periodic=stream.grid.is_periodic)
            window[name] = replace(window[name], guess=torch.nan_to_num(guess))
    return {name: without_calendar(tokens) for name, tokens in window.items()} if hide_calendar else window


def without_calendar(tokens: Tokens) -> Tokens:
    """The same tokens without the hour of the day and the season; the offset in the window, which attention measures, stays."""
    coords = tokens.coords.clone()
    for column in CALENDAR:
        coords[..., column_names(tokens.spec.axes).index(column)] = torch.nan
    return replace(tokens, coords=coords, partial=CALENDAR)


def first_guess(name: str, streams: Mapping[str, Located]) -> Float[np.ndarray, "T V H W"]:
    """The first guess of a stream in its window, in its units.

    guess = climatology there + bilinear interpolation of (field - climatology) of the other stream

    so that a difference between the two climatologies, for example over mountains, is not an error of the guess. Where nothing was
    observed, and for channels without a first guess, the guess is the climatology.
    """
    target = streams[name]
    guess = target.climatology.copy()
    for source_name, pairs in guessed_channels(name, tokenizers_of(streams)).items():
        source = streams[source_name]
        anomalies = np.nan_to_num(source.fields - source.climatology)
        mine, theirs = np.array(pairs).T
        guess[:, mine] += bilinear(anomalies[:, theirs], source.grid, target.grid)
    lowest = target.tokenizer.climatology.lowest[:, None, None]
    return np.where(lowest >= 0, np.maximum(guess, 0), guess)


def guess_gradient(
    name: str, streams: Mapping[str, Located], gradient: Float[np.ndarray, "T V H W"]
) -> dict[str, Float[np.ndarray, "T V H W"]]:
    """Gradient for the source streams from one for a stream's first guess, in normalised units: the transpose of `first_guess`.

    The gradient is 0 for unobserved values, where the guess is truncated at 0, and where there is no guess.
    """
    target = streams[name]
    guess = first_guess(name, streams)
    ends_at_0 = (target.tokenizer.climatology.lowest[:, None, None] >= 0) | target.tokenizer.is_logarithmic
    counts = np.isfinite(guess) & ~(ends_at_0 & (guess <= 0))
    of_guess = np.where(counts, gradient / target.tokenizer.slope(np.nan_to_num(guess)), 0)
    gradients = {}
    for source_name, pairs in guessed_channels(name, tokenizers_of(streams)).items():
        source = streams[source_name]
        transposed = interpolation(source.grid, target.grid).T
        of_fields = np.zeros(source.fields.shape)
        for mine, theirs in pairs:
            flat = of_guess[:, mine].reshape(len(of_fields), -1)
            of_fields[:, theirs] += (transposed @ flat.T).T.reshape(len(of_fields), *source.grid.shape)
        of_values = of_fields * source.tokenizer.slope(np.nan_to_num(source.fields))
        gradients[source_name] = np.where(np.isfinite(source.fields), of_values, 0)
    return gradients


def reference_of(name: str, sources: Mapping[str, StreamSource]) -> Reference:
    """The source streams of a first guess, at the points of the stream, as a reference for its climatology: see `fit_climatology`.

    All records must have the same times. Channels without a first guess are 0.
    """
    record = sources[name].record
    grid, channels = record.grid, record.channels
    guessed = [(sources[other], *np.array(p).T) for other, p in guessed_channels(name, tokenizers_of(sources)).items()]
    hours = np.unique(record.hour_utc)
    mean = np.zeros((12, len(hours), len(channels), *grid.shape), np.float32)
    lowest = np.full(len(channels), np.inf, np.float32)
    for source, mine, theirs in guessed:
        known = source.tokenizer.climatology
        is_signed = known.lowest < -SIGNED * known.anomaly_std
        lowest[mine] = np.where(is_signed, known.lowest, np.inf)[theirs]
        mean[:, :, mine] = bilinear(known.mean[:, known.nearest_hour(hours)][:, :, theirs], known.grid, grid)

    def fields(steps: slice) -> Float[np.ndarray, "T V H W"]:
        interpolated = np.zeros((steps.stop - steps.start, len(channels), *grid.shape), np.float32)
        for source, mine, theirs in guessed:
            of_source = source.record.read(steps)[:, theirs]
            interpolated[:, mine] = bilinear(of_source, source.record.grid, grid)
        return interpolated

    return Reference(fields, mean, lowest)


def tokenizers_of(streams: Mapping[str, Located] | Mapping[str, StreamSource]) -> dict[str, FieldTokenizer]:
    """The tokenizer of each stream."""
    return {name: stream.tokenizer for name, stream in streams.items()}


def guessed_channels(name: str, tokenizers: Mapping[str, FieldTokenizer]) -> dict[str, list[tuple[int, int]]]:
    """For each source stream of a first guess: pairs of a channel of stream `name` and a channel of the source.

    Raises StoreError if the source stream, variable or level does not exist, or if the units differ.
    """
    climatology = tokenizers[name].climatology
    pairs: dict[str, list[tuple[int, int]]] = {}
    for mine, channel in enumerate(climatology.channels):
        guess = tokenizers[name].stream.first_guess.get(channel.variable)
        if guess is None:
            continue
        source, variable = guess.split(".")
        if source not in tokenizers or source == name:
            others = ", ".join(other for other in tokenizers if other != name)
            raise StoreError(f"streams.{name}.first_guess: there is no other stream '{source}'. Streams: {others}.")
        theirs = tokenizers[source].climatology
        wanted = Channel(variable, channel.pressure_hpa)
        if wanted not in theirs.channels:
            raise StoreError(
                f"streams.{name}.first_guess: stream {source} has no {wanted}. It has {', '.join(map(str, theirs.channels))}."
            )
        position = theirs.channels.index(wanted)
        if theirs.units[position] != climatology.units[mine]:
            raise StoreError(
                f"streams.{name}.first_guess: {channel} is in '{climatology.units[mine]}', {source}.{wanted} in "
                f"'{theirs.units[position]}'. Convert one of them."
            )
        pairs.setdefault(source, []).append((mine, position))
    return pairs


def bilinear(fields: Float[np.ndarray, "*B H W"], grid: Grid, target: Grid) -> Float[np.ndarray, "*B I J"]:
    """Fields at the points of another grid, linear in latitude and longitude; beyond the outermost rows and columns the nearest point.

    Raises StoreError for a target that extends beyond the grid by more than two grid spacings.
    """
    interpolated = interpolation(grid, target) @ fields.reshape(-1, np.prod(grid.shape)).T
    return interpolated.T.reshape(*fields.shape[:-2], *target.shape).astype(fields.dtype)


def interpolation(grid: Grid, target: Grid) -> sparse.csr_array:
    """The matrix (I J, H W) of `bilinear`: weights of the four points around each target point. Raises the same errors."""
    require_covered(target, grid)
    lon = np.append(grid.lon, grid.lon[0] + 360.0) if grid.is_periodic else grid.lon
    rows, columns = linear_weights(grid.lat, target.lat), linear_weights(lon, longitudes_near(grid, target))
    if grid.is_periodic:  # the last column is the first one again
        columns = sparse.csr_array(
            (columns.data, columns.indices % len(grid.lon), columns.indptr), (len(target.lon), len(grid.lon))
        )
    return sparse.csr_array(sparse.kron(rows, columns))


def linear_weights(axis: Float[np.ndarray, " H"], points: Float[np.ndarray, " I"]) -> sparse.csr_array:
    """Weights (I, H) of linear interpolation along an axis; beyond its ends the nearest point."""
    if len(axis) == 1:
        return sparse.csr_array(np.ones((len(points), 1)))
    knots = np.concatenate([axis[:1], axis, axis[-1:]])
    return BSpline.design_matrix(np.clip(points, axis[0], axis[-1]), knots, 1)


def longitudes_near(grid: Grid, target: Grid) -> Float[np.ndarray, " J"]:
    """Longitudes of the target in the 360° range of the grid; for a regional grid, continued beyond the nearer edge."""
    wanted = grid.lon[0] + (target.lon - grid.lon[0]) % 360.0
    if grid.is_periodic:
        return wanted
    return np.where(wanted - grid.lon[-1] > grid.lon[0] + 360.0 - wanted, wanted - 360.0, wanted)


def require_covered(target: Grid, grid: Grid) -> None:
    """Raises StoreError for a target that extends beyond the grid by more than two grid spacings."""
    wanted = longitudes_near(grid, target)
    rows, columns = (float(np.diff(axis).max()) if len(axis) > 1 else 1.0 for axis in (grid.lat, grid.lon))
    south, north = target.lat[0] < grid.lat[0] - 2 * rows, target.lat[-1] > grid.lat[-1] + 2 * rows
    outside = not grid.is_periodic and (
        wanted.min() < grid.lon[0] - 2 * columns or wanted.max() > grid.lon[-1] + 2 * columns
    )
    if south or north or outside:
        raise StoreError(
            f"covers {target.box}, expected a part of the grid of its first guess, which covers {grid.box}. "
            "Give stores of the same region, or cut the finer one."
        )
