"""Verification on whole samples: scores of hand-made answers against brute force, the baseline, and what is written."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
import xarray as xr
from tiny_domains import points

import statecast as sc
from statecast.evaluation.samples import _marginal, evaluate_samples, sample_scores, token_scores
from statecast.evaluation.scores import covered
from statecast.labels import LabelCodec
from statecast.models import Prediction
from statecast.streams import UNKNOWN, StreamOptions, Tokens, TokenSpec
from statecast.trained import ModelError, TrainedModel

SPEC = TokenSpec(size=2, vocabulary=3)
NO_LABEL = None


def asked(codes, values=None, observed=None, weight=None) -> Tokens:
    codes = torch.tensor(codes)
    values = torch.zeros(len(codes), 2) if values is None else torch.tensor(values)
    observed = torch.ones_like(values, dtype=torch.bool) if observed is None else torch.tensor(observed)
    weight = None if weight is None else torch.tensor(weight)
    return Tokens(values, torch.zeros(len(codes), 0), observed, SPEC, codes=codes, weight=weight)


PROBABILITIES = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2], [0.2, 0.5, 0.3]]


def said(probabilities=PROBABILITIES, members=None) -> Prediction:
    """With rows of padding beyond the asked tokens."""
    logits = torch.tensor([*probabilities, [1.0, 1.0, 1.0]]).log()[None] + 2.0
    return Prediction(None if members is None else torch.tensor(members)[None], None, logits)


def test_log_score_is_the_mean_of_minus_log_p_and_accuracy_the_share_of_right_codes():
    scores = token_scores(said(), asked([0, 1, 0, 2]), "tokens", NO_LABEL)
    assert scores["log_score"] == pytest.approx(-np.log([0.7, 0.3, 0.5, 0.3]).mean(), rel=1e-5)
    assert scores["accuracy"] == 0.5


def test_an_unknown_code_is_not_scored():
    scores = token_scores(said(), asked([0, UNKNOWN, 0, UNKNOWN]), "tokens", NO_LABEL)
    assert scores["log_score"] == pytest.approx(-np.log([0.7, 0.5]).mean(), rel=1e-5) and scores["accuracy"] == 1
    nothing = token_scores(said(), asked([UNKNOWN] * 4), "tokens", NO_LABEL)
    assert math.isnan(nothing["log_score"]) and math.isnan(nothing["accuracy"])


def test_tokens_count_by_their_weight():
    weight = [1.0, 2.0, 0.0, 5.0]
    scores = token_scores(said(), asked([0, 1, 0, 2], weight=weight), "tokens", NO_LABEL)
    assert scores["log_score"] == pytest.approx(np.average(-np.log([0.7, 0.3, 0.5, 0.3]), weights=weight), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(1 / 8)


def test_one_logit_is_for_having_been_replaced():
    logits = torch.tensor([[[2.0], [-1.0], [0.5]]])
    scores = token_scores(Prediction(logits=logits), asked([1, 0, 0]), "replaced", NO_LABEL)
    p = 1 / (1 + np.exp(-np.array([2.0, -1.0, 0.5])))
    assert scores["log_score"] == pytest.approx(-np.log([p[0], 1 - p[1], 1 - p[2]]).mean(), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(2 / 3)


def ensemble(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Members (N E P) with a row of padding, truth (N P) and what was observed of it."""
    random = np.random.default_rng(seed)
    observed = random.uniform(size=(4, 2)) > 0.3
    return random.standard_normal((5, 6, 2)), random.standard_normal((4, 2)), observed


@pytest.mark.parametrize("weight", [None, [1.0, 3.0, 0.5, 2.0]])
def test_rmse_and_crps_are_those_of_a_loop_over_what_was_observed(weight):
    members, truth, observed = ensemble()
    tokens = asked([UNKNOWN] * 4, truth, observed, weight)
    scores = sample_scores(
        {
            k: np.array(v)
            for k, v in token_scores(Prediction(torch.tensor(members)[None]), tokens, "tokens", NO_LABEL).items()
        },
        6,
    )
    squared = crps = total = 0.0
    for n, p in zip(*np.nonzero(observed), strict=True):
        share = 1.0 if weight is None else weight[n]
        squared += share * (members[n, :, p].mean() - truth[n, p]) ** 2
        apart = np.mean([[abs(x - y) for x in members[n, :, p]] for y in members[n, :, p]])
        crps += share * (np.abs(members[n, :, p] - truth[n, p]).mean() - apart / 2)
        total += share
    assert scores["rmse"] == pytest.approx(math.sqrt(squared / total)) and scores["crps"] == pytest.approx(crps / total)


