"""Several processes, started as a user or torchrun starts them: same losses, checkpoints that any number of processes can open."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from forked import command, command_of_rank, start
from safetensors.torch import load_file

import statecast
from statecast.training.batches import BatchError, SharedBatches
from statecast.training.logs import read_metrics

STEPS, EVERY = 6, 2
pytestmark = pytest.mark.timeout(400)  # each process of its own takes seconds to import its libraries


@pytest.fixture(scope="module")
def recipe(runs, tmp_path_factory) -> Path:
    """Six steps of four samples, with a checkpoint after every second."""
    training = {
        "steps": STEPS,
        "batch_size": 4,
        "checkpoint_every": EVERY,
        "keep_checkpoints": 3,
        "validate_every": 3,
        "validation_samples": 4,
        "footprint": False,
    }
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(yaml.safe_dump(runs.recipe | {"training": training}))
    return path


@pytest.fixture(scope="module")
def single(recipe) -> Path:
    out = recipe.with_name("single")
    statecast.pretrain(str(recipe), out, progress=False)
    return out


def arguments(recipe: Path, out: Path, *options: str) -> list[str]:
    return ["pretrain", str(recipe), "--out", str(out), "--quiet", *options]


def run_command(recipe: Path, out: Path, *options: str) -> None:
    """As a user does."""
    command_line = [sys.executable, "-m", "statecast", *arguments(recipe, out, *options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command_line, env=environment, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("model:") == 1


def run_two_as_torchrun_does(recipe: Path, out: Path, *options: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    processes = []
    for rank in (0, 1):
        environment = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
        output = out.with_name(f"output-{rank}")
        asked = arguments(recipe, out, *options)
        processes.append(start(command_of_rank, rank, *asked, output=output, environment=environment))
    for process in processes:
        process.join(380)
    said = [out.with_name(f"output-{rank}").read_text() for rank in (0, 1)]
    assert [process.exitcode for process in processes] == [0, 0], said
    assert "".join(said).count("model:") == 1


def stopped_copy(run: Path, out: Path, step: int) -> None:
    """The run as it stood after its checkpoint of that step."""
    unfinished = out.with_name(f"{out.name}.unfinished")
    shutil.copytree(run, unfinished)
    (unfinished / "model").rename(unfinished / "start")
    for later in range(step + EVERY, STEPS + 1, EVERY):
        (unfinished / "checkpoints" / f"step-{later:08d}.ckpt").unlink()


def losses(run: Path) -> list[float]:
    return [row[key] for row in read_metrics(run) for key in ("loss", "validation_loss") if key in row]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def assert_equal_to_rounding(run: Path, other: Path) -> None:
    assert losses(run) == pytest.approx(losses(other), rel=1e-5) and len(losses(run)) == 3
    torch.testing.assert_close(weights(run), weights(other), rtol=1e-3, atol=1e-4)


def test_two_processes_give_the_losses_of_one(recipe, single, tmp_path):
    run_command(recipe, tmp_path / "ddp", "--devices", "2")
    assert_equal_to_rounding(tmp_path / "ddp", single)


def test_a_checkpoint_of_one_process_goes_on_sharded_over_two_and_back(recipe, single, tmp_path):
    """One process to step 2, two to step 4, one to the end."""
    stopped_copy(single, tmp_path / "sharded", EVERY)
    run_two_as_torchrun_does(recipe, tmp_path / "sharded", "--resume", "--devices", "2", "--strategy", "fsdp")
    assert_equal_to_rounding(tmp_path / "sharded", single)
    stopped_copy(tmp_path / "sharded", tmp_path / "back", 2 * EVERY)
    statecast.pretrain(str(recipe), tmp_path / "back", resume=True, progress=False)
    assert_equal_to_rounding(tmp_path / "back", single)


def test_a_run_that_was_killed_again_and_again_ends_with_the_same_weights(recipe, single, tmp_path):
    """Killed once right after a checkpoint appeared and once while one is written."""
    out, unfinished = tmp_path / "killed", tmp_path / "killed.unfinished"
    for wanted in ("step-*.ckpt", "*.part"):
        process = start(command, *arguments(recipe, out, "--resume"), output=tmp_path / "output")
        began = time.monotonic()
        while process.is_alive() and not any((unfinished / "checkpoints").glob(wanted)):
            time.sleep(0.001)
            assert time.monotonic() - began < 180
        process.kill()
        process.join()
    if not out.exists():  # the file of a checkpoint in writing is there for some milliseconds only
        statecast.pretrain(str(recipe), out, resume=True, progress=False)
    assert all(torch.equal(value, weights(single)[name]) for name, value in weights(out).items())


def test_sigterm_ends_the_command_with_an_exit_code_of_its_own(recipe, tmp_path):
    out, output = tmp_path / "stopped", tmp_path / "output"
    asked = arguments(recipe, out, "training.steps=5000", "training.checkpoint_every=20")
    process = start(command, *asked, output=output)
    while process.is_alive() and not any((tmp_path / "stopped.unfinished" / "checkpoints").glob("step-*.ckpt")):
        time.sleep(0.01)
    process.terminate()
    process.join(180)
    assert process.exitcode == 75, output.read_text()
    assert output.read_text().splitlines()[-1].startswith("statecast: SIGTERM stopped the training at step")


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (2, 1), (4, 1), (2, 2), (1, 4)])
def test_every_sample_is_taken_once_and_steps_hold_the_same_samples_on_any_number_of_processes(processes, accumulate):
    shares = [list(SharedBatches(24, 8, accumulate, processes, rank)) for rank in range(processes)]
    assert all(len(share) == len(SharedBatches(24, 8, accumulate, processes)) for share in shares)
    for step in range(3):
        parts = [part for share in shares for part in share[step * accumulate : (step + 1) * accumulate]]
        assert sorted(sample for part in parts for sample in part) == list(range(8 * step, 8 * step + 8))


def test_a_training_that_goes_on_starts_with_the_samples_of_its_step():
    assert list(SharedBatches(12, 4, 2, first_step=2)) == [[8, 9], [10, 11]]


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(BatchError, match="batch_size 6 can't be divided evenly among 4 processes"):
        SharedBatches(24, 6, processes=4)
