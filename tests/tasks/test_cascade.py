"""Cascade: coarse streams first, fine ones given them."""

from dataclasses import replace

import numpy as np
import pytest

from statecast.tasks import Cascade, TaskError


@pytest.fixture
def three(window):
    return {**window, "c": replace(window["a"], index=None)}


def test_each_factor_sees_the_conditions_and_what_came_before(three):
    task = Cascade(order=(("a",), ("b",)))
    first, last = task.factor(three, 0), task.complete(three)
    assert (set(first.context), set(first.queries)) == ({"c"}, {"a"})
    assert (set(last.context), set(last.queries)) == ({"c", "a"}, {"b"})
    together = Cascade(order=(("a", "b"),)).complete(three)
    assert (set(together.context), set(together.queries)) == ({"c"}, {"a", "b"})


def test_a_step_asks_one_factor_by_weight(three):
    task = Cascade(order=(("a",), ("b",)), weights=(1, 3))
    sample = np.random.default_rng(0)
    asked = [next(iter(task(three, sample, np.random.default_rng(step)).queries)) for step in range(400)]
    assert asked.count("b") == pytest.approx(300, abs=30)


@pytest.mark.parametrize(
    ("order", "message"), [((("a",), ("d",)), "no stream d"), ((("a", "b"), ("c",)), "first has no condition")]
)
def test_streams_that_can_not_be_asked_are_refused(three, order, message):
    with pytest.raises(TaskError, match=message):
        Cascade(order=order).require_streams(three)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"order": (("a",), ("a",))}, "a is asked twice"), ({"order": (("a",),), "weights": (1, 2)}, "2 for 1 lists")],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Cascade(**options)
