"""The application: its commands in the order of the help, and one line for a user's mistake."""

import sys
import warnings
from collections.abc import Callable

import typer

from statecast.cli.answers import complete, embed, evaluate, explain, predict
from statecast.cli.data import Simulations, atmosphere, describe, events, jets
from statecast.cli.jets import generate, search, tag
from statecast.cli.prepare import append, prepare
from statecast.cli.quickstart import quickstart
from statecast.cli.training import cost, finetune, pretrain, samples, update

USER_ERROR = 2
COMMANDS: tuple[Callable[..., None], ...] = (
    quickstart,
    pretrain,
    finetune,
    cost,
    update,
    samples,
    evaluate,
    predict,
    complete,
    explain,
    embed,
    tag,
    generate,
    search,
)
DATA_COMMANDS: tuple[Callable[..., None], ...] = (describe, prepare, append)
SIMULATE_COMMANDS: tuple[Callable[..., None], ...] = (atmosphere, jets, events)


def main() -> None:
    """Entry point: a user's mistake is one line on standard error and exit code 2; a run that a signal stopped has exit code 75."""
    warnings.filterwarnings("ignore", module="lightning")
    try:
        _app()()
    except (ValueError, FloatingPointError, ModuleNotFoundError, InterruptedError) as error:
        if not is_users_mistake(error):
            raise
        print(f"statecast: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", USER_ERROR))


def is_users_mistake(error: Exception) -> bool:
    """Errors of statecast's own classes have one line; another ValueError is a bug and keeps its traceback."""
    return type(error).__module__.startswith("statecast.") or isinstance(error, FloatingPointError)


def _app() -> typer.Typer:
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Pre-train a foundation model on the record of a physical system and fine-tune it for every question asked of it.",
    )
    for command in COMMANDS:
        app.command()(command)
    data = typer.Typer(no_args_is_help=True, help="Look at stores, prepare them from archives, or simulate data.")
    for command in DATA_COMMANDS:
        data.command()(command)
    simulate = typer.Typer(
        cls=Simulations,
        no_args_is_help=True,
        help="Simulate an atmosphere, jets or events. Options that follow directly are those of the atmosphere.",
    )
    for command in SIMULATE_COMMANDS:
        simulate.command()(command)
    data.add_typer(simulate, name="simulate")
    app.add_typer(data, name="data")
    return app
