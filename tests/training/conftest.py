"""A small model and questions to fit it to."""

import dataclasses

import pytest
import torch

from statecast.fields.source import FieldSource, StreamSource
from statecast.fields.sources import Record, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer, Windows
from statecast.models import ModelOptions, StateModel
from statecast.streams import Question
from statecast.tasks import Masked
from statecast.trained import build
from statecast.training import QuestionDataset


@pytest.fixture(scope="session")
def questions(make_store) -> QuestionDataset:
    """Eight samples, two a step, of masked windows over 12 x 24 points with some values missing."""
    stream = Stream(variables=("t", "msl"), levels=(500, 850), patch=(2, 6, 6))
    record = Record.open(open_fields(make_store(steps=40, missing=0.05)), stream)
    air = StreamSource(record, FieldTokenizer(stream, fit_climatology(record)))
    windows = Windows.of(None, {"air": record.grid}, {"air": stream.patch})
    source = FieldSource({"air": air}, windows, windows.sampler(record.starts(6), 6))
    return QuestionDataset(source, Masked(slabs=3), seed=0, batch_size=2, samples=8)


@pytest.fixture(scope="session")
def make_model(questions):
    def make(seed: int = 0) -> StateModel:
        options = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=4)
        return build(options, questions.source.codecs, seed)

    return make


@dataclasses.dataclass(frozen=True)
class Corrupt(QuestionDataset):
    """From sample `first_bad` on, every answer is infinite."""

    first_bad: int = 4

    def __getitem__(self, index: int) -> Question:
        question = super().__getitem__(index)
        if index < self.first_bad:
            return question
        queries = {n: t.replace(torch.full_like(t.values, torch.inf)) for n, t in question.queries.items()}
        return dataclasses.replace(question, queries=queries)


@pytest.fixture
def corrupt(questions) -> Corrupt:
    return Corrupt(**{f.name: getattr(questions, f.name) for f in dataclasses.fields(questions)})