def test_a_number_is_scored_in_its_own_unit():
    members, truth, observed = ensemble()
    codec = LabelCodec(StreamOptions(), mean=10.0, std=4.0)
    plain, scaled = (
        token_scores(Prediction(torch.tensor(members)[None]), asked([UNKNOWN] * 4, truth, observed), "tokens", c)
        for c in (NO_LABEL, codec)
    )
    assert scaled["crps"] == pytest.approx(4 * plain["crps"]) and scaled["squared_error"] == pytest.approx(
        16 * plain["squared_error"]
    )


def test_a_single_member_has_no_crps():
    members, truth, observed = ensemble()
    scores = token_scores(
        Prediction(torch.tensor(members[:, :1])[None]), asked([UNKNOWN] * 4, truth, observed), "tokens", NO_LABEL
    )
    assert set(scores) == {"squared_error"}


def of_split(tokens: list[Tokens]) -> tuple[Prediction, np.ndarray]:
    codes = torch.cat([each.codes for each in tokens])
    return _marginal(tokens, 4), np.bincount(codes[codes != UNKNOWN], minlength=3)


def test_the_log_score_of_the_baseline_is_the_entropy_of_the_frequencies():
    codes = np.random.default_rng(0).choice([0, 1, 2, UNKNOWN], size=8000, p=[0.5, 0.2, 0.1, 0.2])
    tokens = asked(codes)
    marginal, counts = of_split([tokens[:3000], tokens[3000:]])
    frequency = counts / counts.sum()
    scores = token_scores(marginal, tokens, "tokens", NO_LABEL)
    assert scores["log_score"] == pytest.approx(-(frequency * np.log(frequency)).sum(), abs=1e-5)
    assert scores["accuracy"] == pytest.approx(frequency.max(), rel=1e-5)


def test_the_baseline_gives_a_code_that_it_never_saw_the_chance_of_laplace():
    marginal, _ = of_split([asked([0, 0, 1])])
    np.testing.assert_allclose(marginal.logits[0, 0].softmax(dim=-1), [3 / 6, 2 / 6, 1 / 6], rtol=1e-6)


def test_members_of_the_baseline_are_quantiles_of_what_was_observed():
    values = np.stack([np.arange(101.0), np.full(101, 7.0)], axis=1)
    observed = np.stack([np.ones(101, bool), np.arange(101) > 50], axis=1)
    marginal, _ = of_split([asked([0] * 101, np.where(observed, values, 0.0).astype(np.float32), observed)])
    np.testing.assert_allclose(marginal.members[0, 0].T, [[12.5, 37.5, 62.5, 87.5], [7.0] * 4])


