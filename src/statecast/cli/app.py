"""The application: its commands in the order of the help, and one line for a user's mistake."""

import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import typer

from statecast.cli.answers import anomalies, complete, embed, evaluate, explain, predict
from statecast.cli.benchmark import benchmark
from statecast.cli.data import Simulations, atmosphere, describe, events, jets, showers, stations
from statecast.cli.guard import guarded, require_utf8
from statecast.cli.jets import codebook, generate, search, tag, unfold
from statecast.cli.prepare import append, prepare
from statecast.cli.quickstart import quickstart
from statecast.cli.training import cost, finetune, pretrain, samples, update
from statecast.cli.verify import verify
from statecast.messages import one_line

USER_ERROR = 2
LONGEST_LINE = 280  # letters of a message
OWN = (ValueError, FloatingPointError, ModuleNotFoundError, InterruptedError)
OUTSIDE = (OSError, MemoryError, UnicodeEncodeError, FloatingPointError)
OUT_OF_MEMORY = ("can't allocate memory", "out of memory")
"""In the messages of torch, whose errors are those of any other mistake in it."""
UsageError: type[Any] = typer.BadParameter.__bases__[
    0
]  # of Click, or of the copy of it that newer versions of typer hold
COMMANDS: tuple[Callable[..., None], ...] = (
    quickstart,
    pretrain,
    finetune,
    cost,
    update,
    samples,
    evaluate,
    verify,
    predict,
    complete,
    explain,
    anomalies,
    embed,
    tag,
    unfold,
    generate,
    codebook,
    search,
    benchmark,
)
DATA_COMMANDS: tuple[Callable[..., None], ...] = (describe, prepare, append)
SIMULATE_COMMANDS: tuple[Callable[..., None], ...] = (atmosphere, stations, jets, events, showers)


def main() -> None:
    """Entry point: a user's mistake is one line on standard error and exit code 2; a run that a signal stopped has exit code 75."""
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", ".*fails while guessing")  # xarray of a file that is none; an error follows
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where the locale lacks a letter
    try:
        require_utf8(sys.argv[1:])
        sys.exit(_app()(standalone_mode=False))
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            error.show()
        else:
            print(f"statecast: {one_line(_usage(error.format_message()), LONGEST_LINE)}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except Exception as error:
        if not is_users_mistake(error):
            raise
        print(f"statecast: {one_line(_told(error), LONGEST_LINE)}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", USER_ERROR))


def is_users_mistake(error: Exception) -> bool:
    """Errors of statecast's own classes have one line, and so have files and memory that are not there; another is a bug."""
    is_own = type(error).__module__.startswith("statecast.") and isinstance(error, OWN)
    return is_own or isinstance(error, OUTSIDE) or any(words in str(error) for words in OUT_OF_MEMORY)


def _told(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object} can't be written in {error.encoding}. Set the variable PYTHONUTF8=1, or another locale."
    if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
        return f"there is too little memory ({one_line(error)}). Choose a smaller batch, window or model."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}."
    return str(error)


def _usage(message: str) -> str:
    """The message of a wrong call; where a pattern without quotes gave several files, with the way to join them."""
    found = re.match(r"Got unexpected extra arguments?\S* \((\S+?)[\s)]", message)
    if found is None or not os.path.exists(found[1]):  # noqa: PTH110  a name may be too long for a path
        return message
    return (
        f"{found[1]}: is one file too many, expected one store. Make one of several files by "
        "`statecast data prepare cf --from 'PATTERN' --out STORE`, the pattern in quotes."
    )


def _app() -> typer.Typer:
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Pre-train a foundation model on the record of a physical system and fine-tune it for every question asked of it.",
    )
    for command in COMMANDS:
        app.command()(guarded(command))
    data = typer.Typer(no_args_is_help=True, help="Look at stores, prepare them from archives, or simulate data.")
    for command in DATA_COMMANDS:
        data.command()(guarded(command))
    simulate = typer.Typer(
        cls=Simulations,
        no_args_is_help=True,
        help="Simulate an atmosphere, stations, jets, events or showers. Options that follow directly are those of the atmosphere.",
    )
    for command in SIMULATE_COMMANDS:
        simulate.command()(guarded(command, goes_on=command is not stations))
    data.add_typer(simulate, name="simulate")
    app.add_typer(data, name="data")
    return app
