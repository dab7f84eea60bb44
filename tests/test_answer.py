"""Answers of a model to one question."""

import torch

from statecast.fields.inference import answer
from statecast.fields.sources import Record
from statecast.fields.tokenizers.windows import whole_domain
from statecast.streams import stack_questions
from statecast.tasks import Forecast


def test_an_answer_is_the_prediction_with_members_first(make_trained, global_store):
    trained = make_trained(names=("air",))
    tokenizer = trained.codecs["air"]
    record = Record.open(global_store, tokenizer.stream)
    window = tokenizer.tokenize(record, whole_domain(record.grid, 0, 6))
    question = Forecast(history=1, leads=2).complete({"air": window})
    answered = answer(trained, question)["air"]
    assert answered.shape == (4, 16, tokenizer.values_per_token) and not answered.requires_grad
    batch = stack_questions([question])
    with torch.no_grad():
        predicted = trained.model(batch.context, batch.queries)["air"].members[0]
    assert torch.equal(answered, predicted.transpose(0, 1))
