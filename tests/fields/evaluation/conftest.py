"""A small model with its record: 12 x 24 points, twenty days of which the last five are verified."""

import pytest

from statecast.config import read_recipe
from statecast.fields.sources import Record, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.models import ModelOptions
from statecast.trained import TrainedModel, build

STREAM = Stream(variables=("t", "msl"), levels=(500, 850), patch=(2, 6, 6))


@pytest.fixture
def training(make_store) -> Record:
    return Record.open(open_fields(make_store(steps=80, missing=0.1)), STREAM, ("2001-01-30", "2001-02-13"))


@pytest.fixture
def held_out(make_store) -> Record:
    return Record.open(open_fields(make_store(steps=80, missing=0.1)), STREAM, ("2001-02-14", "2001-02-18"))


@pytest.fixture
def make_trained(training):
    def make(seed: int = 0, stream: Stream = STREAM, **task) -> TrainedModel:
        record = training if stream == STREAM else Record.open(training.dataset, stream)
        options = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=4)
        data = {"store": "a.zarr", "train": ["2001-01-30", "2001-02-13"]}
        recipe = read_recipe({"data": data, "streams": {"air": stream.model_dump()}, "task": task})
        tokenizers = {"air": FieldTokenizer(stream, fit_climatology(record))}
        return TrainedModel(build(options, tokenizers, seed), tokenizers, recipe)

    return make
