"""Masked pre-training of sets and sequences: codes, ragged samples, streams without an order, blocks along any axis."""

import numpy as np
import pytest
import torch

from statecast.axes import Axis
from statecast.streams import UNKNOWN, Tokens, TokenSpec, stack_questions
from statecast.tasks import Masked, TaskError

CODES = 6
PLACE, RANK = Axis("place", "plane", spacing=0.5), Axis("rank", "index")
CLOUD = TokenSpec(size=1, vocabulary=CODES, axes=(PLACE,), ragged=True)
WORDS = TokenSpec(vocabulary=CODES, axes=(RANK,), order="rank", ragged=True)
LABEL = TokenSpec(vocabulary=2)
SINGLE = {"later_slabs": 0.0, "blocks": 0.0, "streams": 0.0}
CLEAN = {"noise": 0.0, "climatology": 0.0}
HALF = {"hidden": (0.5, 0.5)}


def cloud(count: int, seed: int = 0) -> Tokens:
    random = torch.Generator().manual_seed(seed)
    values, coords = (torch.rand(count, size, generator=random) for size in (1, 2))
    codes = torch.randint(CODES, (count,), generator=random)
    return Tokens(values, coords, torch.ones(count, 1, dtype=torch.bool), CLOUD, codes=codes)


def words(length: int) -> Tokens:
    empty = torch.zeros(length, 0)
    return Tokens(empty, torch.arange(float(length))[:, None], empty.bool(), WORDS, codes=torch.arange(length) % CODES)


def label() -> Tokens:
    return Tokens(torch.zeros(1, 0), torch.zeros(1, 0), torch.zeros(1, 0).bool(), LABEL, codes=torch.tensor([1]))


def ask(task: Masked, window, sample: int = 0, step: int = 0):
    return task(window, np.random.default_rng([sample, 0]), np.random.default_rng([step, 1]))


def split_of(question, name: str) -> tuple[list[int], list[int]]:
    return question.context[name].index.tolist(), question.queries[name].index.tolist()


@pytest.mark.parametrize("task", [Masked(**SINGLE, **CLEAN), Masked(later_slabs=1.0, **CLEAN)])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
def test_of_few_tokens_one_is_hidden_and_one_stays(task, count):
    for sample in range(10):
        shown, asked = split_of(ask(task, {"cloud": cloud(count)}, sample), "cloud")
        assert sorted(shown + asked) == list(range(count))
        assert len(asked) >= (count > 1) and len(shown) >= (count > 0)


def test_ragged_samples_stack_and_the_same_share_of_each_is_hidden():
    counts = (0, 1, 2, 8, 40)
    questions = [
        ask(Masked(hidden=(0.25, 0.25), **SINGLE, **CLEAN), {"cloud": cloud(count)}, count) for count in counts
    ]
    stacked = stack_questions(questions)
    assert stacked.queries["cloud"].present.sum(dim=-1).tolist() == [0, 0, 1, 2, 10]
    assert stacked.context["cloud"].present.sum(dim=-1).tolist() == [0, 1, 1, 6, 30]


def test_without_an_order_later_slabs_hide_single_tokens():
    window = {"cloud": cloud(40)}
    one, other = (ask(Masked(**kind, **HALF, **CLEAN), window) for kind in ({"later_slabs": 1.0}, SINGLE))
    assert split_of(one, "cloud") == split_of(other, "cloud")
    assert len(one.queries["cloud"]) == 20


