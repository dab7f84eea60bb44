"""What holds for every command: its numbers can be meant, and its output lies apart from what it reads."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from statecast.cli.options import CommandError
from statecast.documents import DocumentError, require_plain_value
from statecast.messages import quoted

MOST = 10**12  # of a whole number in a command: a larger one is a typing error


def guarded(command: Callable[..., None], *, goes_on: bool = False) -> Callable[..., None]:
    """The command with its options checked before anything is read; `goes_on`: it continues what stands at its output."""

    @wraps(command)
    def run(**options: Any) -> None:
        from statecast.outputs import require_place

        for name, value in options.items():
            for part in value if isinstance(value, list | tuple) else (value,):
                _require_sane(f"--{name.replace('_', '-')}", part)
        _require_once(options.get("overrides") or ())
        out, overwrite = options.get("out"), options.get("overwrite", False)
        if out is not None:
            require_place(out, overwrite=overwrite or goes_on or options.get("resume", False))
            _require_apart(out, options)
        command(**options)

    return run


def require_utf8(arguments: list[str]) -> None:
    """Raises CommandError for an argument that is not UTF-8: a message or a file could not name it."""
    for argument in arguments:
        try:
            os.fsencode(argument).decode()
        except UnicodeError:
            raise CommandError(
                f"{quoted(argument)} is not UTF-8, expected names and texts in it. Rename the file."
            ) from None


def _require_sane(name: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise CommandError(f"{name} is {value}, expected a finite number.")
    if isinstance(value, int) and abs(value) > MOST:
        raise CommandError(f"{name} is {quoted(value)}, expected at most {MOST:,}.")
    if isinstance(value, str | Path):
        try:
            require_plain_value(str(value), name)
        except DocumentError as error:
            raise CommandError(f"{error}.") from None


def _require_once(overrides: Sequence[str]) -> None:
    keys = [override.partition("=")[0] for override in overrides]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise CommandError(f"override {twice[0]}: is given {keys.count(twice[0])} times, expected once. Leave one out.")


def _require_apart(out: Path, options: Mapping[str, Any]) -> None:
    """Raises CommandError if the output would take the place of something that the command reads."""
    real = os.path.realpath(out)
    for name, given in _texts(options):
        there = os.path.realpath(given)
        if os.path.lexists(there) and os.path.commonpath([there, real]) == real:
            raise CommandError(f"--out {out} would replace what {name} {given} reads. Choose another output.")


def _texts(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each option, or part of it, that may name something to read."""
    for name, value in options.items():
        for part in value if isinstance(value, list | tuple) else (value,):
            if isinstance(part, str):
                yield name, part.rpartition("=")[2]
