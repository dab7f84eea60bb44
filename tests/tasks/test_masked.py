"""Masked pre-training: how much is hidden, what is shown all the same, and that the rest stays hidden."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from statecast.tasks import Masked

SINGLE = {"later_slabs": 0.0, "blocks": 0.0, "streams": 0.0}
CLEAN = {"noise": 0.0, "climatology": 0.0}


def ask(task, window, sample: int = 0, step: int = 0):
    return task(window, np.random.default_rng([sample, 0]), np.random.default_rng([step, 1]))


def numbers(tokens) -> list[float]:
    return tokens.values[:, 0].tolist()


def place(tokens) -> torch.Tensor:
    return torch.stack([tokens.coordinate("latitude_deg"), tokens.coordinate("longitude_deg")], dim=1)


@pytest.mark.parametrize("kinds", [SINGLE, {"later_slabs": 1.0, "blocks": 0}, {"blocks": 1.0, "later_slabs": 0}])
def test_all_samples_of_a_step_have_the_same_counts_and_steps_differ(window, kinds):
    task = Masked(**kinds, asked=0.7)
    seen = set()
    for step in range(8):
        questions = [ask(task, window, sample, step) for sample in range(5)]
        counts = {tuple(len(part[n]) for part in (q.context, q.queries) for n in window) for q in questions}
        assert len(counts) == 1
        seen |= counts
    assert len(seen) > 1


@pytest.mark.parametrize("kinds", [SINGLE, {"blocks": 1.0, "later_slabs": 0.0}])
def test_the_hidden_share_lies_in_the_range_and_fills_it(window, kinds):
    shares = [
        len(ask(Masked(hidden=(0.3, 0.6), **CLEAN, **kinds), window, step=step).queries[name]) / len(window[name])
        for step in range(60)
        for name in window
    ]
    assert 0.29 < min(shares) < 0.35 and 0.55 < max(shares) < 0.61


@pytest.mark.parametrize("kinds", [SINGLE, {"later_slabs": 1.0, "blocks": 0}, {"blocks": 1.0, "later_slabs": 0}])
def test_shown_and_asked_are_disjoint_and_together_the_window(window, kinds):
    question = ask(Masked(**CLEAN, **kinds), window)
    for name, tokens in window.items():
        shown, asked = numbers(question.context[name]), numbers(question.queries[name])
        assert not set(shown) & set(asked)
        assert sorted(shown + asked) == numbers(tokens)


def test_tokens_keep_their_number_in_the_window_whether_shown_asked_noised_or_replaced(window):
    question = ask(Masked(hidden=(0.5, 0.5), noise=0.2, climatology=0.1, **SINGLE), window)
    for side in (question.context, question.queries):
        for name, tokens in side.items():
            assert torch.equal(tokens.coords, window[name].coords[tokens.index])
    shown, asked = question.context["a"].index, question.queries["a"].index
    assert len(set(shown.tolist()) & set(asked.tolist())) == 24 + 12 and len(asked.unique()) == 120


def test_exactly_the_asked_shares_are_noised_and_replaced_by_climatology(window):
    task = Masked(hidden=(0.5, 0.5), noise=0.2, climatology=0.1, **SINGLE)
    question = ask(task, window)
    shown, asked, hidden = question.context["a"], question.queries["a"], 120
    assert len(asked) == hidden and len(shown) == 120 + 24 + 12
    usual = (shown.values == 0).all(dim=1)
    assert usual.sum() == 12
    noised = ~usual & ~torch.isin(shown.values[:, 0], window["a"].values[:, 0])
    assert noised.sum() == 24
    corrupted = place(shown[torch.where(usual | noised)[0]]), shown.coordinate("offset_h")[usual | noised]
    keys = {(*p, t) for p, t in zip(corrupted[0].tolist(), corrupted[1].tolist(), strict=True)}
    asked_at = {(*p, t) for p, t in zip(place(asked).tolist(), asked.coordinate("offset_h").tolist(), strict=True)}
    assert len(keys) == 36 and keys <= asked_at
    assert set(numbers(shown[~usual & ~noised])) == set(numbers(window["a"])) - set(numbers(asked))


def test_noise_is_standard_normal_and_zero_where_nothing_was_observed(window):
    task = Masked(hidden=(0.9, 0.9), noise=1.0, climatology=0.0, **SINGLE)
    noise = torch.cat([ask(task, window, s).context["a"][24:].values for s in range(20)])
    assert not noise[:, 4].any()
    assert noise[:, :4].mean().abs() < 0.03 and abs(noise[:, :4].std() - 1) < 0.03


def test_what_is_asked_is_the_truth_whatever_is_shown(window):
    question = ask(Masked(noise=0.5, climatology=0.5, **SINGLE), window)
    asked = question.queries["a"]
    assert torch.equal(asked.values, window["a"].values[asked.values[:, 0].long() - 1])


def test_later_slabs_hides_only_later_slabs_of_all_streams_alike(window):
    seen = set()
    for step in range(40):
        question = ask(Masked(slabs=4, later_slabs=1.0, blocks=0.0, **CLEAN), window, step=step)
        ends = {
            float(t.coordinate("offset_h").max() + h) for t, h in zip(question.context.values(), (9, 4.5), strict=True)
        }
        assert len(ends) == 1  # both streams are shown up to the same hour
        end = ends.pop()
        assert all((t.coordinate("offset_h") > end).all() for t in question.queries.values())
        seen.add(end)
    assert seen == {18.0, 36.0, 54.0}


def test_a_window_of_one_slab_hides_single_tokens(window):
    first = {"a": window["a"][:60]}
    question = ask(Masked(slabs=1, later_slabs=1.0, blocks=0.0, hidden=(0.5, 0.5), **CLEAN), first)
    assert len(question.queries["a"]) == 30


def test_blocks_are_neighbourhoods_at_all_times(window):
    for sample in range(10):
        question = ask(Masked(blocks=1.0, later_slabs=0.0, hidden=(0.4, 0.4), **CLEAN), window, sample)
        asked, shown = question.queries["a"], question.context["a"]
        places, times = place(asked).unique(dim=0, return_counts=True)
        assert (times < 4).sum() <= 1  # but for the last place, which the count may cut
        lat, lon = torch.deg2rad(places).T
        unit = torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], dim=1)
        lat, lon = torch.deg2rad(place(shown).unique(dim=0)).T
        rest = torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], dim=1)
        # one of the hidden places is a centre: everything nearer to it than its farthest hidden neighbour is hidden too
        to_hidden, to_shown = (unit @ unit.T).fill_diagonal_(-1).amax(dim=1), (unit @ rest.T).amax(dim=1)
        assert (to_hidden > to_shown - 1e-6).any()
        assert len(places) <= 25


def test_the_streams_mask_hides_a_whole_stream_and_shows_the_others(window):
    hidden = set()
    for step in range(20):
        question = ask(Masked(streams=1.0, later_slabs=0.0, blocks=0.0), window, step=step)
        (name,) = question.queries
        assert set(question.context) == set(window) - {name}
        assert numbers(question.queries[name]) == numbers(window[name])
        (other,) = question.context
        assert torch.equal(question.context[other].values, window[other].values)
        hidden.add(name)
    assert hidden == {"a", "b"}


def test_a_single_stream_is_never_hidden_wholly_but_by_single_tokens(window):
    alone = {"a": window["a"]}
    task = Masked(streams=1.0, later_slabs=0.0, blocks=0.0, hidden=(0.5, 0.5), **CLEAN)
    question = ask(task, alone)
    assert len(question.context["a"]) == len(question.queries["a"]) == 120
    _, times = place(question.queries["a"]).unique(dim=0, return_counts=True)
    assert (times < 4).sum() > 20  # no blocks


def test_kinds_of_masks_come_in_their_shares(window):
    task = Masked(slabs=4, streams=0.2, blocks=0.0, later_slabs=0.5, **CLEAN, hidden=(0.5, 0.5))
    kinds = {"stream": 0, "later": 0, "single": 0}
    for step in range(400):
        question = ask(task, window, step=step)
        if len(question.queries) == 1:
            kinds["stream"] += 1
        elif question.context["a"].coordinate("offset_h").max() < question.queries["a"].coordinate("offset_h").min():
            kinds["later"] += 1
        else:
            kinds["single"] += 1
    assert 55 < kinds["stream"] < 105 and 160 < kinds["later"] < 240


def test_evaluation_asks_all_and_its_seed_draws_the_mask(window):
    task = Masked(asked=0.1, hidden=(0.5, 0.5), **SINGLE)
    first, again, other = (task.complete(window, seed=s).queries["a"].values for s in (3, 3, 4))
    assert len(first) == 120
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("hidden", [(0.0, 0.5), (0.6, 0.5), (0.5, 1.0), (-0.1, 0.5)])
def test_a_range_that_is_none_is_refused(hidden):
    with pytest.raises(ValidationError, match="is no range of shares, expected 0 < low <= high < 1"):
        Masked(hidden=hidden)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"noise": 0.6, "climatology": 0.5}, "noise . climatology is 1.1, expected at most 1"),
        ({"later_slabs": 0.5, "blocks": 0.4, "streams": 0.3}, "later_slabs . blocks . streams is 1.2"),
        ({"noise": -0.1}, "greater than or equal to 0"),
        ({"hiden": (0.5, 0.9)}, "Extra inputs"),
    ],
)
def test_shares_that_sum_to_more_than_one_and_unknown_keys_are_refused(shares, message):
    with pytest.raises(ValidationError, match=message):
        Masked(**shares)


def test_shares_that_sum_to_one_but_for_rounding_are_allowed():
    assert Masked(later_slabs=0.7, blocks=0.2, streams=0.1).blocks == 0.2