@pytest.mark.parametrize("length", [2, 3, 9, 40])
def test_later_slabs_of_a_sequence_hide_its_end(length):
    seen = set()
    for step in range(30):
        shown, asked = split_of(ask(Masked(later_slabs=1.0, **CLEAN), {"words": words(length)}, step=step), "words")
        assert shown + sorted(asked) == list(range(length))
        seen.add(len(shown))
    assert seen == {max(1, length // 3), 2 * length // 3}  # of three slabs one or two are visible


def test_codes_are_shown_as_noise_and_as_unknown_in_their_shares():
    count = 4000
    question = ask(Masked(noise=0.4, climatology=0.2, **HALF, **SINGLE), {"cloud": cloud(count)})
    shown, truth = question.context["cloud"], cloud(count)
    clean, noised, unknown = shown[: count // 2], shown[count // 2 : count // 2 + 800], shown[count // 2 + 800 :]
    assert torch.equal(clean.codes, truth.codes[clean.index]) and torch.equal(clean.values, truth.values[clean.index])
    assert len(unknown) == 400 and (unknown.codes == UNKNOWN).all() and not unknown.values.any()
    counts = torch.bincount(noised.codes, minlength=CODES)
    assert len(counts) == CODES and (counts - 800 / CODES).abs().max() < 50  # all alike, within 4 standard deviations
    assert (noised.codes == truth.codes[noised.index]).float().mean().item() == pytest.approx(1 / CODES, abs=0.06)
    assert abs(noised.values.mean()) < 0.15 and abs(noised.values.std() - 1) < 0.1
    assert torch.equal(shown.coords, truth.coords[shown.index])


def test_what_is_asked_is_the_true_code_whatever_is_shown():
    asked = ask(Masked(noise=0.5, climatology=0.5, **HALF, **SINGLE), {"cloud": cloud(100)}).queries["cloud"]
    assert torch.equal(asked.codes, cloud(100).codes[asked.index])


def test_blocks_on_a_plane_hide_what_is_nearest_to_four_centres():
    tokens, random = cloud(60), np.random.default_rng([4, 0])
    centres = tokens.coords.numpy()[random.integers(60, size=4)] / 0.5
    distance = ((tokens.coords.numpy()[:, None] / 0.5 - centres) ** 2).sum(axis=-1).min(axis=1)
    _, asked = split_of(ask(Masked(blocks=1.0, later_slabs=0.0, **HALF, **CLEAN), {"cloud": tokens}, 4), "cloud")
    assert set(asked) == set(distance.argsort()[:30].tolist())


def test_blocks_along_a_sequence_are_at_most_four_stretches():
    for sample in range(10):
        task = Masked(blocks=1.0, later_slabs=0.0, hidden=(0.3, 0.3), **CLEAN)
        _, asked = split_of(ask(task, {"words": words(100)}, sample), "words")
        stretches = 1 + int((np.diff(np.sort(asked)) > 1).sum())
        assert len(asked) == 30 and stretches <= 4


def test_blocks_of_a_stream_with_a_place_and_an_order_hide_a_place_at_all_times():
    spec = TokenSpec(size=1, axes=(PLACE, RANK), order="rank")
    at = torch.cartesian_prod(torch.arange(10.0), torch.arange(4.0))  # ten places, at four times each
    coords = torch.stack([at[:, 0], torch.zeros(40), at[:, 1]], dim=1)
    window = {"cells": Tokens(at[:, :1], coords, torch.ones(40, 1, dtype=torch.bool), spec)}
    for sample in range(5):
        task = Masked(blocks=1.0, later_slabs=0.0, hidden=(0.4, 0.4), **CLEAN)
        asked = ask(task, window, sample).queries["cells"]
        assert asked.values.unique(return_counts=True)[1].tolist() == [4, 4, 4, 4]


def test_two_tokens_at_the_same_place_are_two_tokens():
    tokens = cloud(40)
    tokens.coords.zero_()
    for kind in (SINGLE, {"blocks": 1.0, "later_slabs": 0.0}):
        question = ask(Masked(**kind, **HALF, **CLEAN), {"cloud": tokens})
        shown, asked = split_of(question, "cloud")
        assert len(asked) == 20 and sorted(shown + asked) == list(range(40))
        assert torch.equal(question.queries["cloud"].codes, tokens.codes[asked])


def test_a_label_is_shown_or_hidden_wholly():
    window = {"cloud": cloud(10), "label": label()}
    for step in range(5):
        question = ask(Masked(**SINGLE), window, step=step)
        assert len(question.context["label"]) == 1 and len(question.queries["label"]) == 0
    hidden = {next(iter(ask(Masked(streams=1.0, later_slabs=0.0), window, step=step).queries)) for step in range(20)}
    assert hidden == {"cloud", "label"}


def test_a_question_is_a_function_of_the_generators():
    task, window = Masked(**SINGLE, **HALF), {"cloud": cloud(40)}
    one, same, other = (ask(task, window, sample) for sample in (3, 3, 4))
    for part in ("context", "queries"):
        first, second, third = (getattr(question, part)["cloud"] for question in (one, same, other))
        assert torch.equal(first.codes, second.codes) and torch.equal(first.values, second.values)
        assert not torch.equal(first.index, third.index)


def test_blocks_of_tokens_that_lie_nowhere_are_refused():
    with pytest.raises(
        TaskError, match=r"task.blocks is 0.1, but the tokens of stream label have no place and no order"
    ):
        Masked(blocks=0.1).require({"cloud": CLOUD, "label": LABEL})
    Masked(blocks=0.1).require({"cloud": CLOUD, "words": WORDS})
    Masked().require({"label": LABEL})


def test_masking_needs_no_order():
    Masked().require({"cloud": CLOUD})


@pytest.mark.parametrize("length", [2, 3, 7])
def test_a_sequence_with_fewer_tokens_than_slabs_still_shows_its_first_token(length):
    for step in range(5):
        question = ask(Masked(slabs=8, later_slabs=1.0, **CLEAN), {"words": words(length)}, step=step)
        assert len(question.context["words"]) >= 1 and len(question.queries["words"]) >= 1
        assert question.context["words"].index[0] == 0
