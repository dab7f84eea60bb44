"""A flow head through the commands: training, resuming, fine-tuning from quantiles, evaluation, costs, explanations."""

import io
import json

import pytest
import torch
import xarray as xr
from rich.console import Console
from safetensors.torch import load_file
from tiny_domains import points

import statecast as sc
from statecast.answer import answer
from statecast.config import RecipeError
from statecast.costs import assume, cost_tables, estimate, size_of
from statecast.models import Draws
from statecast.splits import open_training
from statecast.streams import UNKNOWN
from statecast.training import QuestionDataset
from statecast.training.saved import CheckpointError

MODEL = {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 4}
TRAINING = {
    "steps": 6,
    "batch_size": 4,
    "footprint": False,
    "validate_every": 3,
    "validation_samples": 4,
    "loggers": [],
}
LABELLED = {"points": {"points": True}, "label": {"label": True}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    points.write(folder / "points.npz")
    return folder


def recipe(folder, **changes) -> dict:
    return {
        "data": {"domain": "points", "file": str(folder / "points.npz"), "train": [0, 149], "validate": [150, 155]},
        "streams": {"points": {"points": True}},
        "task": {"kind": "masked"},
        "model": MODEL | {"head": "flow"},
        "training": TRAINING,
    } | changes


@pytest.fixture(scope="module")
def run(folder):
    sc.pretrain(recipe(folder), folder / "flow", progress=False)
    return folder / "flow"


@pytest.fixture(scope="module")
def quantiles(folder):
    sc.pretrain(recipe(folder, model=MODEL), folder / "quantiles", progress=False)
    return folder / "quantiles"


def asked(trained, number: int = 0):
    window = trained.domain.open(trained.recipe, "validate", trained.codecs).cases()[number]
    return trained.recipe.task.complete(window, number)


def test_a_loaded_model_draws_the_same_members_and_as_many_as_asked(run, tmp_path):
    trained = sc.load(run)
    trained.save(tmp_path / "copy")
    drawn, copied = answer(trained, asked(trained)), answer(sc.load(tmp_path / "copy"), asked(trained))
    count = len(asked(trained).queries["points"])
    assert drawn["points"][:, :count].shape == (4, count, 1) and drawn["points"][:, :count].std(dim=0).min() > 0.1
    assert torch.equal(drawn["points"], copied["points"]) and drawn["points"].isfinite().all()
    more = answer(trained, asked(trained), Draws(members=6))["points"]
    torch.testing.assert_close(more[:4], drawn["points"], rtol=1e-5, atol=1e-5)
    assert answer(trained, asked(trained), Draws(members=1, steps=2, solver="euler"))["points"].shape[0] == 1


@pytest.mark.parametrize("head", ["flow", "noise"])
def test_a_resumed_run_ends_with_the_same_bits(head, run, folder, tmp_path, monkeypatch):
    """The noise of training is a function of the sample's number: not of what was drawn before a checkpoint."""
    values = recipe(folder, model=MODEL | {"head": head}, training=TRAINING | {"checkpoint_every": 2})
    if head == "noise":
        run = tmp_path / "whole"
        sc.pretrain(values, run, progress=False)
        assert size_of(sc.read_recipe(values)).parameters == sc.load(run).parameters
    original = QuestionDataset.__getitem__

    def failing(self, index):
        if index >= 4 * 4 and self.samples == 24:
            raise CheckpointError("stopped")
        return original(self, index)

    with monkeypatch.context() as patched, pytest.raises(CheckpointError):
        patched.setattr(QuestionDataset, "__getitem__", failing)
        sc.pretrain(values, tmp_path / "run", progress=False)
    sc.pretrain(values, tmp_path / "run", resume=True, progress=False)
    whole, resumed = (load_file(path / "model" / "model.safetensors") for path in (run, tmp_path / "run"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole) and any(key.startswith(head) for key in whole)


def test_evaluation_scores_drawn_members(run, tmp_path):
    sc.evaluate(run, out=tmp_path / "scores", progress=False)
    records = json.loads((tmp_path / "scores" / "scores.json").read_text())
    metrics = {record["metric"] for record in records if record["forecast"] == "model"}
    assert {"rmse", "crps", "log_score", "accuracy"} <= metrics


def test_a_model_of_quantiles_becomes_one_that_draws(quantiles, folder, tmp_path):
    """Encoder and decoder are taken over, the head is new; it may be trained alone."""
    base = sc.load(quantiles).model.state_dict()
    tuning = {"model": {"head": "flow", "flow_layers": 1}, "task": {"kind": "masked"}, "training": TRAINING}
    sc.finetune(tuning | {"adaptation": {"change": "new"}}, quantiles, tmp_path / "tuned", progress=False)
    tuned = sc.load(tmp_path / "tuned")
    now = tuned.model.state_dict()
    assert {name for name in now if name not in base} == {name for name in now if name.startswith("flow.")}
    assert all(torch.equal(now[name], base[name]) for name in now if name in base) and not len(tuned.model.heads)
    assert answer(tuned, asked(tuned))["points"].shape[0] == 4
    heads = tuning | {"model": {"flow_layers": 2}, "adaptation": {"change": "heads"}}
    again = sc.finetune(heads, tmp_path / "tuned", tmp_path / "again", progress=False)
    assert len(again.model.flow.blocks) == 2
    frozen = {n for n, value in again.model.state_dict().items() if n in now and torch.equal(value, now[n])}
    assert frozen and not any(
        n.startswith(("flow.", "decoder_norm.", "code_heads.")) and n.endswith("weight") for n in frozen
    )


def test_conditions_are_hidden_from_a_share_of_the_samples_only_in_training(folder):
    task = {"kind": "translate", "to": ["points"], "conditions": ["label"], "unconditional": 0.5}
    values = sc.read_recipe(recipe(folder, streams=LABELLED, task=task))
    source = open_training(values, {})
    questions = QuestionDataset(source, values.task, 0, 4, 200)
    hidden = [int(questions[number].context["label"].codes[0]) == UNKNOWN for number in range(200)]
    assert 70 < sum(hidden) < 130
    plain = QuestionDataset(source, values.task.model_copy(update={"conditions": ()}), 0, 4, 200)
    for number in range(20):
        one, other = questions[number], plain[number]
        assert torch.equal(one.queries["points"].values, other.queries["points"].values) and one.seed == other.seed
        assert hidden[number] or torch.equal(one.context["label"].codes, other.context["label"].codes)
    assert values.task.complete(source.cases()[0]).context["label"].codes[0] != UNKNOWN


@pytest.mark.parametrize("condition", ["weather", "points"])
def test_a_condition_that_is_never_visible_is_refused(folder, condition, tmp_path):
    task = {"kind": "translate", "to": ["points"], "conditions": [condition]}
    message = rf"task.conditions: {condition} is no visible stream. Visible streams: label. Name one of them"
    with pytest.raises(RecipeError, match=message):
        sc.pretrain(recipe(folder, streams=LABELLED, task=task), tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_sizes_of_the_body_can_not_change_in_a_fine_tuning(quantiles, tmp_path):
    with pytest.raises(RecipeError, match=r"model.width differs .* A fine-tuning may change head, members"):
        sc.finetune({"model": {"width": 64}, "task": {"kind": "masked"}}, quantiles, tmp_path / "run", progress=False)


def test_costs_count_the_head_and_its_draws(folder, run):
    size = size_of(sc.read_recipe(recipe(folder)))
    assert size.parameters == sc.load(run).parameters
    assert size.drawing_flops > size.flops_per_sample > 0 and size.activation_bytes > 0
    printed = Console(width=120, record=True, file=io.StringIO())
    printed.print(cost_tables(estimate(assume("h100"), size.training_flops()), size))
    assert "to draw its members in 16 steps of heun" in printed.export_text()


def test_an_answer_that_is_drawn_is_explained(run, statecast, tmp_path):
    token = f"points:{asked(sc.load(run)).queries['points'].index[0]}"
    assert statecast("explain", run, "--token", token, "--out", "out") == (0, "")
    with xr.open_dataset(tmp_path / "out" / "explain.nc") as explained:
        assert float(abs(explained.points_sensitivity).sum()) > 0


def test_representations_need_no_head(run, tmp_path):
    assert sc.embed(run, out=tmp_path / "embedded.nc").sizes["feature"] == 32
