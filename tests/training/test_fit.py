"""Fitting: the same run twice, its logs, and what stops it. Lightning's own warnings about its surroundings are not ours."""

import csv
import dataclasses
import functools

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch._dynamo.backends.debugging import aot_eager
from torch._utils import ExceptionWrapper
from torch.nn.functional import gelu, scaled_dot_product_attention

from statecast.models.losses import question_loss
from statecast.streams import stack_questions
from statecast.tasks import Masked
from statecast.training import ONE_DEVICE, Devices, TrainingOptions
from statecast.training.batches import BatchError, said_by_worker
from statecast.training.fit import fit
from statecast.training.fitting import LossError, compiled
from statecast.training.logs import LoggerError
from statecast.training.options import DeviceError
from statecast.training.saved import checkpoint_weights

OPTIONS = {"steps": 3, "batch_size": 2, "learning_rate": 1e-3, "loggers": (), "footprint": False}


@pytest.fixture
def run(questions, make_model, tmp_path):
    """Fit a new model into a directory of its own; returns the model and the directory."""

    def run(name: str = "run", *, dataset=None, validation=None, seed: int = 0, devices=ONE_DEVICE, **options):
        model = make_model(seed)
        fit(
            model,
            dataset or questions,
            validation,
            TrainingOptions(**(OPTIONS | options)),
            tmp_path / name,
            devices=devices,
            progress=False,
        )
        return model, tmp_path / name

    return run


def log_of(directory) -> list[dict[str, str]]:
    return list(csv.DictReader((directory / "logs" / "csv" / "metrics.csv").read_text().splitlines()))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(run):
    (one, _), (same, _), (other, _) = run("one"), run("same"), run("other", seed=1)
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in one.state_dict().items())
    assert not torch.equal(one.state_dict()["heads.air.weight"], other.state_dict()["heads.air.weight"])


def test_fitting_leaves_the_global_random_state_alone_in_what_it_gives(run):
    torch.manual_seed(1)
    one, _ = run("one")
    torch.manual_seed(2)
    same, _ = run("same")
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in one.state_dict().items())


def test_fitting_lowers_the_loss_of_what_it_was_shown(run, questions, make_model):
    batch = stack_questions([questions[0], questions[1]])

    def loss(model) -> float:
        with torch.no_grad():
            return question_loss(model, model.answer(batch), batch).item()

    repeated = dataclasses.replace(questions, samples=60)
    fitted, _ = run(dataset=repeated, steps=30, learning_rate=3e-3)
    assert loss(fitted) < 0.95 * loss(make_model())  # of noise
    assert not fitted.training


def test_losses_are_written_as_csv_and_for_tensorboard(run, questions):
    _, directory = run(validation=questions, steps=4, validate_every=2, loggers=("csv", "tensorboard"))
    rows = log_of(directory)
    assert any(row["loss"] for row in rows)
    assert sum(bool(row["validation_loss"]) for row in rows) == 2
    assert any(float(row["learning_rate"] or 0) > 0 for row in rows)
    events = EventAccumulator(str(directory / "logs" / "tensorboard"))
    events.Reload()
    assert {"loss", "learning_rate", "validation_loss"} <= set(events.Tags()["scalars"])
    assert len(events.Scalars("validation_loss")) == 2
    assert (directory / "checkpoints" / "best.ckpt").is_file()


def test_loggers_can_be_left_out(run):
    _, directory = run(loggers=())
    assert not (directory / "logs").exists()


def test_validation_does_not_change_what_is_learned(run, questions):
    (with_validation, _), (without, _) = run("one", validation=questions, validate_every=1), run("other")
    assert all(torch.equal(v, without.state_dict()[name]) for name, v in with_validation.state_dict().items())


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step(run, corrupt):
    with pytest.raises(FloatingPointError, match="at step 2"):
        run(dataset=corrupt)


def test_the_average_of_the_weights_is_the_result_if_asked(run):
    """Of the weights after each step, which the checkpoints of the same run without an average hold: m <- 0.9 m + 0.1 w, from the first."""
    _, directory = run("last", checkpoint_every=1, keep_checkpoints=3)
    averaged, _ = run("averaged", ema=0.9)
    after = [checkpoint_weights(path) for path in sorted((directory / "checkpoints").glob("step-*.ckpt"))]
    assert len(after) == 3
    for name, mean in averaged.state_dict().items():
        expected = after[0][name]
        for weights in after[1:]:
            expected = 0.9 * expected + 0.1 * weights[name]
        torch.testing.assert_close(mean, expected)
    assert not torch.equal(mean, after[-1][name])


