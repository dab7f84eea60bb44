"""Runs that were stopped end as those that were not, to the bit."""

import dataclasses
import errno
import os
import shutil
import signal
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from statecast import load, pretrain
from statecast.streams import Question
from statecast.training import QuestionDataset, TrainingOptions
from statecast.training.checkpoints import RunStopped
from statecast.training.fit import fit
from statecast.training.logs import read_metrics
from statecast.training.saved import CheckpointError, last_checkpoint

OPTIONS = {
    "steps": 8,
    "batch_size": 2,
    "learning_rate": 1e-2,
    "checkpoint_every": 2,
    "keep_checkpoints": 2,
    "validate_every": 4,
    "footprint": False,
}


@dataclasses.dataclass(frozen=True)
class Signalled(QuestionDataset):
    """The process is told to stop as sample `at` is read."""

    at: int = 0
    number: int = signal.SIGTERM

    def __getitem__(self, index: int) -> Question:
        if index == self.at:
            os.kill(os.getpid(), self.number)
        return super().__getitem__(index)


@dataclasses.dataclass(frozen=True)
class Wrong(QuestionDataset):
    """Every answer is far too large."""

    def __getitem__(self, index: int) -> Question:
        question = super().__getitem__(index)
        queries = {n: t.replace(t.values + 5) for n, t in question.queries.items()}
        return dataclasses.replace(question, queries=queries)


@pytest.fixture(scope="module")
def train_in(questions, make_model):
    """Fit a model of its own into a directory; returns its weights."""
    long = dataclasses.replace(questions, samples=16)

    def train(out: Path, *, signal_at: int | None = None, number: int = signal.SIGTERM, resume=False, **options):
        model = make_model(7 if resume else 0)  # what is resumed must not come from the new weights
        values = {f.name: getattr(long, f.name) for f in dataclasses.fields(long)}
        dataset = long if signal_at is None else Signalled(**values, at=signal_at, number=number)
        settings = TrainingOptions(**(OPTIONS | options))
        fit(model, dataset, questions, settings, out, resume=resume, progress=False)
        return model.state_dict()

    return train


@pytest.fixture
def train(train_in, tmp_path):
    return lambda name, **options: train_in(tmp_path / name, **options)


class Whole(NamedTuple):
    """A training that was not stopped."""

    weights: dict[str, torch.Tensor]
    directory: Path
    signals: list[tuple]  # what each signal did before and after it


@pytest.fixture(scope="module")
def whole(train_in, tmp_path_factory) -> Whole:
    out = tmp_path_factory.mktemp("whole") / "whole"
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    weights = train_in(out)
    after = [signal.getsignal(number) for number in numbers]
    return Whole(weights, out, list(zip(before, after, strict=True)))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_after_a_training_signals_do_what_they_did_before_it(whole):
    assert len(whole.signals) == 3 and all(before == after for before, after in whole.signals)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_and_the_resumed_run_ends_with_the_same_weights(train, whole, tmp_path, number):
    with pytest.raises(
        RunStopped, match=rf"{signal.Signals(number).name} stopped the training at step 3, after a checkp"
    ):
        train("stopped", signal_at=5, number=number)
    assert (tmp_path / "stopped" / "checkpoints" / "step-00000003.ckpt").is_file()
    assert same(train("stopped", resume=True), whole.weights)


@pytest.mark.parametrize(
    "options",
    [{"ema": 0.5}, {"workers": 1}, {"accumulate": 2}, {"result": "best"}, {"activation_checkpointing": True}],
    ids=lambda options: next(iter(options)),
)
def test_a_resumed_run_ends_with_the_same_weights_whatever_the_options(train, options):
    whole = train("whole", **options)
    with pytest.raises(RunStopped):  # workers are processes of their own: the part before the signal does without
        train("stopped", signal_at=7, **(options | {"workers": 0}))
    assert same(train("stopped", resume=True, **options), whole)


def test_the_log_of_a_resumed_run_is_that_of_one_that_was_not_stopped(train, whole, tmp_path):
    with pytest.raises(RunStopped):
        train("stopped", signal_at=9)
    train("stopped", resume=True)
    assert read_metrics(tmp_path / "stopped") == read_metrics(whole.directory) != []


