"""Scores of forecasts, each a function of area means of statistics. Axes: E member, the rest are grid axes; the last two are H, W.

A forecast's statistics at one start are computed by `statistics`; averaged over starts they give every score by `score`. So scores can
be computed in chunks, and resampling starts gives their uncertainty.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float

from statecast.models.heads import almost_fair_crps

METRICS = ("rmse", "mae", "bias", "acc", "crps", "spread", "spread_skill")
OF_EVENTS = ("frequency_bias", "csi", "ets")


def area_mean(
    field: Float[np.ndarray, "*grid H W"], area: Float[np.ndarray, "H W"], observed: Bool[np.ndarray, "*grid H W"]
) -> Float[np.ndarray, "*grid"]:
    """Mean over the observed cells, weighted by their area; NaN where nothing was observed."""
    weight = area * observed
    total = weight.sum(axis=(-1, -2))
    summed = (np.where(observed, field, 0.0) * weight).sum(axis=(-1, -2))
    return np.divide(summed, total, out=np.full(total.shape, np.nan), where=total > 0)


def crps(
    members: Float[np.ndarray, "E *grid"], truth: Float[np.ndarray, "*grid"], *, drawn: bool
) -> Float[np.ndarray, "*grid"]:
    """Continuous ranked probability score, in the units of `truth`; 0 is perfect. Zamo & Naveau 2018:

    drawn    mean_i |x_i - y|  -  sum_ij |x_i - x_j| / (2 E (E - 1))     fair: what more draws of the same distribution would have
    else     mean_i |x_i - y|  -  sum_ij |x_i - x_j| / (2 E²)            of the members as they are, which stand for quantiles

    The fair score of 16 quantiles of a normal distribution is 6 % better than that of the distribution itself.
    One member is a forecast that is sure of itself: its absolute error.
    """
    if len(members) == 1:
        return np.abs(members[0] - truth)
    flat, true = (
        torch.from_numpy(np.ascontiguousarray(x)) for x in (members.reshape(len(members), -1), truth.reshape(-1))
    )
    return almost_fair_crps(flat, true, fairness=float(drawn)).numpy().reshape(truth.shape)


def statistics(
    members: Float[np.ndarray, "E *grid H W"],
    truth: Float[np.ndarray, "*grid H W"],
    usual: Float[np.ndarray, "*grid H W"],
    area: Float[np.ndarray, "H W"],
    *,
    drawn: bool = False,
) -> dict[str, Float[np.ndarray, "*grid"]]:
    """Area means of what the scores are made of, at one start.

    `usual` is the climatology, from which anomalies are counted. Where `truth` is NaN nothing is scored. `drawn`: the members are states
    drawn at random, see `crps`; those of a model are quantiles.
    """
    observed = np.isfinite(truth)
    truth = np.where(observed, truth, 0.0).astype(np.float64)
    members = members.astype(np.float64)
    mean = members.mean(axis=0)
    forecast_anomaly, true_anomaly = mean - usual, truth - usual
    fields = {
        "squared_error": (mean - truth) ** 2,
        "absolute_error": np.abs(mean - truth),
        "error": mean - truth,
        "crps": crps(members, truth, drawn=drawn),
        "variance": members.var(axis=0, ddof=1) if len(members) > 1 else np.zeros_like(mean),
        "anomaly_product": forecast_anomaly * true_anomaly,
        "forecast_anomaly_squared": forecast_anomaly**2,
        "true_anomaly_squared": true_anomaly**2,
    }
    means = {name: area_mean(field, area, observed) for name, field in fields.items()}
    scale = np.sqrt(means.pop("forecast_anomaly_squared") * means.pop("true_anomaly_squared"))
    means["acc"] = np.divide(means.pop("anomaly_product"), scale, out=np.full(scale.shape, np.nan), where=scale > 0)
    return means


def contingency(
    members: Float[np.ndarray, "E *grid V H W"],
    truth: Float[np.ndarray, "*grid V H W"],
    threshold: Float[np.ndarray, " V"],
    area: Float[np.ndarray, "H W"],
    name: str,
    least: Float[np.ndarray, " V"] | float = 0.5,
) -> dict[str, Float[np.ndarray, "*grid V"]]:
    """Shares of the observed area with hits, misses and false alarms of values above a threshold, named `hits_NAME` and so on.

    An ensemble says that it comes about if at least the share `least` of its members do.
    """
    observed, limit = np.isfinite(truth), threshold[:, None, None]
    needed = np.broadcast_to(least, threshold.shape)[:, None, None] - 1e-6
    is_forecast, is_true = (members > limit).mean(axis=0) >= needed, np.nan_to_num(truth, nan=-np.inf) > limit
    tables = {"hits": is_forecast & is_true, "misses": ~is_forecast & is_true, "false_alarms": is_forecast & ~is_true}
    return {f"{key}_{name}": area_mean(table.astype(float), area, observed) for key, table in tables.items()}


def event_score(
    kind: str,
    hits: Float[np.ndarray, "*grid"],
    misses: Float[np.ndarray, "*grid"],
    false_alarms: Float[np.ndarray, "*grid"],
) -> Float[np.ndarray, "*grid"]:
    """A score of a contingency table whose four shares sum to 1; NaN where it has no event (WMO-No. 485; Wilks 2019, chapter 9.2).

    frequency_bias  (hits + false alarms) / (hits + misses): 1 is unbiased
    csi             hits / (hits + misses + false alarms), the critical success index or threat score: 1 is perfect
    ets             the same less what chance hits, (hits + misses) (hits + false alarms), above and below: 0 is chance, 1 perfect
    """
    true, forecast = hits + misses, hits + false_alarms
    chance = true * forecast if kind == "ets" else 0.0
    above, below = (forecast, true) if kind == "frequency_bias" else (hits - chance, true + false_alarms - chance)
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)


def score(metric: str, means: dict[str, Float[np.ndarray, "*grid"]], members: int) -> Float[np.ndarray, "*grid"]:
    """A score from statistics that were averaged over starts.

    rmse      sqrt(mean squared error of the ensemble mean)
    acc       mean over starts of the uncentred anomaly correlation coefficient (WMO)
    crps      see `crps`
    spread    sqrt((E + 1) / E · mean ensemble variance), so that it equals the RMSE of the mean for a reliable ensemble (Fortin 2014)
    spread_skill  spread / rmse: 1 for a reliable ensemble, below 1 for one that is too sure
    frequency_bias_NAME, csi_NAME, ets_NAME  see `event_score`, of the events that `contingency` has named so

    Raises KeyError for an unknown metric.
    """
    for kind in OF_EVENTS:
        if metric.startswith(f"{kind}_"):
            name = metric.removeprefix(f"{kind}_")
            return event_score(kind, *(means[f"{key}_{name}"] for key in ("hits", "misses", "false_alarms")))
    direct = {"mae": "absolute_error", "bias": "error", "acc": "acc", "crps": "crps"}
    if metric in direct:
        return means[direct[metric]]
    rmse = np.sqrt(means["squared_error"])
    spread = np.sqrt((members + 1) / members * means["variance"])
    return {
        "rmse": rmse,
        "spread": spread,
        "spread_skill": np.divide(spread, rmse, out=np.full(rmse.shape, np.nan), where=rmse > 0),
    }[metric]


def rank_counts(
    members: Float[np.ndarray, "E *grid H W"], truth: Float[np.ndarray, "*grid H W"]
) -> Float[np.ndarray, "*grid R"]:
    """How often the truth has each rank among the members, 0 to E; flat for a reliable ensemble (Talagrand histogram)."""
    observed = np.isfinite(truth)
    rank = (members < truth).sum(axis=0)
    return np.stack([((rank == r) & observed).sum(axis=(-1, -2)) for r in range(len(members) + 1)], axis=-1).astype(
        float
    )


def block_bootstrap(starts: int, block: int, samples: int, generator: np.random.Generator) -> np.ndarray:
    """Indices of starts for each of `samples` resamplings, in circular blocks, since neighbouring starts are not independent."""
    block = max(1, min(block, starts))
    firsts = generator.integers(starts, size=(samples, -(-starts // block)))
    return ((firsts[:, :, None] + np.arange(block)) % starts).reshape(samples, -1)[:, :starts]
