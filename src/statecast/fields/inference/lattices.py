"""Token lattices: a question is asked again with the borders of tokens elsewhere, and the answers are averaged.

Tokens are answered one by one, which leaves edges between them. A lattice that is shifted by half a patch has its edges elsewhere: the
average of several has weaker ones, and less error.

Axes: I row, J column of a window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from statecast.fields.inference.neighbourhoods import model_windows
from statecast.fields.inference.tiles import Tile, hann, normalised, ramped
from statecast.fields.sources import Grid
from statecast.fields.sources.units import tell
from statecast.fields.tokenizers import Place
from statecast.patches import Patch
from statecast.trained import ModelError, TrainedModel

Shift = tuple[bool, bool]
"""Whether a lattice is shifted by half a patch along the rows' axis (latitude), and along the columns' (longitude)."""
SHIFTS: Mapping[int, tuple[Shift, ...]] = {
    1: ((False, False),),
    2: (
        (False, False),
        (False, True),
    ),  # columns go round the globe, so that no point is left out; the diagonal was no better
    4: ((False, False), (False, True), (True, False), (True, True)),
}


def asked_on(trained: TrainedModel, lattices: int | None) -> TrainedModel:
    """The model, to be asked on so many lattices; None: on those of its recipe.

    Raises ModelError for another number than 1, 2 or 4, and for a model whose answers can't be averaged or whose tokens can't be shifted.
    """
    if lattices is not None:
        if lattices not in SHIFTS:
            raise ModelError(f"lattices is {lattices}, expected 1, 2 or 4.")
        if beside := [name for name in trained.recipe.streams if name not in trained.recipe.fields]:
            raise ModelError(
                f"lattices is {lattices}, but the model's stream {beside[0]} lies on no grid. Leave the option out."
            )
        window = trained.recipe.window.model_copy(update={"lattices": lattices})
        trained = replace(trained, recipe=trained.recipe.model_copy(update={"window": window}))
    if len(trained.recipe.fields) == len(trained.recipe.streams) and len(shifts_of(trained)) > 1:
        _tell_of_harm(trained)
    return trained


def _tell_of_harm(trained: TrainedModel) -> None:
    """What a model has learned of one lattice may not hold on another: gaps of whole tokens, and how tokens lie on the grid of a guess."""
    if trained.recipe.task.kind in ("fill", "masked"):
        tell(
            "the model learned gaps of whole tokens; those of shifted lattices are visible in part: errors may be larger. Evaluate both."
        )
    for name in _asked(trained):
        guesses = {guess.split(".")[0] for guess in trained.codecs[name].stream.first_guess.values()}
        grid = trained.codecs[name].climatology.grid
        if any(not trained.codecs[guess].climatology.grid.is_like(grid) for guess in guesses):
            tell(
                f"stream {name} has a first guess on another grid, on which its tokens always lay alike in training; shifted ones have "
                "weaker edges, but may have larger errors. Evaluate both."
            )


def shifts_of(trained: TrainedModel) -> tuple[Shift, ...]:
    """The lattices that the model is asked on, the plain one first. Raises ModelError if it can't be."""
    lattices = trained.recipe.window.lattices
    if lattices > 1:
        _require_shiftable(trained, f"lattices is {lattices}, but")
    return SHIFTS[lattices]


def _require_shiftable(trained: TrainedModel, but: str) -> None:
    if trained.model.draws_states:
        raise ModelError(
            f"{but} the head '{trained.model.options.head}' draws states, whose average is none. Ask on one lattice, or train the head "
            "'ensemble'."
        )
    shapes = model_windows(trained).shapes
    axes = ("column",) if trained.recipe.window.lattices == 2 else ("row", "column")
    for name, axis in product(_asked(trained), axes):
        number = ("row", "column").index(axis)
        size = trained.codecs[name].stream.patch[1 + number]
        if size == 1:
            raise ModelError(
                f"{but} a token of stream {name} has one {axis}, expected two at least to shift it by half. Ask on one lattice."
            )
        if size == shapes[name][number]:
            raise ModelError(
                f"{but} the window of stream {name} has the {axis}s of one token, expected two tokens at least. Ask on one lattice."
            )


def told(fields: xr.Dataset, trained: TrainedModel) -> xr.Dataset:
    """Fields that say in their attributes on how many lattices they were asked."""
    if (lattices := trained.recipe.window.lattices) > 1:
        fields.attrs["comment"] = f"Answers are averages over {lattices} token lattices."
    return fields


def _asked(trained: TrainedModel) -> tuple[str, ...]:
    return trained.recipe.task.asked_streams(tuple(trained.codecs))


def _moving(trained: TrainedModel) -> list[str]:
    """The streams that are shifted: those that are asked, and those on the grid of one, so that tokens of a place stay together."""
    grids = {name: codec.climatology.grid for name, codec in trained.codecs.items()}
    return [name for name, grid in grids.items() if any(grid.is_like(grids[asked]) for asked in _asked(trained))]


def on_lattices(trained: TrainedModel, neighbourhoods: Sequence[Mapping[str, Place]]) -> list[dict[str, Tile]]:
    """Each window on each lattice: where every stream lies, with weights whose sum over all windows is 1 at every point that they cover.

    A shifted window goes round the globe, or is one token shorter than the plain one: points at its ends take the answers of those windows
    that cover them. Within a token of n points the weight is sin²(π (i + 1/2) / n) along each axis: nearly 0 at its edges.
    """
    shifts, moving = shifts_of(trained), _moving(trained)
    windows: list[dict[str, Tile]] = [{} for _ in range(len(neighbourhoods) * len(shifts))]
    for name, codec in trained.codecs.items():
        grid, patch = codec.climatology.grid, codec.stream.patch
        plain = ramped([places[name] for places in neighbourhoods], grid.shape)
        placed = [
            _shifted(tile, shift if name in moving else SHIFTS[1][0], patch, grid) for tile in plain for shift in shifts
        ]
        if len(shifts) > 1:
            placed = [replace(tile, weight=tile.weight * _within_tokens(tile, patch)) for tile in placed]
        for window, tile in zip(windows, normalised(placed, grid.shape), strict=True):
            window[name] = tile
    return windows


def _shifted(tile: Tile, shift: Shift, patch: Patch, grid: Grid) -> Tile:
    """The points of a window that lie in whole tokens of a shifted lattice."""
    rows, columns = tile.weight.shape
    goes_round = grid.is_periodic and columns == grid.shape[1]
    kept_rows = _kept(rows, patch[1] // 2 if shift[0] else 0, patch[1], goes_round=False)
    kept_columns = _kept(columns, patch[2] // 2 if shift[1] else 0, patch[2], goes_round=goes_round)
    first = tile.rows.start
    return Tile(
        slice(first + int(kept_rows[0]), first + int(kept_rows[-1]) + 1),
        tile.columns[kept_columns],
        tile.weight[np.ix_(kept_rows, kept_columns)],
    )


def _kept(points: int, by: int, size: int, *, goes_round: bool) -> Int[np.ndarray, " I"]:
    """Of the points of an axis those in whole tokens of a lattice that is shifted `by` points, in their order."""
    if by == 0 or goes_round:
        return (np.arange(points) + by) % points
    return np.arange(by, points - (size - by))


def _within_tokens(tile: Tile, patch: Patch) -> Float[np.ndarray, "I J"]:
    rows, columns = (
        np.tile(hann(size), points // size) for size, points in zip(patch[1:], tile.weight.shape, strict=True)
    )
    return rows[:, None] * columns
