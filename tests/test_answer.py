"""Answers of a model to one question."""

import torch

from statecast.answer import answer, predict_question
from statecast.streams import stack_questions
from statecast.trained import TrainedModel


def test_an_answer_is_the_prediction_with_members_first(make_model, question):
    trained = TrainedModel(make_model(), {}, None)
    sample = question.each(lambda tokens: tokens.each(lambda part: part[0], lambda part: part[0]))
    answered = answer(trained, sample)
    with torch.no_grad():
        predicted = trained.model.answer(stack_questions([sample]))
    for name, tokens in sample.queries.items():
        assert answered[name].shape == (4, *tokens.values.shape) and not answered[name].requires_grad
        assert torch.equal(answered[name], predicted[name].members[0].transpose(0, 1))
        assert torch.equal(predict_question(trained, sample)[name].spread, predicted[name].spread)
