"""Models that an earlier version wrote still load and still answer the same. A change of the format adds a folder and never edits one."""

from pathlib import Path

import pytest
import torch
from tiny_domains import points

import statecast
from statecast.answer import predict_question
from statecast.fields.sources import open_fields
from statecast.fields.sources.record import Record
from statecast.fields.tokenizers import StreamSource

FROZEN = Path(__file__).parent / "frozen" / "format-5"


def test_a_model_of_fields_answers_as_it_did_when_it_was_written(make_weather):
    trained = statecast.load(FROZEN / "fields")
    codec = trained.codecs["fields"]
    source = StreamSource(Record.open(open_fields(make_weather(40)), codec.stream), codec)
    question = trained.recipe.task.complete({"fields": source.whole(130, 4).tokens()}, seed=0)
    members = predict_question(trained, question)["fields"].members
    assert members.shape[1:] == (8, 2, 96)
    expected = torch.tensor([-0.263108, -0.315923, -1.594677, -1.433487, 0.374289, 0.212552])
    torch.testing.assert_close(members[0, :3, 0, :2].flatten(), expected, rtol=0, atol=1e-4)


def test_a_model_of_a_stranger_answers_as_it_did_when_it_was_written(tmp_path):
    points.write(tmp_path / "points.npz", samples=60)
    trained = statecast.load(FROZEN / "points")
    recipe = trained.domain.with_data(trained.recipe, str(tmp_path / "points.npz"), ("50", "59"))
    source = trained.domain.open(recipe, "validate", trained.codecs)
    question = trained.recipe.task.complete(source.cases()[0])
    logits = predict_question(trained, question)["label"].logits[0, 0]
    torch.testing.assert_close(logits, torch.tensor([0.996421, -0.343613]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["fields", "points"])
def test_a_frozen_model_is_saved_again_as_it_is(name, tmp_path):
    statecast.load(FROZEN / name).save(tmp_path / "again")
    for file in ("model.safetensors", "recipe.yaml"):
        assert (tmp_path / "again" / file).read_bytes() == (FROZEN / name / file).read_bytes(), file
