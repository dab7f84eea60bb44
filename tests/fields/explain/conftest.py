"""Small untrained models of each task on a store of 12 x 24 points, with two streams of different depth."""

from collections.abc import Callable

import pytest
import torch
import xarray as xr

from statecast.config import read_recipe
from statecast.explain.attention import Trace, trace
from statecast.explain.sensitivity import as_batch
from statecast.fields.explain import PointQuestion, ask_point
from statecast.fields.sources import Record, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.models import ModelOptions
from statecast.streams import Question
from statecast.trained import TrainedModel, build

MakeTrained = Callable[..., TrainedModel]
AT, QUERY = "2001-02-05T06", (47.0, -33.0, "t@500")
STREAMS = {
    "air": Stream(variables=("t", "u"), levels=(850, 500), patch=(2, 3, 4)),
    "surface": Stream(variables=("msl",), patch=(1, 6, 6)),
}


@pytest.fixture
def store(make_store) -> xr.Dataset:
    return open_fields(make_store(steps=60, missing=0.1))


@pytest.fixture
def make_trained(store) -> MakeTrained:
    """With every parameter of attention's geometry and of the encoder away from its start."""

    def make(
        streams=STREAMS, head: str = "ensemble", dtype: torch.dtype = torch.float32, data=None, **task
    ) -> TrainedModel:
        stores = data if isinstance(data, dict) else dict.fromkeys(streams, store if data is None else data)
        tokenizers = {n: FieldTokenizer.fit(s, Record.open(stores[n], s)) for n, s in streams.items()}
        options = ModelOptions(width=48, heads=3, encoder_layers=2, decoder_layers=2, members=4, head=head)
        recipe = {
            "data": {"store": "a.zarr", "train": ["2001", "2002"]},
            "streams": {n: s.model_dump() for n, s in streams.items()},
            "task": task or {"kind": "forecast", "history": 2, "leads": 2},
        }
        model = build(options, tokenizers, 0).to(dtype).eval()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1)
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return TrainedModel(model, tokenizers, read_recipe(recipe))

    return make


@pytest.fixture
def trained(make_trained) -> TrainedModel:
    return make_trained()


@pytest.fixture
def precise(make_trained) -> TrainedModel:
    """In float64."""
    return make_trained(dtype=torch.float64)


@pytest.fixture
def asked(precise, store) -> PointQuestion:
    return ask_point(precise, store, AT, QUERY)


@pytest.fixture
def question(asked, precise) -> Question:
    return as_batch(asked.question, precise.model)


@pytest.fixture
def traced(precise, question) -> Trace:
    return trace(precise.model, question)
