"""Representations: features of the encoder by layer and stream, labelled; padding has no part in them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_domains import chain, points

import statecast as sc
from statecast.representation import embed, encode_window
from statecast.streams import stack
from statecast.trained import ModelError, TrainedModel

MODEL = {"width": 32, "heads": 2, "encoder_layers": 2, "decoder_layers": 1, "members": 4}
TRAINING = {"steps": 1, "batch_size": 2, "footprint": False}
BLOCKS = MODEL["encoder_layers"]


def train(domain, module, streams, task, folder: Path) -> TrainedModel:
    module.write(folder / f"{domain}.npz", samples=40)
    recipe = {
        "data": {"domain": domain, "file": str(folder / f"{domain}.npz"), "train": [0, 29], "validate": [30, 39]},
        "streams": streams,
        "task": task,
        "model": MODEL,
        "training": TRAINING,
    }
    return sc.pretrain(recipe, folder / domain, progress=False)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> TrainedModel:
    """Of a ragged set of 3 to 9 points."""
    folder = tmp_path_factory.mktemp("cloud")
    return train("points", points, {"points": {"points": True}}, {"kind": "masked"}, folder)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> TrainedModel:
    """Of sequences, asked for their label."""
    streams = {"states": {"states": True}, "label": {"label": True}}
    folder = tmp_path_factory.mktemp("labelled")
    return train("chain", chain, streams, {"kind": "translate", "to": ["label"]}, folder)


def windows(trained: TrainedModel) -> list:
    cases = trained.domain.open(trained.recipe, "validate", trained.codecs).cases()
    return [cases[number] for number in range(len(cases))]


@torch.no_grad()
def test_layer_0_is_the_embedding_of_content_and_place(cloud):
    features = embed(cloud, layer=0, pool="none")["points"].values
    for number, window in enumerate(windows(cloud)):
        batch = stack([window])["points"][: len(window["points"])]
        expected = cloud.model.embed("points", batch) + cloud.model.coordinates(batch.coords)
        np.testing.assert_allclose(features[number, : len(window["points"])], expected[0], atol=1e-6)


@pytest.mark.parametrize("layer", [-1, BLOCKS])
@torch.no_grad()
def test_the_last_layer_is_what_the_decoder_reads(cloud, layer):
    features = embed(cloud, layer=layer, pool="none")["points"].values
    for number, window in enumerate(windows(cloud)):
        encoded = cloud.model.encode(stack([window])).tokens[0, : len(window["points"])]
        np.testing.assert_array_equal(features[number, : len(encoded)], encoded)


@torch.no_grad()
def test_a_layer_between_is_what_enters_the_next_block(cloud):
    window = windows(cloud)[0]
    entered = []
    hook = cloud.model.encoder[1].register_forward_pre_hook(lambda block, inputs: entered.append(inputs[0]))
    cloud.model.encode(stack([window]))
    hook.remove()
    found = encode_window(cloud, window, 1)["points"]
    assert torch.equal(found, entered[0][0, : len(found)]) and len(found) == len(window["points"])


@pytest.mark.parametrize("layer", [0, 1, -1])
def test_the_mean_is_that_over_the_tokens_without_padding(cloud, layer):
    each, mean = embed(cloud, layer=layer, pool="none"), embed(cloud, layer=layer)
    counts = [len(window["points"]) for window in windows(cloud)]
    assert len(set(counts)) > 1 and each.sizes["points_token"] == max(counts)
    for number, count in enumerate(counts):
        tokens = each["points"].values[number]
        assert np.isfinite(tokens[:count]).all() and np.isnan(tokens[count:]).all()
        np.testing.assert_allclose(mean["points"].values[number], tokens[:count].mean(axis=0), atol=1e-6)


def test_a_window_alone_has_the_representation_that_it_has_beside_others(cloud):
    together = embed(cloud)["points"].values
    alone = embed(cloud, period=("33", "33"))["points"].values
    np.testing.assert_array_equal(alone[0], together[3])


def test_the_sample_carries_what_the_domain_calls_it_and_tokens_their_places(labelled, tmp_path):
    embed(labelled, pool="none", out=tmp_path / "features.nc")
    with xr.open_dataset(tmp_path / "features.nc") as written:
        assert written["sample"].values.tolist() == list(range(30, 40))
        assert written["states"].dims == ("sample", "states_token", "feature")
        assert written["states_rank"].values.tolist() == list(range(16))


def test_places_that_differ_between_windows_are_not_written(cloud):
    assert not any(name.startswith("points_x") for name in embed(cloud, pool="none").coords)


def test_what_the_model_was_tuned_to_answer_is_not_shown_unless_it_is_named(labelled):
    assert set(embed(labelled).data_vars) == {"states"}
    both = embed(labelled, streams=("states", "label"))
    assert set(both.data_vars) == {"states", "label"}
    assert not np.allclose(both["states"], embed(labelled)["states"], atol=1e-4)  # the label is seen


def test_the_period_is_in_the_words_of_the_domain(labelled):
    assert embed(labelled, period=("3", "5"))["sample"].values.tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 3}, r"layer is 3, expected 0 \(the embedding\) to 2, or -1"),
        ({"layer": -4}, "layer is -4"),
        ({"streams": ("state",)}, "stream state: the model has no such stream. Streams: states, label"),
        ({"period": ("7", "6")}, "the period contains no window. Give a longer one"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(labelled, options, message):
    with pytest.raises(ModelError, match=message) as refused:
        embed(labelled, **options)
    assert "\n" not in str(refused.value)


def test_without_a_validation_split_a_period_has_to_be_named(labelled):
    data = labelled.recipe.data.model_copy(update={"validate_on": None})
    alone = TrainedModel(labelled.model, labelled.codecs, labelled.recipe.model_copy(update={"data": data}))
    with pytest.raises(ModelError, match="no validation split, and no period is given"):
        embed(alone)
    assert embed(alone, period=("0", "1")).sizes["sample"] == 2
