"""Tokens hidden in turn: every token once in each partition, grouped by slab or by place."""

import numpy as np
import pytest
import torch

from statecast.axes import Axis
from statecast.streams import Tokens, TokenSpec
from statecast.tasks import Masked, Translate
from statecast.tasks.turns import in_turn


def tokens(*axes: Axis, coords: np.ndarray, order: str | None = None) -> Tokens:
    coords = torch.tensor(coords, dtype=torch.float32)
    spec = TokenSpec(size=1, axes=axes, order=order)
    values = torch.arange(len(coords), dtype=torch.float32)[:, None]
    return Tokens(values, coords, torch.ones_like(values, dtype=torch.bool), spec)


FIELD = tokens(
    Axis("place", "plane"), Axis("step", "index"), coords=np.array([[x, 0, t] for t in range(3) for x in range(8)]), order="step"
)  # fmt: skip


@pytest.mark.parametrize("parts", [2, 4, 30])
def test_each_token_is_asked_once_in_each_partition_and_is_visible_otherwise(parts):
    partitions = in_turn({"a": FIELD}, parts)
    assert len(partitions) == 2
    for questions in partitions:
        asked = torch.cat([question.queries["a"].index for question in questions])
        assert sorted(asked.tolist()) == list(range(24))
        for question in questions:
            shown = question.context["a"].index.tolist()
            assert sorted(shown + question.queries["a"].index.tolist()) == list(range(24))


def test_tokens_of_a_slab_and_tokens_of_a_place_are_hidden_together():
    by_slab, by_place = in_turn({"a": FIELD}, 4)
    assert [question.queries["a"].coords[:, 2].unique().tolist() for question in by_slab] == [[0.0], [1.0], [2.0]]
    for question in by_place:
        places = question.queries["a"].coords[:, 0]
        assert len(places) == 3 * len(places.unique()) == 6


def test_without_order_or_place_tokens_are_divided_at_random():
    plain = tokens(Axis("pressure", "level"), coords=np.arange(1.0, 11)[:, None])
    ((first, *rest),) = in_turn({"a": plain, "one": plain[:1]}, 5)
    assert len(rest) == 4 and "one" not in first.queries and len(first.context["one"]) == 1
    assert first.queries["a"].index.tolist() != [0, 5]
    ((again, *_),) = in_turn({"a": plain}, 5)
    assert again.queries["a"].index.tolist() == first.queries["a"].index.tolist()
    ((other, *_),) = in_turn({"a": plain}, 5, seed=1)
    assert other.queries["a"].index.tolist() != first.queries["a"].index.tolist()


def test_a_task_that_hides_nothing_at_random_asks_its_one_question():
    window = {"a": FIELD, "b": FIELD}
    ((question,),) = Translate(to=("b",)).in_turn(window, 4)
    assert list(question.queries) == ["b"] and list(question.context) == ["a"]
    assert len(Masked().in_turn(window, 4)) == 2
