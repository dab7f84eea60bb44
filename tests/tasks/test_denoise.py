"""Denoising: what the corruption is, and that the clean tokens are asked."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from statecast.axes import Axis
from statecast.streams import UNKNOWN, Tokens, TokenSpec, stack_questions
from statecast.tasks import Denoise

CODES = 5
SPEC = TokenSpec(size=2, vocabulary=CODES, axes=(Axis("place", "plane"),), ragged=True)


def cloud(count: int, seed: int = 0) -> Tokens:
    """Tokens whose second value was not observed."""
    random = torch.Generator().manual_seed(seed)
    observed = torch.tensor([True, False]).expand(count, 2)
    values = torch.randn(count, 2, generator=random) * observed
    codes = torch.randint(CODES, (count,), generator=random)
    return Tokens(values, torch.rand(count, 2, generator=random), observed, SPEC, codes=codes)


def ask(task: Denoise, window, sample: int = 0, step: int = 0):
    return task(window, np.random.default_rng([sample, 0]), np.random.default_rng([step, 1]))


def noise_of(question) -> torch.Tensor:
    return (question.context["cloud"].values - question.queries["cloud"].values)[:, 0]


def test_noise_has_the_standard_deviation_that_is_drawn_for_the_sample():
    window = {"cloud": cloud(20_000)}
    noise = noise_of(ask(Denoise(noise=(0.5, 0.5)), window))
    assert abs(noise.std() - 0.5) < 0.01 and abs(noise.mean()) < 0.015
    spreads = [noise_of(ask(Denoise(noise=(0.2, 1.0)), window, sample)).std().item() for sample in range(30)]
    assert 0.19 < min(spreads) < 0.35 and 0.85 < max(spreads) < 1.01


def test_no_noise_leaves_the_values_to_the_bit():
    question = ask(Denoise(noise=(0.0, 0.0), replaced=0.0, unknown=0.0), {"cloud": cloud(9)})
    assert torch.equal(question.context["cloud"].values, cloud(9).values)
    assert torch.equal(question.context["cloud"].codes, cloud(9).codes)


def test_what_was_not_observed_gets_no_noise():
    assert not ask(Denoise(), {"cloud": cloud(50)}).context["cloud"].values[:, 1].any()


def test_codes_are_replaced_and_unknown_in_their_shares():
    tokens, count = cloud(20_000), 20_000
    shown = ask(Denoise(replaced=0.2, unknown=0.3), {"cloud": tokens}).context["cloud"].codes
    unknown = (shown == UNKNOWN).sum().item() / count
    changed = ((shown != tokens.codes) & (shown != UNKNOWN)).sum().item() / count
    assert unknown == pytest.approx(0.3, abs=0.01)
    assert changed == pytest.approx(0.2 * (1 - 1 / CODES), abs=0.01)  # a random code may be the one that was there
    to = torch.bincount(shown[(shown != tokens.codes) & (shown != UNKNOWN)], minlength=CODES) / count
    assert len(to) == CODES and (to * CODES - changed).abs().max() < 0.03  # no code is preferred


def test_the_clean_tokens_are_asked_at_their_places():
    tokens = cloud(30)
    question = ask(Denoise(), {"cloud": tokens})
    asked, shown = question.queries["cloud"], question.context["cloud"]
    assert torch.equal(asked.values, tokens.values) and torch.equal(asked.codes, tokens.codes)
    assert torch.equal(asked.coords, shown.coords) and torch.equal(asked.index, shown.index)
    assert not question.causal and question.asks == "tokens"


def test_a_stream_of_codes_alone_has_no_values_to_corrupt():
    spec = TokenSpec(vocabulary=3, axes=(Axis("rank", "index"),), order="rank")
    empty, ranks = torch.zeros(40, 0), torch.arange(40.0)[:, None]
    window = {"words": Tokens(empty, ranks, empty.bool(), spec, codes=torch.zeros(40, dtype=torch.int64))}
    shown = ask(Denoise(replaced=0.0, unknown=0.5), window).context["words"]
    assert set(shown.codes.tolist()) == {UNKNOWN, 0} and shown.values.shape == (40, 0)


def test_training_asks_a_share_and_evaluation_all():
    task, window = Denoise(asked=0.25), {"cloud": cloud(40)}
    question = ask(task, window)
    assert len(question.queries["cloud"]) == 10 and len(question.context["cloud"]) == 40
    assert len(task.complete(window).queries["cloud"]) == 40


def test_a_question_is_a_function_of_the_generator_of_the_sample_alone():
    task, window = Denoise(asked=0.5), {"cloud": cloud(20)}
    one, same, other = (ask(task, window, sample, step) for sample, step in ((3, 0), (3, 1), (4, 0)))
    for part in ("context", "queries"):
        first, second, third = (getattr(question, part)["cloud"] for question in (one, same, other))
        assert torch.equal(first.values, second.values) and torch.equal(first.codes, second.codes)
        assert not torch.equal(first.values, third.values)
    first, same, other = (task.complete(window, seed).context["cloud"].values for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_samples_of_no_one_and_two_tokens_stack():
    questions = [ask(Denoise(asked=0.5), {"cloud": cloud(count)}) for count in (0, 1, 2)]
    stacked = stack_questions(questions)
    assert stacked.context["cloud"].present.sum(dim=-1).tolist() == [0, 1, 2]
    assert stacked.queries["cloud"].present.sum(dim=-1).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replaced": 0.6, "unknown": 0.5}, "replaced . unknown is 1.1, expected at most 1. Lower one of them"),
        ({"noise": (1.0, 0.2)}, r"noise: \[1.0, 0.2\] is no range, expected 0 <= low <= high"),
        ({"noise": (-0.1, 0.2)}, r"noise: \[-0.1, 0.2\] is no range, expected 0 <= low <= high"),
        ({"replaced": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_corruption_that_can_not_be_is_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        Denoise(**options)


def test_shares_that_sum_to_one_but_for_rounding_are_allowed():
    assert Denoise(replaced=0.7, unknown=0.3).unknown == 0.3


ORDERED = TokenSpec(vocabulary=1000, axes=(Axis("rank", "index"),), order="rank", ragged=True)


def ordered(count: int) -> Tokens:
    """Tokens in an order, whose codes are their ranks."""
    empty = torch.zeros(count, 0)
    return Tokens(empty, torch.arange(float(count))[:, None], empty.bool(), ORDERED, codes=torch.arange(count) % 1000)


def test_spans_are_corrupted_alike():
    task = Denoise(replaced=0.0, unknown=0.2, span=4)
    shown = ask(task, {"s": ordered(20_000)}).context["s"].codes
    is_unknown = (shown == UNKNOWN).numpy()
    runs = np.flatnonzero(np.diff(is_unknown.astype(int)) == 1).size
    assert is_unknown.mean() == pytest.approx(0.2, abs=0.02)
    assert is_unknown.sum() / runs == pytest.approx(
        4 / 0.8, rel=0.1
    )  # spans of 4 in the mean, a fifth of which meet another


def test_nothing_tells_where_a_token_was_deleted():
    question = ask(Denoise(replaced=0.0, unknown=0.0, deleted=0.3), {"s": ordered(1000)})
    shown, asked = question.context["s"], question.queries["s"]
    assert 650 < len(shown) < 750 and len(asked) == 1000
    assert torch.equal(shown.coords[:, 0], torch.arange(float(len(shown))))
    assert (shown.codes.diff() > 0).all()  # in their order
    assert torch.equal(asked.coords, ordered(1000).coords)


def test_a_deleted_token_of_a_set_leaves_the_others_where_they_are():
    question = ask(Denoise(noise=(0.0, 0.0), replaced=0.0, unknown=0.0, deleted=0.5), {"cloud": cloud(40)})
    shown = question.context["cloud"]
    assert 0 < len(shown) < 40 and torch.equal(shown.coords, cloud(40).coords[shown.index])


def test_shuffled_tokens_change_places_within_their_span():
    task = Denoise(replaced=0.0, unknown=0.0, shuffled=0.5, span=5)
    shown = ask(task, {"s": ordered(1000)}).context["s"].codes
    moved = (shown - torch.arange(1000)).abs()
    assert torch.equal(shown.sort().values, torch.arange(1000)) and 0.2 < (moved > 0).float().mean() < 0.5
    assert moved.max() < 60 and moved[moved > 0].float().mean() < 10
