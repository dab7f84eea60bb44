"""What the answer to one token comes from: weights that sum to 1, gradients that finite differences confirm, refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_domains import chain, points

import statecast as sc
from statecast.explain.sensitivity import as_batch
from statecast.explain.tokens import TokenError, explain_token, question_about
from statecast.streams import Question
from statecast.trained import ModelError, TrainedModel

MODEL = {"width": 32, "heads": 2, "encoder_layers": 2, "decoder_layers": 2, "members": 4}
TRAINING = {"steps": 2, "batch_size": 2, "footprint": False}
SAMPLE, STEP = 3, 1e-5


def train(folder: Path, domain: str, module, stream: dict, task: dict) -> TrainedModel:
    """In double precision, for finite differences."""
    module.write(folder / "data.npz", samples=40)
    recipe = {
        "data": {"domain": domain, "file": str(folder / "data.npz"), "train": [0, 29], "validate": [30, 39]},
        "streams": stream | {"label": {"label": True}},
        "task": task,
        "model": MODEL,
        "training": TRAINING,
    }
    trained = sc.pretrain(recipe, folder / "run", progress=False)
    trained.model.double()
    return trained


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> TrainedModel:
    return train(tmp_path_factory.mktemp("cloud"), "points", points, {"points": {"points": True}}, {"kind": "masked"})


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> TrainedModel:
    return train(tmp_path_factory.mktemp("chain"), "chain", chain, {"states": {"states": True}}, {"kind": "next"})


@pytest.fixture(scope="module")
def label(tmp_path_factory) -> TrainedModel:
    task = {"kind": "translate", "to": ["label"]}
    return train(tmp_path_factory.mktemp("label"), "points", points, {"points": {"points": True}}, task)


def window(trained: TrainedModel, sample: int = SAMPLE):
    return trained.domain.open(trained.recipe, "validate", trained.codecs).cases()[sample]


def question(trained: TrainedModel, stream: str, number: int) -> Question:
    return as_batch(question_about(trained, window(trained), stream, number), trained.model)


@torch.no_grad()
def answer(trained: TrainedModel, asked: Question, member: int | None = None) -> float:
    ((_, said),) = trained.model.answer(asked).items()
    if said.members is not None:
        return (said.mean() if member is None else said.members[..., member, :])[0, 0].mean().item()
    return said.logits[0, 0].log_softmax(dim=-1).max().item()


@pytest.mark.parametrize("member", [None, 2])
def test_sensitivity_is_what_finite_differences_give(cloud, member):
    explained = explain_token(cloud, sample=SAMPLE, token="points:1", members="mean" if member is None else member)
    asked = question(cloud, "points", 1)
    tokens = asked.context["points"]
    assert explained["points_token"].values.tolist() == tokens.index[0].tolist()
    for n in range(len(tokens)):
        sides = []
        for step in (STEP, -STEP):
            values = tokens.values.clone()
            values[0, n] += step
            sides.append(
                answer(cloud, replace(asked, context=asked.context | {"points": tokens.replace(values)}), member)
            )
        found = float(explained["points_sensitivity"][n, 0])
        assert found == pytest.approx((sides[0] - sides[1]) / (2 * STEP), rel=1e-5, abs=1e-9)
    assert np.abs(explained["points_sensitivity"]).max() > 1e-6


@pytest.mark.parametrize("which", ["cloud", "label"])
def test_saliency_is_the_length_of_the_gradient_by_finite_differences(which, request):
    trained = request.getfixturevalue(which)
    token = "points:1" if which == "cloud" else "label"
    explained = explain_token(trained, sample=SAMPLE, token=token)
    asked = question(trained, *(("points", 1) if which == "cloud" else ("label", 0)))
    gradient = np.zeros(MODEL["width"])
    for feature in range(MODEL["width"]):
        sides = []
        for step in (STEP, -STEP):
            hook = trained.model.encoder[0].register_forward_pre_hook(
                lambda block, inputs, f=feature, s=step: _moved(inputs, f, s)
            )
            sides.append(answer(trained, asked))
            hook.remove()
        gradient[feature] = (sides[0] - sides[1]) / (2 * STEP)
    assert float(explained["points_saliency"][0]) == pytest.approx(np.linalg.norm(gradient), rel=1e-5)


def _moved(inputs, feature: int, step: float):
    tokens = inputs[0].clone()
    tokens[0, 0, feature] += step
    return (tokens, *inputs[1:])


def test_attention_and_roll_out_sum_to_1_over_the_tokens_of_all_streams(cloud):
    explained = explain_token(cloud, sample=SAMPLE, token="points:1")
    for name in ("decoder_attention", "encoder_attention", "rollout"):
        total = sum(explained[f"{stream}_{name}"].sum(f"{stream}_token") for stream in ("points", "label"))
        np.testing.assert_allclose(total, 1, rtol=1e-12)
    assert explained["points_decoder_attention"].dims == ("decoder_layer", "head", "points_token")
    assert explained["points_decoder_attention"].shape[:2] == (2, 2)


@pytest.mark.parametrize("number", [1, 5])
def test_what_a_token_does_not_see_has_no_part_in_its_answer(sequence, number):
    explained = explain_token(sequence, sample=SAMPLE, token=f"states:{number}")
    later = explained["states_rank"] >= number
    for name in ("decoder_attention", "encoder_attention", "rollout", "saliency"):
        weights = explained[f"states_{name}"]
        assert not weights.where(later, 0).any() and (weights.where(~later, 1) > 0).all()
    total = explained["states_decoder_attention"].sum("states_token")
    np.testing.assert_allclose(total + explained["label_decoder_attention"].sum("label_token"), 1, rtol=1e-12)


def test_tokens_carry_their_number_and_place(cloud, tmp_path):
    explained = explain_token(cloud, sample=SAMPLE, token="points:1", out=tmp_path / "e")
    assert explained.attrs["title"] == "What the answer to points:1 of 33 comes from"
    shown = window(cloud)["points"][explained["points_token"].values.tolist()]
    np.testing.assert_allclose(explained["points_x"], shown.coordinate("x"))
    with xr.open_dataset(tmp_path / "e" / "explain.nc") as written:
        xr.testing.assert_allclose(written, explained)


def test_the_asked_token_is_not_among_those_that_are_shown(cloud):
    for number in range(3):
        asked = question(cloud, "points", number)
        assert asked.queries["points"].index.tolist() == [[number]]
        clean = cloud.recipe.task.model_copy(update={"noise": 0.0, "climatology": 0.0})
        of_clean = replace(cloud, recipe=cloud.recipe.model_copy(update={"task": clean}))
        assert number not in question(of_clean, "points", number).context["points"].index


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": "point:1"}, "token point:1: there is no stream point. Streams: points, label. Name one of them"),
        ({"token": "points"}, r"token points: expected points:NUMBER with a number of 0 to \d"),
        ({"token": "points:99"}, r"token points:99: expected points:NUMBER with a number of 0 to \d"),
        ({"token": "points:-1"}, "token points:-1: expected points:NUMBER"),
        ({"token": "label"}, "token label:0: the task 'masked' shows it in each of 100 random layouts"),
        ({"token": "points:1", "sample": 10}, "sample 10: the split has samples 0 to 9. Name one of them"),
        ({"token": "points:1", "sample": -1}, "sample -1: the split has samples 0 to 9"),
    ],
)
def test_a_sample_or_token_that_is_not_there_is_refused_in_one_line(cloud, options, message):
    with pytest.raises(TokenError, match=message) as refused:
        explain_token(cloud, **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("member", [4, -1])
def test_a_member_that_the_head_has_not_is_refused(cloud, member):
    with pytest.raises(ModelError, match=f"members is {member}, expected mean or the number of one, 0 to 3"):
        explain_token(cloud, token="points:1", members=member)


def test_without_a_validation_split_a_period_has_to_be_named(cloud):
    data = cloud.recipe.data.model_copy(update={"validate_on": None})
    alone = replace(cloud, recipe=cloud.recipe.model_copy(update={"data": data}))
    with pytest.raises(ModelError, match="no validation split, and no period is given"):
        explain_token(alone, token="points:1")
    assert explain_token(alone, period=("3", "5"), token="points:1").attrs["title"].endswith("of 3 comes from")
