"""What tasks say of the order axis: which steps are visible, which are asked, and where the gaps are."""

import numpy as np
import pytest

from statecast.tasks import (
    Arrange,
    Denoise,
    Detect,
    Forecast,
    Interpolate,
    Masked,
    Next,
    Refine,
    TaskError,
    Translate,
)


@pytest.mark.parametrize(
    ("task", "steps", "visible", "gaps"),
    [
        (Forecast(history=1, leads=2), 6, "vv....", [range(2, 6)]),
        (Forecast(history=2, leads=1), 3, "vv.", [range(2, 3)]),
        (Interpolate(before=1, between=2, after=1), 8, "vv....vv", [range(2, 6)]),
        (Refine(every=3, slabs=4), 8, "v..v..v.", [range(1, 3), range(4, 6)]),
        (Refine(every=2, slabs=2), 2, "v.", []),
        (Masked(), 4, "....", []),
        (Translate(to=("b",)), 4, "....", []),
    ],
)
def test_gaps_lie_between_steps_that_are_wholly_visible(task, steps, visible, gaps):
    assert "".join("v" if step else "." for step in task.visible_steps(steps)) == visible
    assert task.gaps(steps) == gaps
    assert not (task.visible_steps(steps) & task.asked_steps(steps)).any()
    if gaps:
        asked = np.flatnonzero(task.asked_steps(steps)).tolist()
        assert asked == [step for gap in gaps for step in gap]  # of a refinement nothing after its last visible step


def test_a_translation_alone_hides_whole_streams():
    task = Translate(to=("b",))
    assert task.hidden_streams == task.asked_streams(("a", "b")) == ("b",)
    assert Masked().hidden_streams == () and Masked().asked_streams(("a", "b")) == ("a", "b")


def test_tasks_say_whether_they_hide_what_they_ask_and_whether_it_comes_last():
    tasks = (
        Arrange(),
        Denoise(),
        Detect(),
        Forecast(),
        Interpolate(),
        Masked(),
        Next(),
        Refine(),
        Translate(to=("b",)),
    )
    assert [task.kind for task in tasks if not task.asks_hidden] == ["arrange", "denoise", "detect", "next"]
    assert [task.kind for task in tasks if task.asks_ahead] == ["forecast", "next"]


def test_tokens_too_thin_to_be_refined_or_of_several_depths_are_refused():
    with pytest.raises(TaskError, match=r"3 slabs of 2 steps don't always hold a visible step .* Take at least 5"):
        Refine(every=4, slabs=3).require_depths({"a": 2, "b": 1})
    Refine(every=4, slabs=5).require_depths({"a": 2, "b": 1})
    with pytest.raises(TaskError, match="different numbers of steps"):
        Next().require_depths({"a": 2, "b": 1})
    Next().require_depths({"a": 2, "b": 2})