def recipe(folder: Path, task: dict) -> dict:
    file = folder / "points.npz"
    if not file.exists():
        points.write(file, samples=70)
    return {
        "data": {"domain": "points", "file": str(file), "train": [0, 49], "validate": [50, 69]},
        "streams": {"points": {"points": True}, "label": {"label": True}},
        "task": task,
        "model": {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 4},
        "training": {"steps": 2, "batch_size": 2, "footprint": False},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("samples")


@pytest.fixture(scope="module")
def masked(folder) -> TrainedModel:
    return sc.pretrain(recipe(folder, {"kind": "masked"}), folder / "masked", progress=False)


@pytest.fixture(scope="module")
def labelled(folder) -> TrainedModel:
    task = {"kind": "translate", "to": ["label"]}
    return sc.pretrain(recipe(folder, task), folder / "labelled", progress=False)


def scores_of(folder: Path) -> dict[tuple[str, str, str], dict]:
    records = json.loads((folder / "scores.json").read_text())
    return {(record["forecast"], record["stream"], record["metric"]): record for record in records}


def test_scores_of_an_evaluation_are_means_over_its_samples(masked, tmp_path):
    evaluate_samples(masked, out=tmp_path / "e", progress=False)
    records = scores_of(tmp_path / "e")
    cases = masked.domain.open(masked.recipe, "validate", masked.codecs).cases()
    of_cases = []
    for number in range(len(cases)):
        question = masked.recipe.task.complete(cases[number], number)
        with torch.inference_mode():
            answer = masked.model.answer(question.each(_alone))["points"]
        of_cases.append(token_scores(answer, question.queries["points"], "tokens", NO_LABEL))
    assert records["model", "points", "log_score"]["value"] == pytest.approx(
        np.mean([s["log_score"] for s in of_cases]), rel=1e-4
    )
    rmse = np.sqrt(np.mean([s["squared_error"] for s in of_cases]))
    assert records["model", "points", "rmse"]["value"] == pytest.approx(rmse, rel=1e-4)


def _alone(tokens: Tokens) -> Tokens:
    return tokens.each(lambda part: part[None], lambda part: part[None])


def test_every_score_lies_in_its_interval_and_every_forecast_is_there(masked, tmp_path):
    evaluate_samples(masked, against=masked, out=tmp_path / "e", progress=False)
    records = scores_of(tmp_path / "e")
    assert {forecast for forecast, _, _ in records} == {"model", "against", "marginal"}
    for metric in ("log_score", "accuracy", "rmse", "crps"):
        record = records["model", "points", metric]
        assert record["low"] < record["value"] < record["high"] and record["n"] == 20
        assert records["against", "points", metric]["value"] == record["value"]


def test_answers_hold_the_probability_of_each_class_of_each_sample(labelled, tmp_path):
    evaluate_samples(labelled, period=("50", "54"), out=tmp_path / "e", progress=False)
    with xr.open_dataset(tmp_path / "e" / "answers.nc") as answers:
        assert answers["sample"].values.tolist() == [50, 51, 52, 53, 54]
        probability = answers["label_probability"]
        assert probability.dims == ("sample", "label_class") and answers["label_class"].values.tolist() == ["1", "2"]
        np.testing.assert_allclose(probability.sum("label_class"), 1, rtol=1e-6)
        with np.load(labelled.recipe.data.file) as file:
            truth = [str(label) for label in file["label"][50:55]]
        expected = -np.mean([math.log(probability.sel(sample=50 + n, label_class=t)) for n, t in enumerate(truth)])
    assert scores_of(tmp_path / "e")["model", "label", "log_score"]["value"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["detect", "arrange", "denoise"])
def test_other_questions_are_scored_too(masked, tmp_path, kind):
    task = type(masked.recipe).model_validate(masked.recipe.as_dict() | {"task": {"kind": kind}}).task
    asked_so = replace(masked, recipe=masked.recipe.model_copy(update={"task": task}))
    evaluate_samples(asked_so, period=("50", "53"), out=tmp_path / "e", progress=False)
    records = scores_of(tmp_path / "e")
    assert 0 <= records["model", "points", "accuracy"]["value"] <= 1
    assert (("marginal", "points", "log_score") in records) == (kind == "denoise")


def test_a_label_that_is_asked_of_some_samples_is_missing_from_the_others(masked, tmp_path):
    whole = masked.recipe.task.model_copy(update={"streams": 1.0, "later_slabs": 0.0})
    of_streams = replace(masked, recipe=masked.recipe.model_copy(update={"task": whole}))
    found = evaluate_samples(of_streams, out=tmp_path / "e", progress=False).answers["label_probability"]
    cases = masked.domain.open(masked.recipe, "validate", masked.codecs).cases()
    is_asked = ["label" in whole.complete(cases[number], number).queries for number in range(len(cases))]
    assert 0 < sum(is_asked) < len(cases)
    np.testing.assert_array_equal(np.isfinite(found).all("label_class"), is_asked)
    np.testing.assert_allclose(found[is_asked].sum("label_class"), 1, rtol=1e-6)
    assert not evaluate_samples(masked, out=tmp_path / "never", progress=False).answers.data_vars


def test_a_split_without_a_sample_is_refused(masked, tmp_path):
    data = masked.recipe.data.model_copy(update={"validate_on": None})
    alone = replace(masked, recipe=masked.recipe.model_copy(update={"data": data}))
    for options in ({}, {"period": ("5", "4")}):
        with pytest.raises(ModelError, match="there is no sample to verify on"):
            evaluate_samples(alone, out=tmp_path / "e", progress=False, **options)
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("probability", [0.5, 0.68, 0.95])
@pytest.mark.parametrize("members", [39, 100])
def test_calibrated_draws_cover_their_probability(probability, members):
    random = np.random.default_rng(3)
    draws, truth = random.standard_normal((members, 20_000)), random.standard_normal(20_000)
    inside = covered(draws, truth, probability, drawn=True)
    assert inside.mean() == pytest.approx(probability, abs=4 * np.sqrt(0.25 / 20_000))


def test_quantiles_cover_what_lies_between_them():
    quantiles = scipy.stats.norm.ppf((np.arange(16) + 0.5) / 16)[:, None]
    truth = np.linspace(-3, 3, 1001)[None]
    inside = covered(np.broadcast_to(quantiles, (16, 1001)), truth[0], 0.5, drawn=False)
    expected = np.abs(truth[0]) <= scipy.stats.norm.ppf(0.75)
    assert (inside != expected).mean() < 0.01


@pytest.mark.parametrize(("members", "drawn", "known"), [(39, True, True), (38, True, False), (16, False, False)])
def test_few_members_have_no_outer_interval(members, drawn, known):
    assert (covered(np.zeros((members, 1)), np.zeros(1), 0.95, drawn=drawn) is not None) == known
