"""Events: values that are rare in the training period, and whether an ensemble forecasts one.

Axes: E member, T time, V channel, H row, W column, K threshold.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from statecast.fields.evaluation.cases import ask
from statecast.fields.evaluation.references import spread_starts
from statecast.fields.evaluation.scores import contingency
from statecast.fields.inference.neighbourhoods import drawn_places, model_windows
from statecast.fields.tokenizers import StreamSource, located
from statecast.trained import TrainedModel

EVENTS = (0.9, 0.99)  # quantiles of the training period above which a value is an event: often, and extreme
EVENT_WINDOWS = 60  # of the training period, that thresholds are estimated from


@dataclass(frozen=True)
class Events:
    """Values that are rare in the training period, and when an ensemble is taken to forecast one.

    thresholds  quantiles `EVENTS` of each channel
    least       for each model the least share of members above the threshold with which it forecasts an event: the one with which it did
                so as often as events occurred in the training period. A forecast of a single value forecasts one if that is above
    """

    thresholds: Float[np.ndarray, "K V"]
    least: Mapping[str, Float[np.ndarray, "K V"]]

    @classmethod
    def of(
        cls, models: Mapping[str, TrainedModel], training: Mapping[str, StreamSource], name: str, steps: int
    ) -> "Events":
        """Estimated from windows that are spread evenly over the training period."""
        truths, answers = [], []
        windows = model_windows(next(iter(models.values())))
        for start in spread_starts(training, steps, EVENT_WINDOWS):
            cases, answers_of = ask(models, located(training, drawn_places(windows, int(start), steps)))
            truths.append(cases[name].truth)
            answers.append(answers_of[name])
        truth = np.moveaxis(np.concatenate(truths), 1, -1)  # T H W V
        observed = np.isfinite(truth)
        thresholds = np.nanquantile(truth.reshape(-1, truth.shape[-1]), EVENTS, axis=0)
        least = {}
        for key in models:
            members = np.moveaxis(np.concatenate([a[key] for a in answers], axis=1), 2, -1)  # E T H W V
            least[key] = np.stack([_least(members > limit, truth > limit, observed) for limit in thresholds])
        return cls(thresholds, least)

    def tables(
        self,
        key: str,
        members: Float[np.ndarray, "E V H W"],
        truth: Float[np.ndarray, "V H W"],
        area: Float[np.ndarray, "H W"],
    ) -> dict[str, Float[np.ndarray, " V"]]:
        """Contingency tables of all events, see `scores.contingency`."""
        tables: dict[str, np.ndarray] = {}
        for k, quantile in enumerate(EVENTS):
            least = self.least[key][k] if key in self.least else 0.5
            tables |= contingency(members, truth, self.thresholds[k], area, f"q{100 * quantile:g}", least)
        return tables


def _least(
    above: Bool[np.ndarray, "E T H W V"], true: Bool[np.ndarray, "T H W V"], observed: Bool[np.ndarray, "T H W V"]
) -> Float[np.ndarray, " V"]:
    """The share of members with which an event is forecast as often as it is true, or as nearly as can be."""
    places = (0, 1, 2)
    share = above.mean(axis=0)
    shares = np.arange(1, len(above) + 1) / len(above)
    often = np.stack([((share >= s - 1e-6) & observed).sum(axis=places) for s in shares])
    return shares[np.abs(often - (true & observed).sum(axis=places)).argmin(axis=0)]