def test_a_truncated_checkpoint_is_named_and_the_one_before_is_used(train, whole, tmp_path):
    with pytest.raises(RunStopped):
        train("stopped", signal_at=12)
    last = tmp_path / "stopped" / "checkpoints" / "step-00000007.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    with pytest.warns(UserWarning, match=r"step-00000007\.ckpt can't be read"):
        resumed = train("stopped", resume=True)
    assert same(resumed, whole.weights)


def test_if_no_checkpoint_can_be_read_nothing_is_begun_anew(tmp_path):
    (tmp_path / "step-00000002.ckpt").write_bytes(b"no archive")
    with warnings.catch_warnings(), pytest.raises(CheckpointError, match="none of the checkpoints"):
        warnings.simplefilter("ignore")
        last_checkpoint(tmp_path)
    assert last_checkpoint(tmp_path / "nowhere") is None


def test_a_full_disk_is_named_and_the_checkpoint_before_stays(train, whole, tmp_path, monkeypatch):
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        train("full")
    monkeypatch.undo()
    checkpoints = sorted(p.name for p in (tmp_path / "full" / "checkpoints").iterdir())
    assert checkpoints and not any(name.endswith(".part") for name in checkpoints)
    assert same(train("full", resume=True), whole.weights)


def test_the_last_checkpoints_and_the_best_stay(whole):
    kept = sorted(p.name for p in (whole.directory / "checkpoints").iterdir())
    assert kept == ["best.ckpt", "step-00000006.ckpt", "step-00000008.ckpt"]


def test_the_best_weights_are_the_result_if_asked(questions, make_model, tmp_path):
    """What is learned is wrong, so that it isn't the last."""
    values = {f.name: getattr(questions, f.name) for f in dataclasses.fields(questions)}
    weights = {}
    for result in ("best", "last"):
        model, options = (
            make_model(),
            TrainingOptions(**(OPTIONS | {"steps": 4, "validate_every": 1, "result": result})),
        )
        fit(model, Wrong(**values), questions, options, tmp_path / result, progress=False)
        weights[result] = model.state_dict()
    stored = torch.load(tmp_path / "best" / "checkpoints" / "best.ckpt", weights_only=True)
    validations = [row for row in read_metrics(tmp_path / "best") if "validation_loss" in row]
    best = min(validations, key=lambda row: row["validation_loss"])
    assert stored["global_step"] == 1 + best["step"] < len(validations) == 4
    assert not same(weights["best"], weights["last"])
    assert same(weights["best"], {k.removeprefix("model."): v for k, v in stored["state_dict"].items()})


def test_a_checkpoint_of_another_training_is_refused_and_the_run_stays_as_it_was(runs, tmp_path):
    """Of another model, of another run, or written by another program."""
    recipe = runs.recipe | {"training": runs.recipe["training"] | {"checkpoint_every": 1, "steps": 2}}
    other = recipe | {"model": recipe["model"] | {"width": 64}}
    (tmp_path / "run.unfinished").mkdir()
    pretrain(recipe, tmp_path / "same", progress=False)
    pretrain(recipe | {"seed": 1}, tmp_path / "seed", progress=False)
    pretrain(other, tmp_path / "wide", progress=False)
    torch.save({"state_dict": {}}, tmp_path / "program.ckpt")
    unfinished = tmp_path / "run.unfinished"
    for foreign, message in (
        ("seed", "is of another run"),
        ("wide", "is of another model"),
        ("program", "can be read"),
    ):
        shutil.rmtree(unfinished)
        shutil.copytree(tmp_path / "same", unfinished)
        load(tmp_path / "same")
        (unfinished / "model").rename(unfinished / "start")
        checkpoint = tmp_path / foreign / "checkpoints" / "step-00000002.ckpt"
        shutil.rmtree(unfinished / "checkpoints")
        (unfinished / "checkpoints").mkdir()
        shutil.copy(
            checkpoint if checkpoint.exists() else tmp_path / "program.ckpt",
            unfinished / "checkpoints" / "step-00000002.ckpt",
        )
        before = sorted((str(path), path.lstat().st_mtime_ns) for path in unfinished.rglob("*") if path.is_file())
        with pytest.raises(CheckpointError, match=message):
            pretrain(recipe, tmp_path / "run", resume=True, progress=False)
        assert before == sorted(
            (str(path), path.lstat().st_mtime_ns) for path in unfinished.rglob("*") if path.is_file()
        )
