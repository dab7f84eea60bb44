"""Interpolation in time: both ends are shown, the middle is asked."""

import numpy as np
import pytest
import torch

from statecast.tasks import Interpolate


@pytest.mark.parametrize(("before", "between", "after"), [(1, 2, 1), (2, 1, 1), (1, 1, 2)])
def test_the_middle_is_asked_and_both_ends_are_shown(window, before, between, after):
    question = Interpolate(before=before, between=between, after=after).complete(window)
    for name, tokens in window.items():
        asked, shown = (side[name].coordinate("offset_h") for side in (question.queries, question.context))
        assert asked.min() > 18 * before and asked.max() < 18 * (before + between)
        assert shown[shown < 18 * before].numel() and shown[shown > 18 * (before + between)].numel()
        assert not ((shown > 18 * before) & (shown < 18 * (before + between))).any()
        assert len(asked) + len(shown) == len(tokens)


def test_a_training_sample_asks_a_share_at_random(window):
    task = Interpolate(before=1, between=2, after=1, asked=0.25)
    first, other = (
        task(window, np.random.default_rng(s), np.random.default_rng(9)).queries["a"].values for s in (0, 1)
    )
    assert len(first) == 30 and not torch.equal(first, other)
