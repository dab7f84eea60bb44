"""Tiles: they cover the grid, leave no seam, and a model that was trained on neighbourhoods forecasts the whole. Axes as in the module."""

import numpy as np
import pytest
import xarray as xr

from statecast.fields.inference import forecast
from statecast.fields.inference.tiles import blend, tiles
from statecast.fields.recipe import WindowOptions
from statecast.fields.sources import Grid
from statecast.trained import TrainedModel

GLOBAL = Grid(np.linspace(-88.75, 88.75, 72), np.arange(144) * 2.5)
REGIONAL = Grid(np.linspace(30, 60, 25), np.linspace(100, 150, 41))
INIT = "2001-02-05T06"


@pytest.mark.parametrize("grid", [GLOBAL, REGIONAL], ids=["global", "regional"])
@pytest.mark.parametrize("extent", [(8, 12), (16, 16), (20, 8), (25, 41), (9, 9), (18, 9), (1, 2)])
def test_weights_sum_to_one_at_every_point_and_no_point_is_twice_in_a_tile(grid, extent):
    total = np.zeros(grid.shape)
    for tile in tiles(grid, extent):
        assert tile.weight.shape == extent == (tile.rows.stop - tile.rows.start, len(set(tile.columns)))
        total[tile.rows, tile.columns] += tile.weight
    np.testing.assert_allclose(total, 1.0)


@pytest.mark.parametrize("grid", [GLOBAL, REGIONAL, Grid(np.linspace(-90, 90, 721), np.arange(36) * 10.0)])
@pytest.mark.parametrize("extent", [(9, 9), (18, 9), (9, 18), (16, 16), (3, 2)])
def test_tiles_overlap_by_half_or_more_also_those_of_a_single_token(grid, extent):
    placed = tiles(grid, extent)
    rows = sorted({tile.rows.start for tile in placed})
    columns = sorted({int(tile.columns[0]) for tile in placed})
    around = [columns[0] + grid.shape[1]] if grid.is_periodic else []
    for firsts, size in ((rows, extent[0]), ([*columns, *around], extent[1])):
        assert len(firsts) > 1 and np.diff(firsts).max() <= size / 2
    assert rows[0] == 0 and rows[-1] == grid.shape[0] - extent[0]


def test_without_an_extent_there_is_one_tile_that_is_taken_to_the_bit():
    (tile,) = tiles(GLOBAL, None)
    fields = np.random.default_rng(0).standard_normal((2, *GLOBAL.shape)).astype(np.float32)
    assert blend([(tile, fields)], GLOBAL.shape) is fields


@pytest.mark.parametrize("grid", [GLOBAL, REGIONAL], ids=["global", "regional"])
def test_tiles_that_agree_are_put_together_to_what_they_agree_on(grid):
    truth = np.random.default_rng(0).standard_normal((3, *grid.shape)).astype(np.float32)
    parts = [(tile, truth[:, tile.rows][..., tile.columns]) for tile in tiles(grid, (16, 16))]
    np.testing.assert_allclose(blend(parts, grid.shape), truth, atol=1e-6)


def test_a_point_that_one_tile_does_not_know_is_told_by_the_others():
    placed = tiles(GLOBAL, (16, 16))
    fields = [np.full((16, 16), 5.0) for _ in placed]
    fields[0][:] = np.nan
    assert (blend(zip(placed, fields, strict=True), GLOBAL.shape) == 5.0).all()
    for values in fields:
        values[3] = np.nan
    blended = blend(zip(placed, fields, strict=True), GLOBAL.shape)
    assert np.isnan(blended[3]).all() and np.isfinite(blended[4:]).all()  # only the first tiles hold the fourth row


def disagreeing(hard: bool) -> np.ndarray:
    """Tiles that differ by a constant each, put together with their weights or cut at their borders."""
    random, placed = np.random.default_rng(3), tiles(GLOBAL, (16, 16))
    parts = [(tile, np.full((1, 16, 16), random.standard_normal())) for tile in placed]
    if not hard:
        return blend(parts, GLOBAL.shape)[0]
    cut = np.zeros(GLOBAL.shape)
    for tile, values in parts:  # the middle half of each
        cut[tile.rows.start + 4 : tile.rows.stop - 4, tile.columns[4:12]] = values[0, 4:12, 4:12]
    return cut


def test_there_are_no_seams_in_the_spectrum_nor_at_the_borders():
    """Steps put power into short waves (as k^-2) where smooth blending has next to none; the largest step between neighbours shrinks."""
    rows = slice(8, 64)
    power = {hard: np.abs(np.fft.rfft(disagreeing(hard)[rows], axis=1)) ** 2 for hard in (False, True)}
    short = {hard: p[:, 37:].sum() / p[:, 1:].sum() for hard, p in power.items()}
    assert short[False] < 0.02 * short[True]
    step = {hard: np.abs(np.diff(disagreeing(hard)[rows], axis=1)) for hard in (False, True)}
    assert step[False].max() < 0.3 * step[True].max()
    borders = np.isin(np.arange(143) % 8, (7,))  # between the last point of a tile and the next
    assert step[False][:, borders].mean() <= step[False][:, ~borders].mean()


def on_neighbourhoods(trained: TrainedModel, extent) -> TrainedModel:
    return TrainedModel(
        trained.model, trained.codecs, trained.recipe.model_copy(update={"window": WindowOptions(extent=extent)})
    )


def test_a_model_whose_answers_are_local_forecasts_the_same_by_tiles_as_at_once(persistent, global_store):
    """Persistence, through three blocks of roll-out, across the date line and up to the poles."""
    trained = persistent()
    whole = forecast(trained, global_store, INIT, 11, 2)
    tiled = forecast(on_neighbourhoods(trained, [6, 12]), global_store, INIT, 11, 2)
    xr.testing.assert_allclose(tiled, whole, rtol=1e-4, atol=1e-3)


def test_an_extent_of_the_whole_grid_is_the_whole_to_the_bit(make_trained, global_store):
    trained = make_trained()
    whole = forecast(trained, global_store, INIT, 5, 2)
    xr.testing.assert_identical(forecast(on_neighbourhoods(trained, [12, 24]), global_store, INIT, 5, 2), whole)


def test_a_model_of_neighbourhoods_answers_from_them(make_trained, global_store):
    """Another value at one point changes the answers of the tiles that hold it and no others; of a model of the whole, every answer.

    Tiles of 6 x 12 points begin at rows 0, 3, 6 and columns 0, 6, 12, 18: that point is in two, one of them across Greenwich.
    """
    trained, row, column = make_trained(), 0, 0
    other = global_store.copy(deep=True)
    for variable in ("t", "u", "msl"):
        other[variable][{"lat": row, "lon": column}] = 1.1 * global_store[variable].max()
    held = np.zeros((12, 24), bool)
    held[:6, np.arange(18, 18 + 18) % 24] = True

    def changed(extent) -> np.ndarray:
        model = on_neighbourhoods(trained, extent)
        before, after = (forecast(model, store, INIT, 4, 1) for store in (global_store, other))
        assert all(np.isfinite(fields.t).all() for fields in (before, after))
        return (
            (before != after).any(("init_time", "number", "lead_time", "level")).to_dataarray().any("variable").values
        )

    np.testing.assert_array_equal(changed([6, 12]), held)
    assert changed(None).all()
