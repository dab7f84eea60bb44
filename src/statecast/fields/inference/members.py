"""Sampled members that are possible states: at each point a quantile of the head members, chosen by a smooth field.

Axes: K head member, M sampled member, T time, V channel, H row, W column, F feature, P any values, A any leading axes.
"""

from collections.abc import Iterable, Sized

import numpy as np
import torch
from jaxtyping import Float

from statecast.fields.sources import Grid
from statecast.models.heads import quantiles
from statecast.trained import ModelError, TrainedModel

SEED = 0  # of the smooth fields: the same sampled members in every run
REACH_KM, REACH_H = (
    450.0,
    24.0,
)  # correlation scales of forecast errors, by area means and differences: docs/decisions/0012
EARTH_KM = 6371.0
FEATURES = 48  # cosines in the sum of a field


def check_members(trained: TrainedModel, members: int) -> None:
    """Raises ModelError for fewer than one member, or for several members of a deterministic model."""
    if members < 1:
        raise ModelError(f"members is {members}, expected at least 1.")
    if members > 1 and trained.model.head.members == 1:
        raise ModelError(
            f"members is {members}, but the model is deterministic (head {trained.model.options.head}): it has 1. "
            "Ask for one, or train a model with the head 'ensemble', 'noise' or 'flow'."
        )


def draws_states(trained: TrainedModel, neighbourhoods: Sized) -> bool:
    """Whether head members are states: those of a flow or noise head, if one neighbourhood holds the whole domain.

    Members of several neighbourhoods are drawn apart from one another. They stand for quantiles, like those of an ensemble head.
    """
    return trained.model.draws_states and len(neighbourhoods) == 1


def draw_member(
    heads: Float[np.ndarray, "K T V H W"], member: int, grid: Grid, hours: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "T V H W"]:
    """One sampled member: the quantile Φ(g) of the head members at each point (`quantiles`), with g = `smooth_normal`.

    A head member is not a possible state: it is the same quantile everywhere. Quantiles that vary smoothly from point to point preserve the
    distribution at each point and give a possible state (a Gaussian copula, as in geostatistical output perturbation, Gel et al. 2004;
    Berrocal et al. 2007). Channels are drawn independently.
    """
    if len(heads) == 1:
        return heads[0]
    normal = smooth_normal(member, grid, hours, heads.shape[2])
    of_points = torch.from_numpy(heads.reshape(len(heads), -1))
    return quantiles(of_points, torch.from_numpy(normal.reshape(-1))).numpy().reshape(normal.shape)


def draw_members(
    heads: Float[np.ndarray, "K T V H W"], members: int, grid: Grid, hours: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "M T V H W"]:
    """Any number of sampled members, see `draw_member`."""
    return np.stack([draw_member(heads, member, grid, hours) for member in range(members)])


def smooth_normals(
    members: Iterable[int], grid: Grid, hours: Float[np.ndarray, " T"], channels: int
) -> Float[np.ndarray, "M T V H W"]:
    """`smooth_normal` of several sampled members; a pair of opposite sign is computed once."""
    fields: dict[int, np.ndarray] = {}
    for member in members:
        opposite = member - 1 if member % 2 else member + 1
        known = fields.get(opposite)
        fields[member] = smooth_normal(member, grid, hours, channels) if known is None else -known
    return np.stack(list(fields.values()))


def smooth_normal(
    member: int, grid: Grid, hours: Float[np.ndarray, " T"], channels: int
) -> Float[np.ndarray, "T V H W"]:
    """A standard normal field for each channel, correlated as exp(-d² / 2 l² - Δt² / 2 τ²) with d the chord, l = 450 km and τ = 24 h.

        g(x, t) = sqrt(2 / F) sum_f cos(ω_f · x / l + ν_f t / τ + φ_f)        Rahimi & Recht 2007, random Fourier features

    It depends on the number of the member, the place and the time only: tiles and windows agree. Sampled members come in pairs of opposite
    sign, so that the mean of an even number of them is that of the head members to first order.

    The cosine of a sum is cos a cos b - sin a sin b: a matrix product over f of a factor of time and a factor of place.
    """
    random = np.random.default_rng([SEED, member // 2])
    waves = random.standard_normal((channels, FEATURES, 3)) * EARTH_KM / REACH_KM
    rates = random.standard_normal((channels, FEATURES)) / REACH_H
    phases = random.uniform(0, 2 * np.pi, (channels, FEATURES))
    lat, lon = np.meshgrid(np.deg2rad(grid.lat), np.deg2rad(grid.lon), indexing="ij")
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]).reshape(3, -1)
    sign = 1.0 if member % 2 == 0 else -1.0
    fields = np.empty((len(hours), channels, place.shape[1]))
    for channel in range(channels):
        in_time = rates[channel] * hours[:, None] + phases[channel]
        in_space = waves[channel] @ place
        fields[:, channel] = np.cos(in_time) @ np.cos(in_space) - np.sin(in_time) @ np.sin(in_space)
    return sign * np.sqrt(2 / FEATURES) * fields.reshape(len(hours), channels, *grid.shape)
