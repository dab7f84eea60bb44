"""Surprise as tables: a row for each sample, and a row for each channel of a token, with what says which token it is.

Axes: S sample, R row of the table of tokens, N token, V channel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from statecast.axes import column_names
from statecast.streams import UNKNOWN, Tokens, Window
from statecast.surprise.score import Surprised, by_channel, sample_scores
from statecast.surprise.usual import Usual

Columns = dict[str, np.ndarray]
Named = Callable[[Mapping[str, Any], Any, Window, str], Columns]
"""(codecs, label of the sample, window, stream) -> what says which token it is: columns with a value for each token of the stream."""
SHOWN = 10  # samples that the report and the command name


@dataclass(frozen=True)
class Tables:
    """The samples, from which `strangest` are taken, and their tokens.

    samples  sample, score, score_highest, surprise, stranger_share, and stream, token, channel, strangeness of the strangest token
    tokens   sample, stream, token, channel, surprise, excess, is_strange, and the columns that name a token
    """

    samples: Columns
    tokens: Columns

    def strangest(self) -> np.ndarray:
        """The numbers of the rows of the strangest samples, the strangest first."""
        score = np.nan_to_num(self.samples["score"].astype(float), nan=-np.inf)
        return np.argsort(-score, kind="stable")[:SHOWN]

    def as_dataset(self) -> xr.Dataset:
        """On (sample) and (row)."""
        samples = {name: ("sample", values) for name, values in self.samples.items() if name != "sample"}
        tokens = {f"token_{name}": ("row", values) for name, values in self.tokens.items()}
        return xr.Dataset(samples | tokens, {"sample": self.samples["sample"]})


class TableWriter:
    """Collects the rows of the samples, one sample after the other."""

    def __init__(self, codecs: Mapping[str, Any], usual: Usual | None, named: Named, *, tokens: bool = True) -> None:
        self._codecs, self._usual, self._named, self._keeps_tokens = codecs, usual, named, tokens
        self._samples: list[dict[str, Any]] = []
        self._tokens: list[Columns] = []

    def add(self, label: Any, window: Window, found: Mapping[str, Surprised]) -> None:
        """The rows of one sample."""
        rows = [part for name, of in found.items() if (part := self._rows(label, window, name, of)) is not None]
        mean, highest, total = sample_scores(found)
        sample = {"sample": label, "score": mean, "score_highest": highest, "surprise": total}
        if self._usual is not None:
            sample["stranger_share"] = stranger_share(mean, self._usual)
        self._samples.append(sample | _strangest(rows))
        if self._keeps_tokens:
            self._tokens += rows

    def tables(self) -> Tables:
        samples = {name: np.array([row.get(name) for row in self._samples]) for name in self._samples[0]}
        return Tables(samples, _joined(self._tokens))

    def _rows(self, label: Any, window: Window, name: str, of: Surprised) -> Columns | None:
        """A row for each channel of each token that was asked and observed."""
        excess, nats = (by_channel(each, window[name]) for each in (of.excess, of.nats))
        token, channel = np.nonzero(np.isfinite(excess))
        if len(token) == 0:
            return None
        strange = strangeness(excess, None if self._usual is None else self._usual.threshold[name])
        rows = {
            "sample": np.full(len(token), label),
            "stream": np.full(len(token), name),
            "token": token,
            "channel": np.array([*self._codecs[name].channels, "code"])[_places(self._codecs[name], excess)][channel],
            "surprise": nats[token, channel],
            "excess": excess[token, channel],
            "strangeness": strange[token, channel],
        }
        return rows | {key: values[token] for key, values in self._named(self._codecs, label, window, name).items()}


def _places(codec: Any, excess: np.ndarray) -> np.ndarray:
    """Which names belong to the columns: those of the channels, and last `code`; a codec that names none has the code alone."""
    names = len(codec.channels) + 1
    return np.minimum(np.arange(excess.shape[1]), names - 1)


def strangeness(excess: np.ndarray, threshold: np.ndarray | None) -> np.ndarray:
    """1 at the threshold of its channel, more above it; without thresholds the excess itself, in nats.

    1 + (excess - threshold) / max(|threshold|, 1)
    """
    if threshold is None:
        return excess
    return 1 + (excess - threshold) / np.maximum(np.abs(threshold), 1.0)


def stranger_share(score: float, usual: Usual) -> float:
    """Share of the usual windows with at least this score, at least one over their number."""
    known = usual.scores[np.isfinite(usual.scores)]
    above = len(known) - int(np.searchsorted(known, score, side="left"))
    return (above + 1) / (len(known) + 1)


def _strangest(rows: Sequence[Columns]) -> dict[str, Any]:
    """Which token of a sample is the strangest."""
    if not rows:
        return {"stream": "", "token": -1, "channel": "", "strangeness": np.nan, "which": "nothing was asked"}
    part = max(rows, key=lambda each: each["strangeness"].max())
    best = int(part["strangeness"].argmax())
    chosen = {key: values[best] for key, values in part.items()}
    known = ("sample", "stream", "token", "channel", "surprise", "excess", "strangeness")
    which = ", ".join(f"{key} {_text(value)}" for key, value in chosen.items() if key not in known)
    return {key: chosen[key] for key in ("stream", "token", "channel", "strangeness")} | {"which": which}


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _joined(parts: Sequence[Columns]) -> Columns:
    """The rows of all parts; a column that a part lacks is NaN there, or empty."""
    kinds = {key: values.dtype for part in parts for key, values in part.items()}
    whole = {}
    for key, kind in kinds.items():
        blank: Any = "" if kind.kind == "U" else np.nan
        whole[key] = np.concatenate([part.get(key, np.full(len(part["token"]), blank)) for part in parts])
    return whole


def by_coordinates(codecs: Mapping[str, Any], label: Any, window: Window, name: str) -> Columns:
    """The coordinates of the tokens of a stream, and the names of their codes."""
    tokens: Tokens = window[name]
    found = {column: tokens.coordinate(column).numpy() for column in column_names(tokens.spec.axes)}
    if tokens.codes is not None:
        categories = np.array([*codecs[name].categories, "unknown"])
        codes = tokens.codes.numpy()
        found["code"] = categories[np.where(codes == UNKNOWN, len(categories) - 1, codes)]
    return found
