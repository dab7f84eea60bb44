"""Translation: some streams are shown, others asked."""

import numpy as np
import pytest
import torch

from statecast.config import RecipeError, read_recipe
from statecast.tasks import Translate


def test_one_stream_is_asked_of_the_other(window):
    window = {name: tokens.numbered() for name, tokens in window.items()}
    question = Translate(to=("b",), slabs=4).complete(window)
    assert question.context.keys() == {"a"} and question.queries.keys() == {"b"}
    assert question.context["a"] is window["a"] and question.queries["b"] is window["b"]


def test_a_training_sample_asks_a_share_and_shows_all(window):
    question = Translate(to=("b",), slabs=4, asked=0.5)(window, np.random.default_rng(0), np.random.default_rng(1))
    assert len(question.queries["b"]) == 60 and len(question.context["a"]) == len(window["a"])


def test_a_training_sample_lacks_a_share_of_what_is_visible_and_evaluation_lacks_nothing(window):
    task, whole = Translate(to=("b",), slabs=4, left_out=0.25), window["a"].numbered()
    question = task(window, np.random.default_rng(0), np.random.default_rng(1))
    shown = question.context["a"]
    assert len(shown) == round(0.75 * len(whole)) == len(shown.index.unique()) and len(question.queries["b"]) == 120
    assert torch.equal(shown.values, whole.values[shown.index])
    assert len(task.complete(window).context["a"]) == len(whole)


@pytest.mark.parametrize(
    ("to", "message"), [(["rain"], "there is no stream rain. Streams: atmosphere"), (["atmosphere"], "nothing is left")]
)
def test_streams_that_cannot_be_asked_are_refused(to, message):
    values = read_recipe("quickstart").as_dict() | {"task": {"kind": "translate", "to": to}}
    with pytest.raises(RecipeError, match=message):
        read_recipe(values)
