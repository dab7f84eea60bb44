"""A model in float64 and a question about one token, with all that its attention went through."""

import pytest
import torch

from statecast.explain.attention import Trace, trace
from statecast.explain.sensitivity import as_batch
from statecast.models import StateModel
from statecast.streams import Question


@pytest.fixture
def precise(make_model) -> StateModel:
    """With every parameter of attention's geometry and of the encoder away from its start."""
    model = make_model(width=48, heads=3, encoder_layers=2, decoder_layers=2).double().eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def whole(question) -> Question:
    """One sample; slabs 0 and 2 of both streams are shown, all of slab 1 of the air is asked."""
    sample = question.each(lambda tokens: tokens.each(lambda part: part[0], lambda part: part[0]))
    return Question(sample.context, {"air": sample.queries["air"]})


@pytest.fixture
def one(whole, precise) -> Question:
    """The same about the token at 5° N, 180° E, 850 hPa alone, as a batch."""
    asked = whole.queries["air"]
    here = (asked.along("place") == torch.tensor([5.0, 180.0])).all(dim=-1) & (asked.coordinate("pressure_hpa") == 850)
    return as_batch(Question(whole.context, {"air": asked[here.nonzero()[:, 0]]}), precise)


@pytest.fixture
def traced(precise, one) -> Trace:
    return trace(precise, one)
