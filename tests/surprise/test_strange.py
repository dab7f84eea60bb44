"""Strange samples and tokens of two domains that the core does not know, by models of every head."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_domains import chain, points

import statecast as sc
from statecast.surprise.score import Asking, surprises
from statecast.surprise.strange import Search
from statecast.surprise.usual import usual
from statecast.trained import ModelError, TrainedModel

MODEL = {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 4}
POINTS, STATES = {"points": {"points": True}}, {"states": {"states": True}}
FEW = Search(windows=8, parts=3)


def train(folder: Path, module, streams: dict, task: dict, steps: int = 2, **model) -> TrainedModel:
    domain = module.DOMAIN.name
    module.write(folder / f"{domain}.npz", samples=120, **({"chains": 1} if domain == "chain" else {}))
    recipe = {
        "data": {"domain": domain, "file": str(folder / f"{domain}.npz"), "train": [0, 99], "validate": [100, 109]},
        "streams": streams,
        "task": task,
        "model": MODEL | model,
        "training": {"steps": steps, "batch_size": 16, "learning_rate": 3e-3, "footprint": False, "loggers": []},
    }
    return sc.pretrain(recipe, folder / "run", progress=False)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> TrainedModel:
    return train(tmp_path_factory.mktemp("cloud"), points, POINTS, {"kind": "masked"})


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> TrainedModel:
    return train(tmp_path_factory.mktemp("chain"), chain, STATES, {"kind": "next"}, steps=60)


def windows(trained: TrainedModel, numbers=(0, 1, 2)) -> list:
    cases = trained.domain.open(trained.recipe, "validate", trained.codecs).cases()
    return [cases[number] for number in numbers]


@pytest.mark.parametrize("head", ["ensemble", "point", "flow"])
def test_every_token_of_a_set_is_scored_once_by_any_head(tmp_path, head, cloud):
    trained = cloud if head == "ensemble" else train(tmp_path, points, POINTS, {"kind": "masked"}, head=head)
    for window, found in zip(windows(trained), surprises(trained, windows(trained), Asking(3)), strict=True):
        assert found["points"].nats.shape == (len(window["points"]), 2)  # the height, and the colour
        assert np.isfinite(found["points"].nats).all() and np.isfinite(found["points"].excess).all()


def test_a_sample_is_as_surprising_alone_as_in_a_batch(cloud):
    together = surprises(cloud, windows(cloud), Asking(3))
    for number, found in enumerate(together):
        (alone,) = surprises(cloud, windows(cloud, [number]), Asking(3))
        np.testing.assert_allclose(alone["points"].nats, found["points"].nats, rtol=1e-4, atol=1e-5)


def test_a_state_that_the_chain_does_not_take_is_found_with_its_rank(sequence, tmp_path):
    """Of the other states that may stand there, all are seven times as rare."""
    file = tmp_path / "broken.npz"
    with np.load(sequence.recipe.data.file) as known:
        arrays = {name: values.copy() for name, values in known.items()}
    likely = chain.CHAINS[0].argmax(axis=-1)
    before, at = arrays["states"][105], 9
    for rank in range(1, len(before)):
        before[rank] = likely[before[rank - 1]]
    before[at:] = (before[at:] + 2) % 4  # the chain goes on from there as it should
    np.savez(file, **arrays)
    found = sc.anomalies(sequence, str(file), ("105", "105"), tmp_path / "out", search=FEW, progress=False)
    assert (found.tables.samples["stream"][0], found.tables.samples["token"][0]) == ("states", at)
    assert found.tables.samples["which"][0] == f"rank {at}, code {chain.STATES[before[at]]}"
    rows = found.tables.tokens
    first = np.flatnonzero(rows["token"] == at)[0]
    assert rows["surprise"][first] > 1.5 and rows["surprise"][rows["token"] != at].max() < 1.5


def test_the_score_of_a_sequence_is_its_exact_log_likelihood(sequence):
    """One causal pass: the sum over the tokens is what the model says of the whole sequence."""
    (window,) = windows(sequence, [0])
    (found,) = surprises(sequence, [window], Asking(3))
    question = sequence.recipe.task.complete(window)
    from statecast.answer import predict_question

    logits = predict_question(sequence, question)["states"].logits[0]
    log_p = logits.log_softmax(dim=-1).gather(-1, window["states"].codes[:, None]).sum()
    assert np.nansum(found["states"].nats) == pytest.approx(-log_p.item(), rel=1e-5)


def test_what_lies_beyond_the_limits_is_scored_but_not_shown(cloud):
    (window,) = windows(cloud, [1])
    tokens = window["points"]
    wrong = tokens.replace(tokens.values.clone().index_fill_(0, torch.tensor([0]), 1e4))
    limits = {"points": np.array([5.0])}
    (plain,), (limited,) = (
        surprises(cloud, [window | {"points": wrong}], Asking(3, limits=each)) for each in ({}, limits)
    )
    (clean,) = surprises(cloud, [window | {"points": tokens.replace(tokens.values * (wrong.values < 1e4))}], Asking(3))
    assert plain["points"].nats[0, 0] > 1e4 and limited["points"].nats[0, 0] > 1e4
    np.testing.assert_allclose(limited["points"].nats[1:], clean["points"].nats[1:], rtol=1e-5)
    assert np.abs(plain["points"].nats[1:] - clean["points"].nats[1:]).max() > 0.1


def test_in_a_second_round_the_estimate_stands_in_the_place_of_what_is_strange(cloud):
    (window,) = windows(cloud, [1])
    tokens = window["points"]
    wrong = window | {"points": tokens.replace(tokens.values.clone().index_fill_(0, torch.tensor([0]), 30.0))}
    threshold = {"points": np.array([50.0, np.inf])}
    (once,) = surprises(cloud, [wrong], Asking(3, threshold=threshold))
    (twice,) = surprises(cloud, [wrong], Asking(3, threshold=threshold, rounds=2))
    estimate = torch.from_numpy(once["points"].estimate[:1])
    mended = window | {"points": tokens.replace(torch.cat([estimate, tokens.values[1:]]))}
    (expected,) = surprises(cloud, [mended], Asking(3))
    np.testing.assert_allclose(twice["points"].nats[1:], expected["points"].nats[1:], rtol=1e-5)
    assert twice["points"].excess[0, 0] > 50


def test_thresholds_are_exceeded_by_the_share_of_false_alarms(cloud):
    cases = cloud.domain.open(cloud.recipe, "train", cloud.codecs).cases()
    known = usual(cloud, cases, 50, 0.1, Asking(3), batch=16, progress=lambda share: None)
    share = (known.excess["points"] > known.threshold["points"]).mean(axis=0)
    np.testing.assert_allclose(share, 0.1, atol=0.01)
    assert len(known.scores) == 50 and (np.diff(known.scores) >= 0).all()


def test_what_is_written_is_what_comes_back(cloud, tmp_path):
    found = sc.anomalies(cloud, out=tmp_path / "out", search=FEW, progress=False)
    with xr.open_dataset(tmp_path / "out" / "anomalies.nc") as written:
        np.testing.assert_allclose(written.score, found.tables.samples["score"])
        assert written.sample.values.tolist() == list(range(100, 110))
        assert {"token_x", "token_y", "token_code"} <= set(written.data_vars)
        assert "normal density" in written.attrs["surprise_of_values"]
    page = (tmp_path / "out" / "report.html").read_text()
    strangest = found.tables.strangest()
    assert found.tables.samples["which"][strangest[0]] in page and len(strangest) == 10
    assert not (
        sc.anomalies(cloud, out=tmp_path / "bare", search=replace(FEW, windows=0), report=False, progress=False).written
        / "report.html"
    ).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"period": ("200", "210")}, "index 200 is out of bounds"),
        ({"search": Search(parts=1)}, "parts is 1, expected at least 2"),
    ],
)
def test_bad_requests_leave_nothing(cloud, tmp_path, options, message):
    with pytest.raises((ModelError, IndexError), match=message):
        sc.anomalies(cloud, out=tmp_path / "out", progress=False, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"false_alarms": 0.0}, "false alarms are 0"), ({"windows": -1}, "windows is -1"), ({"batch": 0}, "batch is 0")],
)
def test_a_search_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ModelError, match=message):
        Search(**options)


def test_a_task_that_asks_no_content_is_refused(cloud):
    from statecast.tasks import Detect

    other = replace(cloud, recipe=cloud.recipe.model_copy(update={"task": Detect()}))
    with pytest.raises(ModelError, match="the task 'detect' asks nothing of the content of tokens"):
        surprises(other, windows(cloud), Asking(3))


def test_without_the_data_of_training_the_remedy_is_named(cloud, tmp_path):
    data = cloud.recipe.data.model_copy(update={"file": str(tmp_path / "gone.npz")})
    moved = replace(cloud, recipe=cloud.recipe.model_copy(update={"data": data}))
    found = sc.anomalies(
        moved, cloud.recipe.data.file, out=tmp_path / "out", search=replace(FEW, windows=0), progress=False
    )
    assert found.usual is None and np.isfinite(found.tables.samples["score"].astype(float)).all()
