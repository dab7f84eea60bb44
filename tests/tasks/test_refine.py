"""Refinement in time: every n-th step is shown, those between are asked, inside tokens too."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from statecast.axes import Axis, column_names
from statecast.streams import Tokens, TokenSpec
from statecast.tasks import Refine

STEPS, DEPTH = 12, 3
SPEC = TokenSpec(
    size=2 * DEPTH * 4,
    axes=(Axis("place", "sphere", "degree"), Axis("time", "time", "h")),
    order="time",
    layout=(2, DEPTH, 4),
)


@pytest.fixture
def tokens() -> Tokens:
    """Four slabs of three hourly steps at five places, two channels; each value is its time."""
    offset, place = np.meshgrid(np.arange(STEPS // DEPTH) * DEPTH + 1.0, np.arange(5.0), indexing="ij")
    names = column_names(SPEC.axes)
    coords = torch.zeros(offset.size, len(names))
    coords[:, names.index("offset_h")] = torch.from_numpy(offset.ravel())
    coords[:, names.index("longitude_deg")] = torch.from_numpy(place.ravel())
    times = coords[:, names.index("offset_h"), None] - 1 + torch.arange(DEPTH)
    values = times[:, None, :, None].expand(-1, 2, -1, 4).reshape(len(coords), -1)
    return Tokens(values, coords, torch.ones_like(values, dtype=torch.bool), SPEC)


def times_of(tokens: Tokens) -> list[float]:
    return sorted(set(tokens.values[tokens.observed].tolist()))


@pytest.mark.parametrize("every", [2, 3, 5, 6])
def test_every_nth_step_is_shown_and_all_between_two_of_them_are_asked(tokens, every):
    question = Refine(every=every, slabs=4).complete({"a": tokens})
    shown = list(range(0, STEPS, every))
    assert times_of(question.context["a"]) == shown
    assert times_of(question.queries["a"]) == [t for t in range(shown[-1]) if t not in shown]
    for side in (question.context["a"], question.queries["a"]):
        assert side.observed.any(dim=-1).all()  # no token without anything
        assert not side.values[~side.observed].any()  # what is not shown is not there


def test_training_begins_anywhere_between_two_shown_steps_with_as_many_tokens_in_each_sample(tokens):
    task, firsts = Refine(every=5, slabs=4), set()
    for number in range(40):
        drawn = [task({"a": tokens}, np.random.default_rng(s), np.random.default_rng(number)) for s in (0, 1)]
        assert len({len(q.queries["a"]) for q in drawn}) == len({len(q.context["a"]) for q in drawn}) == 1
        shown = times_of(drawn[0].context["a"])
        assert shown in ([f, *range(f + 5, STEPS, 5)] for f in range(5))
        assert times_of(drawn[0].queries["a"]) == [t for t in range(int(shown[0]), int(shown[-1])) if t not in shown]
        firsts.add(shown[0])
    assert firsts == set(range(5))


def test_gaps_of_the_record_stay_gaps(tokens):
    gaps = tokens.observed.clone()
    gaps[0] = False
    question = Refine(every=2, slabs=4).complete({"a": replace(tokens, observed=gaps, values=tokens.values * gaps)})
    assert not question.context["a"].observed[0].any() and not question.queries["a"].observed[0].any()


def test_a_share_is_asked_at_random(tokens):
    task = Refine(every=3, slabs=4, asked=0.4)
    first, other = (
        task({"a": tokens}, np.random.default_rng(s), np.random.default_rng(9)).queries["a"] for s in (0, 1)
    )
    assert len(first) == len(other) and not torch.equal(first.coords, other.coords)
