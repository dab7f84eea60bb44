"""Evaluation of models of jets by the commands, on the sample that ships with statecast."""

import json
from typing import NamedTuple

import pytest

import statecast
from statecast.evaluation.scored import ScoredEvaluation
from statecast.numbered import SeenError

TINY = ["training.steps=3", "training.batch_size=8", "training.validation_samples=8", "training.footprint=false"]
DATA = ["data.train=[0,299]", "data.validate=[300,349]", "streams.codes.size=32", "model.width=32", "model.heads=2"]


class Runs(NamedTuple):
    pretrained: statecast.TrainedModel
    tagger: statecast.TrainedModel


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    folder = tmp_path_factory.mktemp("jets")
    pretrained = statecast.pretrain("jets", folder / "pretrained", overrides=[*TINY, *DATA], progress=False)
    few = [*TINY, "data.train=[0,199]"]
    tagger = statecast.finetune("jets-tag", pretrained, folder / "tagger", overrides=few, progress=False)
    return Runs(pretrained, tagger)


def test_a_tagger_is_evaluated_beside_classifiers_on_substructure(runs, tmp_path):
    found = statecast.evaluate(runs.tagger, period=("400", "599"), out=tmp_path / "scores")
    assert isinstance(found, ScoredEvaluation) and found.written.name == "report.html"
    records = json.loads((tmp_path / "scores" / "scores.json").read_text())
    of_auc = {record["forecast"]: record for record in records if record["metric"] == "auc"}
    assert set(of_auc) == {"model", "boosting on substructure", "logistic on substructure"}
    assert all(record["signal"] == "Tbqq" and record["n"] == 200 for record in of_auc.values())
    assert (
        of_auc["logistic on substructure"]["value"] > 0.9
    )  # the variables separate tops from QCD, also from 200 labels
    assert 0.3 < of_auc["model"]["value"] <= of_auc["model"]["high"]
    page = (tmp_path / "scores" / "report.html").read_text()
    assert "boosting on substructure" in page and page.count("data:image/png;base64,") == 1


def test_a_model_of_masked_particles_is_scored_beside_the_frequencies_of_codes(runs, tmp_path):
    found = statecast.evaluate(runs.pretrained, period=("400", "419"), out=tmp_path / "scores", progress=False)
    ((title, rows),) = found.tables()
    assert title == "masked_particles" and {row[1] for row in rows[1:]} == {"model", "marginal"}


@pytest.mark.parametrize("period", [("100", "399"), ("299", "299")])
def test_jets_that_were_learned_from_are_refused(runs, tmp_path, period):
    """Also those that only the pre-training saw."""
    with pytest.raises(
        SeenError, match=r"overlap 0 to 299, which the model has learned from|overlaps those of training"
    ):
        statecast.evaluate(runs.pretrained, period=period, out=tmp_path / "scores", progress=False)
    with pytest.raises(SeenError, match="which the model has learned from"):
        statecast.evaluate(runs.tagger, period=("250", "399"), out=tmp_path / "scores", progress=False)
    assert not list(tmp_path.iterdir())
