"""What is usual on the training split: thresholds for the excess of each channel.

Axes: S window, N token, V channel of a token (and last its code).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float

from statecast.domain import Cases
from statecast.surprise.score import Asking, by_channel, in_batches, sample_scores, values_per_channel
from statecast.trained import TrainedModel

BEYOND = 1.25  # times the largest value of the training windows: a value farther away is not shown to the model
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Usual:
    """What is usual on windows of the training split.

    excess        of the channels of their tokens, by stream; NaN for what was not asked or not observed
    limits        see `Asking`
    scores        of the windows, in increasing order
    false_alarms  share of the channels of tokens that exceed their threshold
    """

    excess: Mapping[str, Float[np.ndarray, "N V"]]
    limits: Mapping[str, Float[np.ndarray, " V"]]
    scores: Float[np.ndarray, " S"]
    false_alarms: float

    @cached_property
    def threshold(self) -> dict[str, Float[np.ndarray, " V"]]:
        """Of each channel, by stream; NaN for a channel that is never asked."""
        return {name: _quantile(excess, 1 - self.false_alarms) for name, excess in self.excess.items()}


def usual(
    trained: TrainedModel,
    cases: Cases,
    windows: int,
    false_alarms: float,
    asking: Asking,
    *,
    batch: int,
    progress: Progress,
) -> Usual:
    """What is usual on so many windows of a split, evenly spread."""
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(len(cases), windows)).round().astype(int))
    excess: dict[str, list[np.ndarray]] = {}
    largest: dict[str, np.ndarray] = {}
    scores = []
    for _, window, found in in_batches(trained, cases, chosen.tolist(), asking, batch=batch, progress=progress):
        scores.append(sample_scores(found)[0])
        for name, of in found.items():
            tokens = window[name]
            excess.setdefault(name, []).append(by_channel(of.excess, tokens))
            if tokens.spec.size:
                seen = np.abs(torch.where(tokens.observed, tokens.values, 0.0).numpy())
                of_channels = seen.reshape(len(seen), -1, values_per_channel(tokens)).max(axis=(0, 2), initial=0.0)
                largest[name] = np.maximum(largest.get(name, 0.0), of_channels)
    whole = {name: np.concatenate(parts) for name, parts in excess.items()}
    limits = {name: BEYOND * each for name, each in largest.items()}
    return Usual(whole, limits, np.sort(scores), false_alarms)


def _quantile(excess: Float[np.ndarray, "N V"], share: float) -> Float[np.ndarray, " V"]:
    found = np.full(excess.shape[1], np.nan)
    for channel, values in enumerate(excess.T):
        known = values[np.isfinite(values)]
        if len(known):
            found[channel] = np.quantile(known, share)
    return found
