"""Each question about pictures trains, is evaluated beside its peers and drawn; bad input gets one line and leaves nothing."""

import json

import numpy as np
import pytest
import xarray as xr

import statecast as sc
from statecast.images.errors import ImageError
from statecast.images.evaluation.evaluate import evaluate
from statecast.labels import LabelError
from statecast.trained import ModelError

LABEL = {"kind": {"label": "folder"}}
MASK = {"mask": {"mask": "objects", "patch": [4, 4]}}
BOXES = {"boxes": {"cell": [8, 8]}}
COLOURS = {
    "brightness": {"channels": ["brightness"], "patch": [4, 4]},
    "colour": {"channels": ["blue_difference", "red_difference"], "patch": [4, 4]},
}
PIECES = {"pixels": {"channels": ["red", "green", "blue"], "patch": [8, 8]}}
QUESTIONS = {
    "inpaint": ({}, {}, {"linear interpolation", "mean", "marginal", "model"}, {"rmse_pixels", "psnr_db", "ssim"}),
    "denoise": ({}, {"kind": "denoise"}, {"as shown", "local mean", "mean", "marginal", "model"}, {"rmse_pixels"}),
    "jigsaw": (PIECES, {"kind": "arrange", "axes": ["place"]}, {"chance", "model"}, {"accuracy"}),
    "colour": (COLOURS, {"kind": "translate", "to": ["colour"]}, {"mean", "marginal", "model"}, {"rmse_pixels"}),
    "label": (LABEL, {"kind": "translate", "to": ["kind"]}, {"logistic on pixels", "marginal", "model"}, {"accuracy"}),
    "mask": (MASK, {"kind": "translate", "to": ["mask"]}, {"threshold", "marginal", "model"}, {"dice", "iou"}),
    "boxes": (
        BOXES,
        {"kind": "translate", "to": ["boxes"]},
        {"bright components", "dark components", "marginal", "model"},
        {"average_precision"},
    ),
}


def changed(recipe: dict, streams: dict, task: dict) -> dict:
    known = {} if "brightness" in streams else recipe["streams"]
    return recipe | {"streams": known | streams, "task": task or recipe["task"]}


@pytest.mark.parametrize("name", list(QUESTIONS))
def test_a_question_trains_and_is_evaluated_beside_its_peers(recipe, tmp_path, name):
    streams, task, forecasts, metrics = QUESTIONS[name]
    trained = sc.pretrain(changed(recipe, streams, task), tmp_path / "run", progress=False)
    found = evaluate(tmp_path / "run", out=tmp_path / "scores", progress=False)
    records = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert {record["forecast"] for record in records} == forecasts
    assert metrics <= {record["metric"] for record in records if record["forecast"] == "model"}
    assert all(record["low"] <= record["value"] <= record["high"] for record in records)
    assert (tmp_path / "scores" / "report.html").read_text().count("data:image/png") == 1
    assert len(found.tables()[0][1]) == len(records) + 1 and trained.domain.name == "images"


def test_pixels_are_known_from_a_pretrained_model_and_features_say_the_class(recipe, tmp_path):
    sc.pretrain(recipe, tmp_path / "base", progress=False)
    tuned = sc.finetune(
        changed(recipe, LABEL, {"kind": "translate", "to": ["kind"]}),
        tmp_path / "base",
        tmp_path / "run",
        progress=False,
    )
    assert tuned.codecs["kind"].classes == ("blue", "red")
    features = sc.embed(tmp_path / "base")
    assert features["pixels"].shape == (4, 32) and isinstance(features, xr.Dataset)


def test_frames_of_a_film_are_arranged(recipe, tmp_path):
    film = np.random.default_rng(0).uniform(size=(24, 8, 8)).astype(np.float32)
    xr.Dataset({"t": (("time", "y", "x"), film)}).to_netcdf(tmp_path / "film.nc")
    data = {"domain": "images", "files": str(tmp_path / "film.nc"), "train": [0, 3], "validate": [4, 5], "frames": 4}
    streams = {"pixels": {"channels": ["t"], "patch": [8, 8]}}
    task = {"kind": "arrange", "axes": ["frame"]}
    sc.pretrain(recipe | {"data": data, "streams": streams, "task": task}, tmp_path / "run", progress=False)
    scores = evaluate(tmp_path / "run", out=tmp_path / "scores", progress=False).tables()[0][1]
    assert ["pixels", "chance", "accuracy", "0.25"] in [row[:4] for row in scores]


@pytest.mark.parametrize(
    ("streams", "data", "error", "message"),
    [
        (
            LABEL,
            {"shuffle": False, "train": [0, 7], "validate": None},
            LabelError,
            "stream kind: the training split has the single label blue",
        ),
        ({"kind": {"label": "species"}}, {}, ImageError, "label species: the pictures have none of this name"),
        (
            LABEL,
            {"files": "sample:digits", "boxes": None},
            ImageError,
            "label folder: the pictures have none of this name",
        ),
        ({"pixels": {"channels": ["infrared"], "patch": [4, 4]}}, {}, ImageError, "has no channel infrared"),
        ({"pixels": {"channels": ["red"], "patch": [5, 4]}}, {}, ImageError, "5 does not divide the 16 rows"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(recipe, tmp_path, streams, data, error, message):
    bad = recipe | {"data": recipe["data"] | data, "streams": recipe["streams"] | streams}
    with pytest.raises(error, match=message) as caught:
        sc.pretrain(bad, tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_pictures_of_another_size_and_a_new_class_are_refused(recipe, tmp_path):
    data = recipe["data"] | {"shuffle": False, "train": [4, 11], "validate": [12, 15], "boxes": None}
    task = {"kind": "translate", "to": ["kind"]}
    sc.pretrain(changed(recipe | {"data": data}, LABEL, task), tmp_path / "run", progress=False)
    np.savez(tmp_path / "small.npz", images=np.zeros((2, 8, 8, 3), np.uint8), folder=np.array(["blue", "red"]))
    with pytest.raises(ModelError, match="stream pixels: the model knows it as"):
        evaluate(tmp_path / "run", str(tmp_path / "small.npz"), out=tmp_path / "scores", progress=False)
    np.savez(tmp_path / "other.npz", images=np.zeros((2, 16, 16, 3), np.uint8), folder=np.array(["green", "red"]))
    with pytest.raises(LabelError, match="label green: the model learned the classes blue, red"):
        evaluate(tmp_path / "run", str(tmp_path / "other.npz"), out=tmp_path / "scores", progress=False)
    assert not (tmp_path / "scores").exists()
