"""Statistics of forecasts of fields: area means of what scores are made of. Axes: E member, K event, V channel, H row, W column of a grid.

`statistics` computes those of a forecast at one start; averaged over starts they give every score (`evaluation.ensemble_scores`).
"""

import numpy as np
from jaxtyping import Bool, Float

from statecast.evaluation import crps


def area_mean(
    field: Float[np.ndarray, "*grid H W"], area: Float[np.ndarray, "H W"], observed: Bool[np.ndarray, "*grid H W"]
) -> Float[np.ndarray, "*grid"]:
    """Mean over the observed cells, weighted by their area; NaN where nothing was observed."""
    weight = area * observed
    total = weight.sum(axis=(-1, -2))
    summed = (np.where(observed, field, 0.0) * weight).sum(axis=(-1, -2))
    return np.divide(summed, total, out=np.full(total.shape, np.nan), where=total > 0)


def statistics(
    members: Float[np.ndarray, "E *grid H W"],
    truth: Float[np.ndarray, "*grid H W"],
    climatology: Float[np.ndarray, "*grid H W"] | None,
    area: Float[np.ndarray, "H W"],
    *,
    drawn: bool = False,
) -> dict[str, Float[np.ndarray, "*grid"]]:
    """Area means of what the scores are made of, at one start.

    Anomalies are departures from `climatology`; without one there is no `acc`. Where `truth` is NaN nothing is scored. `drawn`: the members
    are states drawn at random, see `crps`; those of a model are quantiles.
    """
    observed = np.isfinite(truth)
    truth = np.where(observed, truth, 0.0).astype(np.float64)
    members = members.astype(np.float64)
    mean = members.mean(axis=0)
    fields = {
        "squared_error": (mean - truth) ** 2,
        "absolute_error": np.abs(mean - truth),
        "error": mean - truth,
        "crps": crps(members, truth, drawn=drawn),
        "variance": members.var(axis=0, ddof=1) if len(members) > 1 else np.zeros_like(mean),
    }
    if climatology is not None:
        forecast_anomaly, true_anomaly = mean - climatology, truth - climatology
        fields["anomaly_product"] = forecast_anomaly * true_anomaly
        fields["forecast_anomaly_squared"] = forecast_anomaly**2
        fields["true_anomaly_squared"] = true_anomaly**2
    means = {name: area_mean(field, area, observed) for name, field in fields.items()}
    if climatology is None:
        return means
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

    An ensemble forecasts the event where at least the share `least` of its members do. See `evaluation.scores.event_scores`.
    """
    observed, limit = np.isfinite(truth), threshold[:, None, None]
    needed = np.broadcast_to(least, threshold.shape)[:, None, None] - 1e-6
    is_forecast, is_true = (members > limit).mean(axis=0) >= needed, np.nan_to_num(truth, nan=-np.inf) > limit
    tables = {"hits": is_forecast & is_true, "misses": ~is_forecast & is_true, "false_alarms": is_forecast & ~is_true}
    return {f"{key}_{name}": area_mean(table.astype(float), area, observed) for key, table in tables.items()}
