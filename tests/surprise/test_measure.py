"""Surprise against closed forms, of each head."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from statecast.models import Draws, log_likelihood, log_likelihood_parts
from statecast.models.heads import Prediction
from statecast.streams import Question
from statecast.surprise.measure import mean_and_spread, question_surprise, value_surprise
from statecast.surprise.score import AT_MOST, combined
from statecast.surprise.tables import strangeness


def test_the_surprise_of_a_value_is_that_of_a_normal_density():
    truth, mean, spread = torch.tensor([1.0, 3.0]), torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.1])
    found, expected = value_surprise(truth, mean, spread)
    normal = torch.distributions.Normal(mean, spread)
    torch.testing.assert_close(found, -normal.log_prob(truth))
    torch.testing.assert_close(expected, normal.entropy())


def test_mean_and_spread_are_those_of_the_members_and_a_single_one_has_that_of_its_anchor():
    members = torch.tensor([0.0, 2.0, 4.0])[None, None, :, None]
    mean, spread = mean_and_spread(Prediction(members, torch.full((1, 1, 1), 7.0)))
    assert (mean.item(), spread.item()) == (2.0, 2.0)
    mean, spread = mean_and_spread(Prediction(members[:, :, :1], torch.full((1, 1, 1), 7.0)))
    assert (mean.item(), spread.item()) == (0.0, 7.0)


def test_surprise_of_an_ensemble_is_nan_where_nothing_was_observed(make_model, question):
    model = make_model()
    found = question_surprise(model, question)
    for name, asked in question.queries.items():
        known = torch.isfinite(found[name].of_values)
        assert torch.equal(known, asked.observed) and known.any() and not known.all()
        assert torch.isnan(found[name].of_codes).all()  # these streams have none


def test_the_surprise_of_a_flow_head_sums_to_minus_its_exact_log_likelihood(make_model, question):
    model = make_model(head="flow")
    asked = Question({"air": question.context["air"]}, {"air": question.queries["air"][:2]})
    draws = Draws(steps=2)
    parts = log_likelihood_parts(model, asked, draws)["air"]
    torch.testing.assert_close(parts.sum(dim=(1, 2)), log_likelihood(model, asked, draws))
    assert (parts[~asked.queries["air"].observed] == 0).all()
    found = question_surprise(model, asked, draws)["air"]
    torch.testing.assert_close(found.of_values.nansum(dim=(1, 2)), -parts.sum(dim=(1, 2)))
    moved = replace(asked, queries={"air": asked.queries["air"].replace(asked.queries["air"].values + 30)})
    assert (question_surprise(model, moved, draws)["air"].of_values.nansum(dim=(1, 2)) > 100).all()


def test_several_partitions_are_combined_to_the_largest_but_a_multiple_of_the_smallest():
    nan = math.nan
    excess = np.array([[[40.0, 40.0, 5.0, nan, nan]], [[0.2, 30.0, -0.4, 3.0, nan]]])
    np.testing.assert_allclose(combined(excess)[0], [AT_MOST * 0.2, 40.0, -0.4, 3.0, nan])


@pytest.mark.parametrize(("threshold", "excess", "expected"), [(20.0, 20.0, 1.0), (20.0, 60.0, 3.0), (-2.0, 0.0, 2.0)])
def test_strangeness_is_1_at_the_threshold(threshold, excess, expected):
    assert strangeness(np.array([[excess]]), np.array([threshold])).item() == expected
    assert strangeness(np.array([[excess]]), None).item() == excess
