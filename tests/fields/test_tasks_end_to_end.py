"""One model, other questions: fine-tuned, verified beside the baselines of each, old answers kept."""

import json
from typing import NamedTuple

import numpy as np
import pytest
import torch
import yaml

import statecast
from statecast.adaptation import AdaptationError
from statecast.answer import answer
from statecast.config import RecipeError
from statecast.fields.sources import Record, open_fields
from statecast.fields.tokenizers.windows import whole_domain
from statecast.inspection import look_at_samples
from statecast.streams import Question
from statecast.trained import ModelError

TRAINING = {"steps": 3, "batch_size": 2, "validation_samples": 2, "footprint": False}
APART = {
    "fields": {"variables": ["t"], "levels": [500, 850], "patch": [2, 2, 2]},
    "pressure": {"variables": ["msl"], "patch": [2, 2, 2]},
}


class Asked(NamedTuple):
    """A task, the steps that it is trained for, its baseline, and what the RMSE of both may be of that of climatology.

    The waves travel, the pressure follows the temperature, and the noise, which nobody can know, is 0.017 of climatology's RMSE. A model
    that has not been trained has 0.04 between two times, where the anchor does most of it, 0.9 in gaps and 1 in another stream.
    """

    task: dict
    steps: int
    model: float
    baseline: tuple[str, float]
    streams: dict | None = None


TASKS = {
    "interpolate": Asked({"kind": "interpolate"}, 60, 0.035, ("linear", 0.11)),
    "refine": Asked({"kind": "refine", "every": 3}, 60, 0.035, ("linear", 0.11)),
    "fill": Asked({"kind": "fill", "slab_h": 12.0}, 200, 0.3, ("interpolation", 0.7)),
    "translate": Asked({"kind": "translate", "to": ["pressure"]}, 200, 0.1, ("regression", 0.02), APART),
}


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_is_fine_tuned_and_verified_beside_its_baselines(runs, tmp_path, kind):
    task, steps, of_model, (baseline, of_baseline), streams = TASKS[kind]
    training = TRAINING | {"steps": steps, "validate_every": steps}
    recipe = {"task": task, "training": training} | ({"streams": streams} if streams else {})
    statecast.finetune(recipe, runs.pretrained, tmp_path / "tuned", progress=False)
    statecast.evaluate(tmp_path / "tuned", runs.store, runs.held_out, tmp_path / "scores", every_h=24.0, progress=False)
    records = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert {r["forecast"] for r in records} == {"model", "climatology", baseline}
    assert {r["task"] for r in records} == {kind}
    leads = {6.0, 12.0} if kind in ("interpolate", "refine") else {None}
    for lead in leads:
        of_lead = [r for r in records if r["metric"] == "rmse" and r["variable"] == "msl" and r["lead_time_h"] == lead]
        rmse = {r["forecast"]: r["value"] for r in of_lead}
        assert rmse["climatology"] == pytest.approx(100 / 3**0.5, rel=0.05)  # an amplitude of 100 Pa cos(lat)
        assert rmse["model"] < of_model * rmse["climatology"], rmse
        assert rmse[baseline] < of_baseline * rmse["climatology"], rmse
    assert {r["lead_time_h"] for r in records} == leads
    page = (tmp_path / "scores" / "report.html").read_text()
    assert f"Task: {kind}" in page and page.count("data:image/png;base64,") >= 2


def question_about_fields(trained, store) -> Question:
    tokenizer = trained.codecs["fields"]
    record = Record.open(open_fields(store), tokenizer.stream)
    window = tokenizer.tokenize(record, whole_domain(record.grid, 0, 4))
    return Question({"fields": window[torch.arange(0, 32)]}, {"fields": window[torch.arange(32, 64)]})


def test_a_stream_that_is_added_to_a_frozen_model_leaves_old_answers_as_they_were_to_the_bit(runs, tmp_path):
    base = statecast.load(runs.pretrained)
    streams = {**runs.recipe["streams"], "warmth": {"variables": ["t"], "levels": [850], "patch": [2, 4, 4]}}
    recipe = {"streams": streams, "task": {"kind": "translate", "to": ["warmth"]}, "training": TRAINING}
    recipe["adaptation"] = {"change": "new"}
    statecast.finetune(recipe, runs.pretrained, tmp_path / "tuned", progress=False)
    tuned = statecast.load(tmp_path / "tuned")
    question = question_about_fields(base, runs.store)
    before, after = answer(base, question)["fields"], answer(tuned, question)["fields"]
    assert torch.equal(before, after)
    facts = yaml.safe_load((tmp_path / "tuned" / "run.yaml").read_text())
    new = sum(value.numel() for name, value in tuned.model.named_parameters() if ".warmth" in name)
    assert facts["changed_parameters"] == new < facts["parameters"]


@pytest.mark.parametrize("change", ["heads", "last_blocks", "lora"])
def test_what_may_change_is_counted_and_the_rest_stays(runs, tmp_path, capsys, change):
    recipe = runs.tuning | {"adaptation": {"change": change}}
    statecast.finetune(recipe, runs.pretrained, tmp_path / "tuned", progress=False)
    base, tuned = (
        dict(statecast.load(path).model.named_parameters()) for path in (runs.pretrained, tmp_path / "tuned")
    )
    facts = yaml.safe_load((tmp_path / "tuned" / "run.yaml").read_text())
    told = f"fine-tuning: {facts['changed_parameters']:,} of {facts['parameters']:,} weights are trainable"
    assert told in capsys.readouterr().err
    assert 0 < facts["changed_parameters"] < facts["parameters"] == sum(v.numel() for v in base.values())
    assert torch.equal(base["values.fields.weight"], tuned["values.fields.weight"])
    assert not torch.equal(base["heads.fields.weight"], tuned["heads.fields.weight"])


