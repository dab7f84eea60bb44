"""A small forecasting model of two streams and the store that it forecasts from."""

import pytest
import torch

from statecast.config import read_recipe
from statecast.fields.sources import Record, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.models import ModelOptions
from statecast.trained import TrainedModel, build

STREAMS = {
    "air": Stream(variables=("t", "u"), levels=(500, 850), patch=(2, 6, 6)),
    "by_level": Stream(variables=("t", "u"), levels=(850, 500), patch=(2, 6, 6), levels_share_token=False),
    "surface": Stream(variables=("msl",), patch=(1, 6, 6)),
}

DAMPED_A_STEP = 0.98


@pytest.fixture
def make_trained(global_store):
    def make(store=None, names=("air", "surface"), **task) -> TrainedModel:
        store = open_fields(global_store if store is None else store)
        streams = {name: STREAMS[name] for name in names}
        tokenizers = {n: FieldTokenizer(s, fit_climatology(Record.open(store, s))) for n, s in streams.items()}
        options = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=4)
        recipe = {
            "data": {"store": "a.zarr", "train": ["2001", "2002"]},
            "streams": {n: s.model_dump() for n, s in streams.items()},
            "task": {"kind": "forecast", "history": 1, "leads": 2} | task,
        }
        return TrainedModel(build(options, tokenizers, 0).eval(), tokenizers, read_recipe(recipe))

    return make


@pytest.fixture
def persistent(make_trained):
    """A model whose answer is the last shown anomaly, damped by 2 % a step."""

    def make(**options) -> TrainedModel:
        trained = make_trained(**options)
        for parameter in trained.model.heads.parameters():
            torch.nn.init.zeros_(parameter)
        for anchor in trained.model.anchors.values():
            anchor.of_lag.copy_(DAMPED_A_STEP ** torch.arange(anchor.of_lag.shape[1]))
        return trained

    return make
