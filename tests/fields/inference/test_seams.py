"""Seams of a network whose answers differ from tile to tile. Axes: E head, T time, V channel, H row, W column."""

import numpy as np
import pytest
import torch

from statecast.config import read_recipe
from statecast.fields.evaluation.spectra import zonal_power
from statecast.fields.inference import blocks
from statecast.fields.inference.blocks import forecast_block
from statecast.fields.inference.forecast import forecast_task
from statecast.fields.sources import Grid, Record, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.models import ModelOptions
from statecast.trained import TrainedModel, build

GRID = Grid(np.linspace(-86.25, 86.25, 24), np.arange(48) * 7.5)
EXTENT = (12, 12)
STREAM = Stream(
    variables=("msl",), patch=(2, 1, 1)
)  # a token a point: what is rough is the model's answer, not its tokens


@pytest.fixture
def record(make_store) -> Record:
    """Waves one of which goes round the globe, another from pole to pole, of a random height at each time: tiles see other values."""
    store = make_store(lat=GRID.lat, lon=GRID.lon)
    heights = np.random.default_rng(1).standard_normal((2, 24, 1, 1))
    lat, lon = np.deg2rad(GRID.lat)[:, None], np.deg2rad(GRID.lon)
    waves = heights[0] * np.sin(lat) + heights[1] * np.cos(lon) * np.cos(lat)
    store["msl"] = store.msl.copy(data=(1e5 + 900 * waves).astype(np.float32))
    return Record.open(open_fields(store), STREAM)


@pytest.fixture
def far_sighted(record):
    """Random weights that answer by what they attend to, over 60 degrees: coordinates say little, and nothing is copied from the place."""
    tokenizers = {"air": FieldTokenizer(STREAM, fit_climatology(record))}
    options = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=4, reach_deg=60.0)
    model = build(options, tokenizers, 0).eval()
    model.anchors["air"].of_lag.zero_()
    with torch.no_grad():
        for parameter in model.coordinates.parameters():
            parameter.mul_(0.3)
        for parameter in model.anchor.parameters():
            parameter.zero_()

    def make(extent) -> TrainedModel:
        recipe = {
            "data": {"store": "a.zarr", "train": ["2001", "2002"]},
            "streams": {"air": STREAM.model_dump()},
            "task": {"kind": "forecast", "history": 1, "leads": 1},
            "window": {"extent": extent},
        }
        return TrainedModel(model, tokenizers, read_recipe(recipe))

    return make


def last_wins(parts, shape):
    """In place of `blend`: tiles laid one over the other, with hard borders."""
    whole = np.full((1, 4, 2, 1, *shape), np.nan)
    for tile, fields in parts:
        whole[..., tile.rows, tile.columns] = fields
    return whole


def at_borders(fields: np.ndarray, axis: int) -> float:
    """The mean size of steps from point to point across the borders of tiles, over that elsewhere."""
    steps = np.moveaxis(np.abs(np.diff(fields, axis=axis)), axis, -1)
    crosses = np.arange(1, fields.shape[axis]) % (EXTENT[axis] // 2) == 0
    return steps[..., crosses].mean() / steps[..., ~crosses].mean()


def in_short_waves(fields: np.ndarray) -> float:
    """Power in the shortest third of the waves along the rows."""
    return np.array_split(zonal_power(fields, GRID), 3, axis=-1)[-1].sum()


def test_tiles_that_answer_differently_are_put_together_without_seams(far_sighted, record, monkeypatch):
    """Along both axes and in the spectrum. With hard borders each of the bounds is broken, which is checked here too."""
    question = forecast_task(far_sighted(None)), {"air": record}, 4
    whole, blended = (forecast_block(far_sighted(extent), *question)["air"] for extent in (None, EXTENT))
    monkeypatch.setattr(blocks, "blend", last_wins)
    hard = forecast_block(far_sighted(EXTENT), *question)["air"]
    for axis in (-2, -1):
        assert at_borders(blended, axis) <= 1.2 < 3 < at_borders(hard, axis)
    assert in_short_waves(blended) <= 1.5 * in_short_waves(whole) < 5 * in_short_waves(whole) < in_short_waves(hard)
