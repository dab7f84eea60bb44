"""What a command prints when it is done: tables of skill, and where the result lies."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table


def print_path(what: str, path: Path) -> None:
    """Once, also where several processes run the command."""
    from statecast.training import is_first_process

    if is_first_process():
        print(f"{what}: {path}")


def print_tables(tables: Iterable[tuple[str, list[list[str]]]]) -> None:
    """Tables with their titles."""
    for title, rows in tables:
        print_table(title, rows)


def print_table(title: str, rows: list[list[str]]) -> None:
    table = Table(title=title, header_style="bold")
    for number, cell in enumerate(rows[0]):
        table.add_column(cell, justify="left" if number < 2 else "right")
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)
