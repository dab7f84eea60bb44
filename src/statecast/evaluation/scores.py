"""Scores as functions of the means of statistics over cases (as in WeatherBench-X), so that resampling cases gives their uncertainty.

Axes: E member, R rank, N place of a case; *A are the axes of a domain.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from statecast.models.heads import almost_fair_crps

Means = Mapping[str, Float[np.ndarray, "*A"]]
Scores = Callable[[Means, int], Mapping[str, Float[np.ndarray, "*A"]]]
"""(means of statistics over cases, number of members) -> each score by its name."""

EVENT_STATISTICS = ("hits", "misses", "false_alarms")
COVERAGES = {"coverage_50": 0.5, "coverage_68": 0.68, "coverage_95": 0.95}
"""Scores that say how often the truth lies in the central interval of this probability."""


def mean_scores(means: Means, members: int) -> Means:
    """Each statistic's mean is a score of the same name: for statistics such as whether an answer was right."""
    return means


def ensemble_scores(means: Means, members: int) -> dict[str, Float[np.ndarray, "*A"]]:
    """The scores of a forecast of real values that the statistics allow.

    rmse          sqrt(mean of `squared_error`, that of the ensemble mean)
    mae, bias     means of `absolute_error` and `error`
    acc, crps     means of `acc` (the uncentred anomaly correlation coefficient of a case, WMO) and of `crps`, see there
    spread        sqrt((E + 1) / E · mean of `variance`), so that it equals the RMSE of the mean for a reliable ensemble (Fortin 2014)
    spread_skill  spread / rmse: 1 for a reliable ensemble, below 1 for an overconfident one

    and those of `event_scores`. The spread is that of several members; a single one has none.
    """
    scores = {}
    if "squared_error" in means:
        scores["rmse"] = np.sqrt(means["squared_error"])
    for name, statistic in {"mae": "absolute_error", "bias": "error", "acc": "acc", "crps": "crps"}.items():
        if statistic in means:
            scores[name] = means[statistic]
    if members > 1 and "variance" in means:
        scores["spread"] = np.sqrt((members + 1) / members * means["variance"])
        if "rmse" in scores:
            scores["spread_skill"] = _ratio(scores["spread"], scores["rmse"])
    return scores | event_scores(means)


def event_scores(means: Means) -> dict[str, Float[np.ndarray, "*A"]]:
    """Scores of each event NAME from the shares of its contingency table: `hits_NAME`, `misses_NAME` and `false_alarms_NAME`.

    frequency_bias_NAME  (hits + false alarms) / (hits + misses): 1 is unbiased
    csi_NAME             hits / (hits + misses + false alarms), the critical success index or threat score: 1 is perfect
    ets_NAME             the same less what chance hits, (hits + misses) (hits + false alarms), above and below: 0 is chance, 1 perfect

    NaN where the table has no event (WMO-No. 485; Wilks 2019, chapter 9.2). The four shares of a table sum to 1.
    """
    scores = {}
    for name in [key.removeprefix("hits_") for key in means if key.startswith("hits_")]:
        hits, misses, false_alarms = (means[f"{key}_{name}"] for key in EVENT_STATISTICS)
        true, forecast = hits + misses, hits + false_alarms
        chance = true * forecast
        scores[f"frequency_bias_{name}"] = _ratio(forecast, true)
        scores[f"csi_{name}"] = _ratio(hits, true + false_alarms)
        scores[f"ets_{name}"] = _ratio(hits - chance, true + false_alarms - chance)
    return scores


def _ratio(above: Float[np.ndarray, "*A"], below: Float[np.ndarray, "*A"]) -> Float[np.ndarray, "*A"]:
    """NaN where the denominator is not positive."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)


def crps(members: Float[np.ndarray, "E *A"], truth: Float[np.ndarray, "*A"], *, drawn: bool) -> Float[np.ndarray, "*A"]:
    """Continuous ranked probability score, in the units of `truth`; 0 is perfect. Zamo & Naveau 2018:

    drawn    mean_i |x_i - y|  -  sum_ij |x_i - x_j| / (2 E (E - 1))     fair: what more draws of the same distribution would have
    else     mean_i |x_i - y|  -  sum_ij |x_i - x_j| / (2 E²)            of the members as they are, which stand for quantiles

    The fair score of 16 quantiles of a normal distribution is 6 % better than that of the distribution itself.
    The score of one member is its absolute error.
    """
    if len(members) == 1:
        return np.abs(members[0] - truth)
    flat, true = (
        torch.from_numpy(np.ascontiguousarray(x)) for x in (members.reshape(len(members), -1), truth.reshape(-1))
    )
    return almost_fair_crps(flat, true, fairness=float(drawn)).numpy().reshape(truth.shape)


def covered(
    members: Float[np.ndarray, "E *A"], truth: Float[np.ndarray, "*A"], probability: float, *, drawn: bool
) -> Bool[np.ndarray, "*A"] | None:
    """Whether the truth lies in the central interval of this probability; None if so few members have no such interval.

    drawn    its ends are the order statistics p (E + 1): in the mean over cases calibrated draws cover just this probability
    else     members stand for the quantiles (i + 1/2) / E                       Hyndman & Fan 1996, types 6 and 5
    """
    tail = (1 - probability) / 2
    outermost = 1 / (len(members) + 1) if drawn else 1 / (2 * len(members))
    if tail < outermost - 1e-9:
        return None
    method: Literal["weibull", "hazen"] = "weibull" if drawn else "hazen"
    low, high = np.quantile(members, [tail, 1 - tail], axis=0, method=method)
    return (low <= truth) & (truth <= high)


def rank_counts(
    members: Float[np.ndarray, "E *A N"], truth: Float[np.ndarray, "*A N"], axis: int | tuple[int, ...] = -1
) -> Float[np.ndarray, "*A R"]:
    """How often the truth has each rank among the members, 0 to E; flat for a reliable ensemble (Talagrand histogram).

    axis  over which is counted, from the end; where `truth` is NaN nothing is counted
    """
    observed = np.isfinite(truth)
    rank = (members < truth).sum(axis=0)
    counts = [((rank == r) & observed).sum(axis=axis) for r in range(len(members) + 1)]
    return np.stack(counts, axis=-1).astype(float)
