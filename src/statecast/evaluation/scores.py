"""Scores of forecasts, each a function of area means of statistics. Axes: E member, the rest are grid axes; the last two are H, W.

A forecast's statistics at one start are computed by `statistics`; averaged over starts they give every score by `score`. So scores can
be computed in chunks, and resampling starts gives their uncertainty.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float

from statecast.models.heads import almost_fair_crps

METRICS = ("rmse", "mae", "bias", "acc", "crps", "spread", "spread_skill")


def area_mean(
    field: Float[np.ndarray, "*grid H W"], area: Float[np.ndarray, "H W"], observed: Bool[np.ndarray, "*grid H W"]
) -> Float[np.ndarray, "*grid"]:
    """Mean over the observed cells, weighted by their area; NaN where nothing was observed."""
    weight = area * observed
    total = weight.sum(axis=(-1, -2))
    summed = (np.where(observed, field, 0.0) * weight).sum(axis=(-1, -2))
    return np.divide(summed, total, out=np.full(total.shape, np.nan), where=total > 0)


def crps_fair(members: Float[np.ndarray, "E *grid"], truth: Float[np.ndarray, "*grid"]) -> Float[np.ndarray, "*grid"]:
    """Fair continuous ranked probability score, in the units of `truth`; 0 is perfect.

    mean_i |x_i - y|  -  sum_ij |x_i - x_j| / (2 E (E - 1))        Zamo & Naveau 2018, eq. for the fair estimator

    One member is a forecast that is sure of itself: its absolute error.
    """
    if len(members) == 1:
        return np.abs(members[0] - truth)
    flat = torch.from_numpy(np.ascontiguousarray(members.reshape(len(members), -1)))
    return (
        almost_fair_crps(flat, torch.from_numpy(np.ascontiguousarray(truth.reshape(-1))), fairness=1.0)
        .numpy()
        .reshape(truth.shape)
    )


def statistics(
    members: Float[np.ndarray, "E *grid H W"],
    truth: Float[np.ndarray, "*grid H W"],
    usual: Float[np.ndarray, "*grid H W"],
    area: Float[np.ndarray, "H W"],
) -> dict[str, Float[np.ndarray, "*grid"]]:
    """Area means of what the scores are made of, at one start.

    `usual` is the climatology, from which anomalies are counted. Where `truth` is NaN nothing is scored.
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
        "crps": crps_fair(members, truth),
        "variance": members.var(axis=0, ddof=1) if len(members) > 1 else np.zeros_like(mean),
        "anomaly_product": forecast_anomaly * true_anomaly,
        "forecast_anomaly_squared": forecast_anomaly**2,
        "true_anomaly_squared": true_anomaly**2,
    }
    means = {name: area_mean(field, area, observed) for name, field in fields.items()}
    scale = np.sqrt(means.pop("forecast_anomaly_squared") * means.pop("true_anomaly_squared"))
    means["acc"] = np.divide(means.pop("anomaly_product"), scale, out=np.full(scale.shape, np.nan), where=scale > 0)
    return means


def score(metric: str, means: dict[str, Float[np.ndarray, "*grid"]], members: int) -> Float[np.ndarray, "*grid"]:
    """A score from statistics that were averaged over starts.

    rmse      sqrt(mean squared error of the ensemble mean)
    acc       mean over starts of the uncentred anomaly correlation coefficient (WMO)
    crps      fair, see `crps_fair`
    spread    sqrt((E + 1) / E · mean ensemble variance), so that it equals the RMSE of the mean for a reliable ensemble (Fortin 2014)
    spread_skill  spread / rmse: 1 for a reliable ensemble, below 1 for one that is too sure

    Raises KeyError for an unknown metric.
    """
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
