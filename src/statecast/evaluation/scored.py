"""What an evaluation leaves whose scores are no means over samples: a page and `scores.json`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from statecast.evaluation.bootstrap import Score
from statecast.evaluation.report import score_table

Tables = list[tuple[str, list[list[str]]]]
"""Titles and rows, the first of which names the columns."""


def by_task(scores: Sequence[Score]) -> Tables:
    """A titled table of each task."""
    tasks = dict.fromkeys(score.task for score in scores)
    return [(task, score_table([score for score in scores if score.task == task])) for task in tasks]


@dataclass(frozen=True)
class ScoredEvaluation:
    """The directory of an evaluation, its scores, and how they are arranged in tables."""

    out: Path
    scores: Sequence[Score]
    arranged: Callable[[Sequence[Score]], Tables] = by_task

    @property
    def written(self) -> Path:
        """The file to look at."""
        report = self.out / "report.html"
        return report if report.exists() else self.out / "scores.json"

    def tables(self) -> Tables:
        return self.arranged(self.scores)


def write_records(scores: Sequence[Score], directory: Path) -> None:
    """Write `scores.json` into the directory."""
    records = [score.record() for score in scores]
    (directory / "scores.json").write_text(json.dumps(records, indent=1, allow_nan=False), encoding="utf-8")
