"""Two tiny domains, a set and a sequence, go through the same commands and functions as fields: no line of the core knows them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_domains import chain, points
from tiny_domains.common import FileSource

import statecast as sc
from statecast.costs import size_of
from statecast.fields.streams import Stream
from statecast.models.generation import CausalState, generate
from statecast.streams import Tokens, padded, stack_questions
from statecast.trained import TrainedModel

MODEL = {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 4}
TRAINING = {"steps": 6, "batch_size": 4, "footprint": False, "validate_every": 3, "validation_samples": 4}
CHECKPOINTS = {"checkpoint_every": 2}
KILLED_AT = 18  # samples: in the fifth step, when four of them, and a validation of four samples, are done
DOMAINS = {
    "points": (points, {"points": {"points": True}}, {"kind": "masked"}, "points"),
    "chain": (chain, {"states": {"states": True}}, {"kind": "next"}, "states"),
}


def recipe(domain: str, folder: Path, **training) -> dict:
    module, streams, task, _ = DOMAINS[domain]
    file = folder / f"{domain}.npz"
    if not file.exists():
        module.write(file)
    return {
        "data": {"domain": domain, "file": str(file), "train": [0, 149], "validate": [150, 169]},
        "streams": streams,
        "task": task,
        "model": MODEL,
        "training": TRAINING | training,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("strangers")


@pytest.fixture(scope="module", params=list(DOMAINS))
def pretrained(request, folder) -> tuple[str, Path]:
    sc.pretrain(recipe(request.param, folder), folder / request.param, progress=False)
    return request.param, folder / request.param


@pytest.fixture(scope="module")
def tuned(pretrained, folder) -> tuple[str, Path]:
    domain, run = pretrained
    streams = DOMAINS[domain][1] | {"label": {"label": True}}
    task = {"kind": "translate", "to": ["label"]}
    out = folder / f"{domain}-label"
    sc.finetune({"streams": streams, "task": task, "training": TRAINING}, run, out, progress=False)
    return domain, out


def answers(trained: TrainedModel) -> list[torch.Tensor]:
    source = trained.domain.open(trained.recipe, "validate", trained.codecs)
    question = stack_questions([trained.recipe.task.complete(source.cases()[n], n) for n in range(3)])
    said = trained.model.answer(question)
    return [part for each in said.values() for part in (each.members, each.logits) if part is not None]


def test_a_loaded_model_answers_as_it_did(pretrained, folder, tmp_path):
    _, run = pretrained
    trained = sc.load(run)
    trained.save(tmp_path / "copy")
    for one, other in zip(answers(trained), answers(sc.load(tmp_path / "copy")), strict=True):
        assert torch.equal(one, other)


def test_fine_tuning_to_a_label_keeps_the_body_and_adds_a_head(pretrained, tuned):
    before, after = sc.load(pretrained[1]).model, sc.load(tuned[1]).model
    new = set(after.state_dict()) - set(before.state_dict())
    assert new == {"asked.label", "codes.label.weight", "code_heads.label.weight", "code_heads.label.bias"}
    assert set(before.state_dict()) <= set(after.state_dict())


@pytest.mark.parametrize("domain", list(DOMAINS))
def test_a_run_killed_after_a_checkpoint_ends_with_the_same_bits(domain, folder, require_same_bits_after_a_kill):
    require_same_bits_after_a_kill(recipe(domain, folder, **CHECKPOINTS), FileSource, KILLED_AT)


def test_the_cost_of_a_recipe_counts_what_the_model_has(pretrained):
    trained = sc.load(pretrained[1])
    size = size_of(trained.recipe)
    assert size.parameters == trained.parameters
    assert size.flops_per_sample > 0 and size.activation_bytes > 0


@pytest.mark.parametrize("command", ["cost", "samples", "evaluate", "explain", "embed"])
def test_the_commands_know_them(pretrained, tuned, statecast, tmp_path, command):
    domain, run = pretrained
    if command == "cost":
        assert statecast("cost", run / "model" / "recipe.yaml") == (0, "")
    elif command == "samples":
        assert statecast("samples", run, "--step", 2) == (0, "")
    elif command == "evaluate":
        assert statecast("evaluate", tuned[1], "--out", "out", "--quiet") == (0, "")
        records = json.loads((tmp_path / "out" / "scores.json").read_text())
        assert {r["forecast"] for r in records} == {"model", "marginal"}
        assert xr.open_dataset(tmp_path / "out" / "answers.nc").label_probability.sum(
            "label_class"
        ).values == pytest.approx(1)
    elif command == "explain":
        token = f"{DOMAINS[domain][3]}:2" if domain == "chain" else f"{DOMAINS[domain][3]}:1"
        code, error = statecast("explain", run, "--token", token, "--sample", 1, "--out", "out")
        assert (code, error) == (0, "")
        explained = xr.open_dataset(tmp_path / "out" / "explain.nc")
        name = DOMAINS[domain][3]
        assert float(explained[f"{name}_decoder_attention"].sum()) == pytest.approx(2)  # 1 layer, 2 heads
        assert float(explained[f"{name}_saliency"].max()) > 0
    else:
        assert statecast("embed", tuned[1], "--period", 0, 4, "--out", "e.nc", "--quiet") == (0, "")
        assert xr.open_dataset(tmp_path / "e.nc")[DOMAINS[domain][3]].shape == (5, 32)


def test_no_file_of_the_core_names_a_domain_of_ours():
    root = Path(sc.__file__).parent
    core = [root / name for name in ("models", "tasks", "training", "adaptation", "costs", "explain", "evaluation")]
    for folder in core:
        for file in folder.rglob("*.py"):
            text = file.read_text()
            assert "statecast.fields" not in text and "tiny_domains" not in text, file


@pytest.fixture
def cloud(folder) -> TrainedModel:
    file = folder / "untrained.npz"
    points.write(file, samples=40)
    values = recipe("points", folder) | {
        "data": {"domain": "points", "file": str(file), "train": [0, 29], "validate": [30, 39]}
    }
    values["training"] = TRAINING | {"steps": 1}
    run = folder / "cloud"
    return sc.load(run) if run.exists() else sc.pretrain(values, run, progress=False)


def questions(trained: TrainedModel) -> list:
    source = trained.domain.open(trained.recipe, "validate", trained.codecs)
    return [trained.recipe.task.complete(source.cases()[number], number) for number in range(len(source.cases()))]


def test_permuting_a_set_changes_nothing(cloud):
    for question in questions(cloud):
        order = torch.randperm(len(question.context["points"]), generator=torch.Generator().manual_seed(0))
        permuted = replace(question, context={"points": question.context["points"][order]})
        one, other = (cloud.model.answer(stack_questions([q]))["points"] for q in (question, permuted))
        torch.testing.assert_close(one.members, other.members, rtol=0, atol=2e-6)
        torch.testing.assert_close(one.logits, other.logits, rtol=0, atol=2e-6)


@pytest.mark.parametrize("extra", [1, 3, 8, 50])
def test_padding_changes_nothing_bit_for_bit(cloud, extra):
    for question in questions(cloud):
        asked = len(question.queries["points"])
        longer = question.each(lambda tokens: padded(tokens, len(tokens) + extra))
        plain, more = (cloud.model.answer(stack_questions([q]))["points"] for q in (question, longer))
        filled = cloud.model.answer(stack_questions([longer]).each(_with_junk))["points"]
        for said in (more, filled):
            assert torch.equal(plain.members[:, :asked], said.members[:, :asked])
            assert torch.equal(plain.logits[:, :asked], said.logits[:, :asked])


def _with_junk(tokens: Tokens) -> Tokens:
    """Padding that holds values, codes and places."""
    here = tokens.present[..., None]
    values, coords = torch.where(here, tokens.values, 7.0), torch.where(here, tokens.coords, 0.3)
    return replace(tokens, values=values, coords=coords, codes=torch.where(tokens.present, tokens.codes, 1))


def test_a_sample_answers_alone_as_in_a_batch_bit_for_bit(cloud):
    asked = questions(cloud)
    together = cloud.model.answer(stack_questions(asked))["points"]
    for number, question in enumerate(asked):
        alone = cloud.model.answer(stack_questions([question]))["points"]
        count = len(question.queries["points"])
        assert torch.equal(alone.members[0, :count], together.members[number, :count])


def states_of(trained: TrainedModel, samples: int) -> Tokens:
    source = trained.domain.open(trained.recipe, "validate", trained.codecs)
    return stack_questions([trained.recipe.task.complete(source.cases()[n]) for n in range(samples)]).context["states"]


@pytest.fixture
def sequence(folder) -> TrainedModel:
    run = folder / "sequence"
    return sc.load(run) if run.exists() else sc.pretrain(recipe("chain", folder), run, progress=False)


@pytest.mark.parametrize("changed", [1, 7, 15])
def test_a_causal_query_never_sees_what_comes_later(sequence, changed):
    tokens = states_of(sequence, 3)
    codes = tokens.codes.clone()
    codes[:, changed:] = (codes[:, changed:] + 1) % 4
    model = sequence.model
    before, after = (
        model({"states": context}, {"states": tokens}, "tokens", True)["states"].logits
        for context in (tokens, replace(tokens, codes=codes))
    )
    assert torch.equal(before[:, : changed + 1], after[:, : changed + 1])
    assert not torch.equal(before[:, changed + 1 :], after[:, changed + 1 :]) or changed == 15


def test_the_cache_of_keys_and_values_gives_what_recomputing_gives(sequence):
    tokens = states_of(sequence, 3)
    model = sequence.model
    drawn = [
        generate(
            model, {}, "states", tokens, torch.Generator().manual_seed(1), temperature=0.8, top_k=3, is_cached=cached
        )
        for cached in (True, False)
    ]
    assert torch.equal(drawn[0].codes, drawn[1].codes)
    whole = model({"states": tokens}, {"states": tokens}, "tokens", True)["states"].logits
    state = CausalState(model, {"states": tokens[:0]})
    for position in range(len(tokens)):
        token = tokens[position : position + 1]
        torch.testing.assert_close(state.ask("states", token).logits[:, 0], whole[:, position], rtol=0, atol=2e-5)
        state.append("states", token)


def test_generation_ends_with_the_code_that_stops(sequence):
    places = states_of(sequence, 8)
    drawn = generate(sequence.model, {}, "states", places, torch.Generator().manual_seed(0), stop=2)
    for codes, present in zip(drawn.codes, drawn.present, strict=True):
        stops = (codes == 2).nonzero()
        last = int(stops[0]) if len(stops) else len(codes) - 1
        assert present[: last + 1].all() and not present[last + 1 :].any()


def test_next_reaches_the_entropy_of_a_markov_chain(folder):
    file = folder / "one.npz"
    chain.write(file, samples=700, chains=1)
    values = recipe("chain", folder) | {
        "data": {"domain": "chain", "file": str(file), "train": [0, 599], "validate": [600, 699]}
    }
    values["training"] = TRAINING | {"steps": 150, "batch_size": 16, "validate_every": 150}
    trained = sc.pretrain(values, folder / "entropy", progress=False)
    tokens = states_of(trained, 100)
    logits = trained.model({"states": tokens}, {"states": tokens}, "tokens", True)["states"].logits
    loss = trained.model.categorical.loss(logits, tokens.codes)
    rows = chain.CHAINS[0, tokens.codes[:, :-1].numpy()]
    truth = -np.log(np.take_along_axis(rows, tokens.codes[:, 1:, None].numpy(), axis=-1)).mean()  # of this very sample
    assert loss[:, 1:].mean().item() < 1.02 * truth
    assert loss[:, 0].mean().item() == pytest.approx(np.log(4), rel=0.03)


@pytest.mark.parametrize(
    ("domain", "task", "message"),
    [
        ("points", {"kind": "forecast"}, "no stream has an order axis"),
        ("points", {"kind": "next"}, "no stream has an order axis"),
        ("points", {"kind": "arrange", "axes": ["rank"]}, "no stream has an axis rank"),
        ("chain", {"kind": "translate", "to": ["label"]}, "there is no stream label"),
    ],
)
def test_a_task_that_needs_another_axis_is_refused_in_one_line(domain, task, message, folder, tmp_path, statecast):
    values = recipe(domain, folder) | {"task": task}
    (tmp_path / "recipe.yaml").write_text(json.dumps(values))
    code, error = statecast("pretrain", "recipe.yaml", "--out", "run", "--quiet")
    assert code == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists() and not (tmp_path / "run.unfinished").exists()


@pytest.mark.parametrize("kind", ["denoise", "detect", "arrange"])
def test_the_other_tasks_train_on_any_domain(pretrained, tmp_path, kind):
    trained = sc.finetune(
        {"task": {"kind": kind}, "training": TRAINING}, pretrained[1], tmp_path / "run", progress=False
    )
    assert trained.recipe.task.kind == kind


def test_a_domain_that_is_not_installed_is_refused_in_one_line(folder, tmp_path, statecast):
    values = recipe("points", folder)
    values["data"] = values["data"] | {"domain": "jets"}
    (tmp_path / "recipe.yaml").write_text(json.dumps(values))
    code, error = statecast("pretrain", "recipe.yaml", "--out", "run", "--quiet")
    assert (
        code == 2 and "there is no domain jets" in error and "chain, fields, images, mixed, particles, points" in error
    )


def test_sources_of_strangers_are_not_fields(pretrained):
    trained = sc.load(pretrained[1])
    source = trained.domain.open(trained.recipe, "train", trained.codecs)
    assert isinstance(source, FileSource) and not any(isinstance(c.stream, Stream) for c in source.codecs.values())