def test_a_fine_tuning_of_low_rank_goes_on_as_if_it_had_not_been_stopped(runs, tmp_path):
    recipe = runs.tuning | {"adaptation": {"change": "lora"}, "training": TRAINING | {"checkpoint_every": 1}}
    statecast.finetune(recipe, runs.pretrained, tmp_path / "whole", progress=False)
    unfinished = tmp_path / "again.unfinished"
    (tmp_path / "whole").rename(unfinished)
    (unfinished / "checkpoints" / "step-00000003.ckpt").unlink()
    (unfinished / "model").rename(unfinished / "start")
    assert np.isfinite([facts.loss for facts in look_at_samples(unfinished, 2)]).all()
    whole = statecast.load(unfinished / "start").model.state_dict()
    again = statecast.finetune(recipe, runs.pretrained, tmp_path / "again", resume=True, progress=False)
    assert all(torch.equal(value, whole[name]) for name, value in again.model.state_dict().items())


def test_training_a_new_model_changes_all_of_it(runs, tmp_path):
    with pytest.raises(RecipeError, match=r"adaptation\.change is lora, but a new model has to learn all"):
        statecast.pretrain(runs.recipe | {"adaptation": {"change": "lora"}}, tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_nothing_new_to_learn_is_refused(runs, tmp_path):
    with pytest.raises(AdaptationError, match="there is nothing new"):
        statecast.finetune(
            runs.tuning | {"adaptation": {"change": "new"}}, runs.pretrained, tmp_path / "r", progress=False
        )
    assert not list(tmp_path.iterdir())


def test_data_in_units_of_something_else_is_refused(runs, tmp_path):
    dataset = open_fields(runs.store).load()
    dataset["t"] = (dataset.t - np.float32(273.15)).assign_attrs(units="m")
    dataset.to_zarr(tmp_path / "metres.zarr", zarr_format=3, consolidated=False)
    recipe = runs.tuning | {"data": {"store": str(tmp_path / "metres.zarr")}}
    with pytest.raises(
        ModelError, match=r"stream fields: variable 't@500' is in 'm' in the store, the model learned it in 'K'"
    ):
        statecast.finetune(recipe, runs.pretrained, tmp_path / "tuned", progress=False)


def test_a_stream_that_is_added_with_all_weights_free_reports_what_was_forgotten(runs, scores_of, tmp_path):
    streams = {**runs.recipe["streams"], "warmth": {"variables": ["t"], "levels": [850], "patch": [2, 4, 4]}}
    recipe = {"streams": streams, "task": {"kind": "translate", "to": ["warmth"]}, "training": TRAINING}
    statecast.finetune(recipe, runs.pretrained, tmp_path / "tuned", progress=False)
    told = scores_of(json.loads((tmp_path / "tuned" / "forgetting" / "scores.json").read_text()))
    period = runs.recipe["data"]["validate"]
    asked = (runs.store, period, tmp_path / "scores")
    before = statecast.evaluate(runs.pretrained, *asked, every_h=24.0, progress=False, report=False)
    expected = scores_of(r for v in before.verifications for r in v.records())
    assert told["before"] == expected["model"] and told["interpolation"] == expected["interpolation"]
    both = statecast.evaluate(
        tmp_path / "tuned", *asked, against=runs.pretrained, every_h=24.0, overwrite=True, progress=False, report=False
    )
    after = scores_of(r for v in both.verifications for r in v.records())["model"]
    assert told["model"] == pytest.approx(after, rel=1e-6) and after != pytest.approx(expected["model"], rel=1e-4)


def test_two_models_are_asked_the_question_of_one(runs, tmp_path):
    out = tmp_path / "scores"
    statecast.evaluate(
        runs.forecast, runs.store, runs.held_out, out, against=runs.pretrained, every_h=96, progress=False, report=False
    )
    records = json.loads((out / "scores.json").read_text())
    assert {r["forecast"] for r in records} == {"model", "before", "climatology", "interpolation"}
    assert {r["task"] for r in records} == {"masked 50%", "masked 75%", "masked 90%"}
    alone = statecast.evaluate(
        runs.pretrained, runs.store, runs.held_out, tmp_path / "alone", every_h=96, progress=False, report=False
    )
    before = [r["value"] for r in records if r["forecast"] == "before"]
    assert before == [r["value"] for v in alone.verifications if v.forecast == "model" for r in v.records()]


def test_a_question_about_streams_that_the_model_lacks_is_refused(runs, tmp_path):
    recipe = {"streams": APART, "task": {"kind": "translate", "to": ["pressure"]}, "training": TRAINING}
    statecast.finetune(recipe, runs.pretrained, tmp_path / "apart", progress=False)
    with pytest.raises(ModelError, match=r"stream fields: the model doesn't know it as .* Its streams: fields"):
        statecast.evaluate(
            runs.pretrained,
            runs.store,
            runs.held_out,
            tmp_path / "s",
            against=tmp_path / "apart",
            progress=False,
            report=False,
        )
