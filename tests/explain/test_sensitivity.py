"""Sensitivities against finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from statecast.explain.sensitivity import check_which, read_members, sensitivity
from statecast.trained import ModelError


@pytest.mark.parametrize("which", ["mean", 2])
def test_sensitivity_agrees_with_finite_differences(precise, one, which):
    value, step = 3, 1e-5
    found = sensitivity(precise, one, value, which)
    random = np.random.default_rng(0)
    for stream, tokens in one.context.items():
        strongest = found.shown[stream].flatten().abs().argsort(descending=True)[:5].tolist()
        for place in [*strongest, *random.integers(tokens.values.numel(), size=5).tolist()]:
            answers = []
            for sign in (1, -1):
                values = tokens.values.clone()
                values.view(-1)[place] += sign * step
                changed = replace(one, context=one.context | {stream: tokens.replace(values)})
                members = precise.answer(changed)["air"].members[0, 0, :, value].detach()
                answers.append(members.mean() if which == "mean" else members[which])
            expected = (answers[0] - answers[1]) / (2 * step)
            torch.testing.assert_close(found.shown[stream].view(-1)[place], expected, atol=1e-8, rtol=1e-5)


def test_what_was_not_observed_has_no_sensitivity(precise, one):
    for stream, gradient in sensitivity(precise, one, 3).shown.items():
        seen = one.context[stream].observed
        assert not gradient[~seen].any() and gradient[seen].any()


def test_an_answer_is_the_mean_or_a_member_that_the_model_has(precise):
    assert (read_members("mean"), read_members("2")) == ("mean", 2)
    check_which(3, precise)
    with pytest.raises(ModelError, match="members is 4, expected mean or the number of one, 0 to 3"):
        check_which(4, precise)
    with pytest.raises(ModelError, match="members is median, expected mean or the number"):
        read_members("median")
