"""Translation: some streams are shown, others asked."""

import numpy as np
import pytest

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


@pytest.mark.parametrize(
    ("to", "message"), [(["rain"], "there is no stream rain. Streams: atmosphere"), (["atmosphere"], "nothing is left")]
)
def test_streams_that_cannot_be_asked_are_refused(to, message):
    values = read_recipe("quickstart").as_dict() | {"task": {"kind": "translate", "to": to}}
    with pytest.raises(RecipeError, match=message):
        read_recipe(values)
