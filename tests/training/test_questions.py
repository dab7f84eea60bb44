"""Questions for training: sample i is a function of (seed, i) alone."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from statecast.fields.source import FieldSource, StreamSource
from statecast.fields.sources import Record, fit_climatology
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer, Windows
from statecast.streams import stack_questions
from statecast.tasks import Forecast, Masked
from statecast.training.batches import reading_context
from statecast.training.questions import QuestionDataset


@pytest.fixture
def source(global_store) -> FieldSource:
    streams = {
        "upper": Stream(variables=("t", "u"), levels=(500, 850), patch=(2, 3, 4), levels_share_token=False),
        "surface": Stream(variables=("msl",), patch=(1, 3, 4)),
    }
    records = {name: Record.open(global_store, stream) for name, stream in streams.items()}
    sources = {
        name: StreamSource(records[name], FieldTokenizer(stream, fit_climatology(records[name])))
        for name, stream in streams.items()
    }
    grids = {name: record.grid for name, record in records.items()}
    windows = Windows.of((6, 8), grids, {name: stream.patch for name, stream in streams.items()})
    return FieldSource(sources, windows, windows.sampler(records["upper"].starts(8), 8))


def dataset(source, seed=0, task=None, batch_size=4, samples=32):
    return QuestionDataset(source, task or Masked(streams=0.2), seed, batch_size, samples)


def tensors(question):
    return [
        getattr(part[name], field)
        for part in (question.context, question.queries)
        for name in sorted(part)
        for field in ("values", "coords", "observed", "weight", "index")
    ]


def same(a, b) -> bool:
    first, second = tensors(a), tensors(b)
    return len(first) == len(second) and all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize("task", [Masked(streams=0.2), Forecast(history=2, leads=2, asked=0.5)])
def test_a_sample_depends_neither_on_order_nor_on_the_object_that_draws_it(source, task):
    one = dataset(source, task=task)
    in_order = [one[i] for i in range(12)]
    other = pickle.loads(pickle.dumps(dataset(source, task=task, samples=12)))  # as another process has it
    for i in np.random.default_rng(1).permutation(12):
        assert same(other[int(i)], in_order[i])


def test_a_sample_does_not_depend_on_the_state_of_global_generators(source):
    questions = dataset(source)
    torch.manual_seed(1)
    first = questions[5]
    torch.manual_seed(2)
    torch.rand(3)
    assert same(questions[5], first)


@pytest.mark.timeout(400)  # the process imports all of it anew
def test_a_sample_is_the_same_in_a_process_of_its_own(source):
    questions = dataset(source, samples=4)
    context = reading_context(questions)
    loader = DataLoader(questions, batch_size=2, num_workers=1, collate_fn=list, multiprocessing_context=context)
    read = [question for batch in loader for question in batch]
    assert len(read) == 4 and all(same(a, questions[i]) for i, a in enumerate(read))


def test_another_seed_and_another_number_give_other_samples(source):
    zero, one = dataset(source, seed=0), dataset(source, seed=1)
    assert not any(same(zero[i], one[i]) for i in range(8))
    assert not any(same(zero[0], zero[i]) for i in range(1, 8))


def test_the_samples_of_a_batch_stack_and_batches_hide_differently(source):
    questions = dataset(source, batch_size=4)
    counts = set()
    for batch in range(8):
        stacked = stack_questions([questions[4 * batch + i] for i in range(4)])
        counts.add(tuple((name, len(tokens)) for name, tokens in stacked.queries.items()))
    assert len(counts) > 2


def test_streams_of_a_window_lie_at_the_same_place(source):
    question = dataset(source, task=Forecast(history=2, leads=2))[3]
    for axis in ("latitude_deg", "longitude_deg"):
        upper, surface = (question.context[n].coordinate(axis) for n in ("upper", "surface"))
        assert set(upper.tolist()) == set(surface.tolist())


def test_a_number_outside_the_training_is_an_index_error_so_that_iteration_ends(source):
    questions = dataset(source, samples=3)
    assert len(list(questions)) == len(questions) == 3
    for index in (-1, 3):
        with pytest.raises(IndexError, match="of a training of 3 samples"):
            questions[index]