def test_progress_is_told_without_changing_the_result(run, questions, make_model, tmp_path, capsys):
    quiet, _ = run("quiet")
    told = make_model()
    seconds = fit(told, questions, None, TrainingOptions(**OPTIONS), tmp_path / "told", title="fitting", progress=True)
    out = capsys.readouterr().out
    assert seconds > 0 and all(part in out for part in ("fitting", "loss ", "samples/s", "% of peak", "% waiting"))
    assert all(torch.equal(v, told.state_dict()[name]) for name, v in quiet.state_dict().items())


def test_a_loss_that_has_exploded_stops_the_run_with_its_stream_and_samples(run):
    with pytest.raises(
        LossError, match=r"stream air is \d.* at step 0, samples 0 to 1\. Inspect them with `statecast sa"
    ):
        run(largest_loss=1e-3)


def test_parts_of_a_step_add_up_to_its_gradient(run):
    (whole, _), (parts, _) = run("whole"), run("parts", accumulate=2)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_computing_activations_again_changes_nothing(run):
    (kept, _), (again, _) = run("kept"), run("again", activation_checkpointing=True)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in kept.state_dict().items())


def test_autocast_to_bfloat16_stays_near_full_precision(run, questions):
    (_, full), (_, half) = (
        run(name, validation=questions, steps=4, validate_every=4, loggers=("csv",), precision=precision)
        for name, precision in (("full", "32-true"), ("half", "bf16-mixed"))
    )
    losses = [next(float(r["validation_loss"]) for r in log_of(d) if r["validation_loss"]) for d in (full, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.03) and losses[1] != losses[0]


def test_a_logger_that_is_not_installed_is_named(run, monkeypatch):
    def missing(*args, **kwargs):
        raise ModuleNotFoundError("no module named wandb")

    monkeypatch.setattr("statecast.training.logs.WandbLogger", missing)
    with pytest.raises(
        LoggerError, match=r"wandb is not installed\. Install it with `pip install 'statecast\[wandb\]'`"
    ):
        run(loggers=("wandb",))


def test_an_average_of_sharded_weights_is_refused(run):
    with pytest.raises(DeviceError, match=r"training\.ema can't average"):
        run(ema=0.9, devices=Devices(2, strategy="fsdp"))


def test_a_compiled_model_is_trained_to_the_same_weights(run, questions, monkeypatch):
    """Traced once for all numbers of tokens. Without C++, whose compiling takes a minute and a half on a core.

    The first step shows and asks other numbers of tokens than there are coordinates: torch takes equal sizes for one.
    """
    traced, single_tokens = [], dataclasses.replace(questions, task=Masked(slabs=3, later_slabs=0.0))
    counts = [len(single_tokens[2 * step].queries["air"]) for step in range(OPTIONS["steps"])]
    assert len(set(counts)) > 1

    def compile_without_cpp(graph, inputs, options):
        traced.append(graph)
        return aot_eager(graph, inputs)

    plain, _ = run(
        "plain", dataset=single_tokens, optimiser="adamw"
    )  # an orthogonal step is as large for rounding as for a gradient
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=compile_without_cpp))
    compiled, _ = run("compiled", dataset=single_tokens, optimiser="adamw", compile=True)
    assert len(traced) == 1
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # of torch itself
def test_a_compiled_function_may_join_what_its_gradient_needs():
    """With C++: coordinates enter the embedding, joined to others, and the distances of attention. Two lengths, compiled once."""

    def answer(coords, weight, log_sharpness):
        height = torch.log(1000 / coords[..., 5:6])
        content = gelu(torch.cat([height, height.sin(), height.cos()], dim=-1) @ weight)
        spot = torch.log(1000 / coords[..., 5:6])[:, None]
        query = torch.cat([content[:, None], log_sharpness.exp() * spot], dim=-1)
        return scaled_dot_product_attention(query, query, query).square().sum()

    weights = torch.randn(3, 7, requires_grad=True), torch.randn(1, 1, 1, 1, requires_grad=True)
    compiled_answer = compiled(answer)
    for length in (5, 7):
        coords = torch.rand(2, length, 8) + 0.1
        gradients = torch.autograd.grad(compiled_answer(coords, *weights), weights)
        torch.testing.assert_close(
            gradients, torch.autograd.grad(answer(coords, *weights), weights), rtol=1e-4, atol=1e-4
        )


def test_what_a_worker_raises_is_told_in_its_own_line():
    try:
        try:
            raise OSError("no answer")
        except OSError as error:
            raise BatchError("variable 't': chunk 3.0.0 can't be fetched (8 tries, no answer).") from error
    except BatchError:
        raised = ExceptionWrapper(where="in DataLoader worker process 1")
    with pytest.raises(BatchError) as caught:
        raised.reraise()
    said = said_by_worker(caught.value)
    assert type(said) is BatchError and str(said) == "variable 't': chunk 3.0.0 can't be fetched (8 tries, no answer)."
    assert said_by_worker(ValueError("another")) is None and said_by_worker(ValueError()) is None
