"""Forecast: the past is shown, the future is asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from statecast.tasks import Forecast, TaskError
from statecast.tasks.base import is_within, slab_of


def generators(seed: int = 0) -> tuple[np.random.Generator, np.random.Generator]:
    return np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])


@pytest.mark.parametrize("history", [1, 2, 3])
def test_the_context_is_the_first_slabs_and_the_queries_are_the_later_ones(window, history):
    question = Forecast(history=history, leads=4 - history).complete(window)
    for name, tokens in window.items():
        shown, asked = question.context[name], question.queries[name]
        assert shown.coordinate("offset_h").max() < history * 18 < asked.coordinate("offset_h").min()
        whole = torch.cat([shown.values, asked.values])
        assert torch.equal(whole, tokens.values)  # in order, and nothing is lost


def test_streams_with_thinner_tokens_are_split_at_the_same_time(window):
    question = Forecast(history=2, leads=2).complete(window)
    assert set(slab_of(window["b"])) == set(range(8))
    assert len(question.context["b"]) == 4 * 15 and len(question.context["a"]) == 2 * 60


def test_a_token_that_ends_after_the_split_is_not_shown(window):
    assert is_within(window["b"], 1, 3).sum() == 2 * 15  # 72 h / 3 = 24 h hold two slabs of 9 h
    assert not is_within(window["a"], 0, 4).any() and is_within(window["a"], 4, 4).all()


@pytest.mark.parametrize(("share", "count"), [(1.0, 120), (0.5, 60), (0.001, 1)])
def test_a_training_sample_asks_a_share(window, share, count):
    question = Forecast(history=2, leads=2, asked=share)(window, *generators())
    asked = question.queries["a"].values[:, 0]
    assert len(asked) == count == len(asked.unique())
    assert asked.min() > 120 and len(question.context["a"]) == 120


def test_samples_ask_different_tokens_and_equal_generators_the_same(window):
    task = Forecast(history=2, leads=2, asked=0.3)
    first, again, other = (task(window, *generators(s)).queries["a"].values for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(("near", "ratio"), [(0.0, 1.0), (0.7, 3**0.7), (2.0, 9.0)])
def test_near_slabs_are_asked_more_often(window, near, ratio):
    """With a small share, where drawing without replacement hardly shows: the first of three slabs over the last."""
    task = Forecast(history=1, leads=3, asked=0.02, near=near)
    slabs = [task(window, *generators(s)).queries["a"].coordinate("offset_h") for s in range(1000)]
    count = torch.cat(slabs).unique(return_counts=True)[1]
    assert (count[0] / count[2]).item() == pytest.approx(ratio, rel=0.15)


def test_a_stream_without_an_order_is_shown_throughout_and_alone_it_is_refused(window):
    still = replace(window["a"].spec, order=None)
    question = Forecast(history=2, leads=2).complete({**window, "a": replace(window["a"], spec=still)})
    assert len(question.context["a"]) == len(window["a"]) and question.queries.keys() == {"b"}
    Forecast().require({"a": still, "b": window["b"].spec})
    with pytest.raises(TaskError, match=r"task\.kind forecast: no stream has an order axis \(a\)"):
        Forecast().require({"a": still})


@pytest.mark.parametrize(
    ("option", "wrong", "right", "reason"),
    [
        ("history", 0, 1, "greater_than_equal"),
        ("leads", 0, 1, "greater_than_equal"),
        ("rollout", 0, 1, "greater_than_equal"),
        ("asked", 0.0, 0.01, "greater_than"),
        ("asked", 1.1, 1.0, "less_than_equal"),
        ("near", -0.1, 0.0, "greater_than_equal"),
    ],
)
def test_impossible_options_are_refused_and_those_that_are_just_possible_are_not(option, wrong, right, reason):
    assert getattr(Forecast(**{option: right}), option) == right
    with pytest.raises(ValidationError) as refused:
        Forecast(**{option: wrong})
    assert [(error["loc"], error["type"]) for error in refused.value.errors()] == [((option,), reason)]


def test_an_option_that_is_none_is_refused():
    with pytest.raises(ValidationError, match=r"lead\n  Extra inputs are not permitted"):
        Forecast(lead=3)
