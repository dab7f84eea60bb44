"""What a command prints when it is done: tables of skill, and where the result lies."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from statecast.evaluation import Verification


def print_path(what: str, path: Path) -> None:
    """Once, also where several processes run the command."""
    from statecast.training import is_first_process

    if is_first_process():
        print(f"{what}: {path}")


def print_skill(verifications: "Sequence[Verification]", *, before: str = "", lead_time_h: float | None = None) -> None:
    """A table of each task, at its last lead time if none is given; `before` stands before its title."""
    from statecast.fields.evaluation.report import relative_table

    for task in dict.fromkeys(v.task for v in verifications):
        shown = [v for v in verifications if v.task == task]
        leads, ahead = shown[0].labels("lead_time_h")[-1:], ""
        if lead_time_h is not None and leads != (None,):
            leads, ahead = (lead_time_h,), f" {lead_time_h:g} h ahead"
        print_table(f"{before}{task}, RMSE{ahead}", relative_table(shown, leads))


def print_sample_scores(verifications: "Sequence[Verification]") -> None:
    """A table of the scores of whole samples, each with its 95 % interval."""
    rows = [["stream", "forecast", "metric", "value", "95 % interval", "samples"]]
    for each in verifications:
        for record in each.records():
            numbers = (f"{record['value']:.4g}", f"{record['low']:.4g} to {record['high']:.4g}", str(record["n"]))
            rows.append([record["stream"], record["forecast"], record["metric"], *numbers])
    print_table(verifications[0].task if verifications else "nothing was asked", rows)


def print_table(title: str, rows: list[list[str]]) -> None:
    table = Table(title=title, header_style="bold")
    for number, cell in enumerate(rows[0]):
        table.add_column(cell, justify="left" if number < 2 else "right")
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)
