"""Processes that fork from one which has imported the libraries once: a new interpreter takes seconds to."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import statecast

IMPORTED = ("statecast.cli", "statecast.runs", "statecast.fields.domain", "statecast.particles.domain")


def start(
    run: Callable[..., None], *arguments: Any, output: Path, environment: Mapping[str, str] | None = None
) -> BaseProcess:
    """Call `run` in a process of its own, which writes to the file `output`; its exit code is that of the process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    process = context.Process(target=_call, args=(run, arguments, output, environment or {}), daemon=True)
    process.start()
    return process


def _call(run: Callable[..., None], arguments: tuple[Any, ...], output: Path, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    run(*arguments)


def command(*arguments: str) -> None:
    """`statecast ARGUMENTS`."""
    from statecast.cli import main

    sys.argv = ["statecast", *arguments]
    main()


def command_of_rank(rank: int, *arguments: str) -> None:
    """As torchrun starts it. Lightning reads its rank from the environment when it is imported, which it has been here."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    rank_zero_only.rank = rank
    command(*arguments)


def pretrain_until_killed(recipe: dict[str, Any], out: Path, source: type, samples: int) -> None:
    """Pre-train until so many samples of a class of sources are drawn; then SIGKILL."""
    draw, drawn = source.draw, []

    def killing(self, sample):
        drawn.append(sample)
        if len(drawn) > samples:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(self, sample)

    source.draw = killing
    statecast.pretrain(recipe, out, progress=False)
