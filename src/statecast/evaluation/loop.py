"""The verification loop: cases are drawn one by one, each forecast of each is scored, and the statistics are collected.

    streams = LabelAxis("stream", {"stream": ("particles", "jet")})

    def score(batch):
        yield Scored("tag", "model", (streams,), {"accuracy": accuracy(model, batch)})  # one value a stream
        yield Scored("tag", "majority", (streams,), {"accuracy": accuracy(majority, batch)})

    write_scores(verify_cases(batches, score), out)  # {forecast, task, stream, metric, value, low, high, n}

Axes: S case, R rank; *A are the axes of a domain.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from statecast.evaluation.scores import Means, Scores, mean_scores
from statecast.evaluation.verification import LabelAxis, Verification

Case = TypeVar("Case")
Progress = Callable[[float], None]
"""Called with the share that is done."""


def unseen(done: float) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Scored:
    """One forecast of one case.

    axes        of the statistics, the same at every case of a task
    statistics  by name; NaN where the case says nothing
    members     of the forecast, the same at every case
    ranks       how often the truth has each rank among the members; None: not counted
    """

    task: str
    forecast: str
    axes: tuple[LabelAxis, ...]
    statistics: Means
    members: int = 1
    ranks: Float[np.ndarray, "*A R"] | None = None


def verify_cases(
    cases: Sequence[Case],
    score: Callable[[Case], Iterable[Scored]],
    *,
    positions: Float[np.ndarray, " S"] | None = None,
    decorrelation: float = 0.0,
    scores: Scores = mean_scores,
    progress: Progress = unseen,
) -> list[Verification]:
    """Score every case; one verification for each task and forecast, in the order in which they first come.

    cases          of any type; where they are many and small, such as jets, let one be a batch of them and its statistics means over it
    score          draws a case and scores each forecast of it; a task or forecast may be missing from some cases
    positions      of the cases, in increasing order for each task; none: their numbers
    decorrelation, scores  of the verifications, see `Verification`
    progress       called with the share that is done
    """
    where = np.arange(len(cases), dtype=float) if positions is None else positions
    collected: dict[tuple[str, str], list[tuple[float, Scored]]] = {}
    for number, case in enumerate(cases):
        for scored in score(case):
            collected.setdefault((scored.task, scored.forecast), []).append((where[number], scored))
        progress((number + 1) / len(cases))
    return [_verification(parts, decorrelation, scores) for parts in collected.values()]


def _verification(parts: Sequence[tuple[float, Scored]], decorrelation: float, scores: Scores) -> Verification:
    """Of the cases of one task and forecast."""
    positions, of_cases = zip(*parts, strict=True)
    first = of_cases[0]
    statistics = {}
    for name in first.statistics:
        statistics[name] = np.stack([scored.statistics[name] for scored in of_cases])
    counts = [scored.ranks for scored in of_cases if scored.ranks is not None]
    return Verification(
        first.forecast,
        first.task,
        first.axes,
        statistics,
        np.array(positions),
        decorrelation,
        first.members,
        scores,
        np.sum(counts, axis=0) if counts else None,
    )
