"""Members that could be states: at each point a quantile of the heads' answers, along a field that is smooth in space and time.

Axes: K head, M member, T time, V channel, H row, W column, F feature, P any values, A any leading axes.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import ndtri
from torch import Tensor

from statecast.fields.sources import Grid
from statecast.trained import ModelError, TrainedModel

SEED = 0  # of the fields: the same members in every run
REACH_KM, REACH_H = 800.0, 24.0  # over which weather's errors are alike: a synoptic system, a day
EARTH_KM = 6371.0
FEATURES = 48  # cosines that a field is the sum of


def check_members(trained: TrainedModel, members: int) -> None:
    """Raises ModelError for fewer members than one, or several of a model that gives a single answer."""
    if members < 1:
        raise ModelError(f"members is {members}, expected at least 1.")
    if members > 1 and trained.model.head.members == 1:
        raise ModelError(
            f"members is {members}, but the model is deterministic (head {trained.model.options.head}): it has 1. "
            "Ask for one, or train a model with the head 'ensemble'."
        )


def quantiles(heads: Float[Tensor, "*#A K P"], normal: Float[Tensor, "*A P"]) -> Float[Tensor, "*A P"]:
    """The quantile Φ(g) of the heads of each value, with g = `normal`.

    Heads are quantiles (i - 1/2) / K of each value on its own. It is linear in g between the sorted heads, which lie at
    Φ^-1((i - 1/2) / K), and goes on so beyond the outermost two: a normal distribution keeps its tails.
    """
    size = heads.shape[-2]
    if size == 1:
        return heads.squeeze(-2).expand(normal.shape)
    at = torch.from_numpy(ndtri((np.arange(size) + 0.5) / size)).to(normal)
    lower = (torch.bucketize(normal, at) - 1).clamp(0, size - 2)
    of_members = ascending(heads).expand(*normal.shape[:-1], -1, -1)
    below = of_members.gather(-2, lower.unsqueeze(-2)).squeeze(-2)
    above = of_members.gather(-2, lower.unsqueeze(-2) + 1).squeeze(-2)
    share = (normal - at[lower]) / (at[lower + 1] - at[lower])
    return (below + share * (above - below)).to(heads.dtype)


def ascending(heads: Float[Tensor, "*A K P"]) -> Float[Tensor, "*A K P"]:
    """The heads of each value in ascending order. On a CPU NumPy sorts some eight times as fast as torch."""
    if heads.is_cpu:
        return torch.from_numpy(np.sort(heads.numpy(), axis=-2))
    return heads.sort(dim=-2).values


def draw_member(
    heads: Float[np.ndarray, "K T V H W"], member: int, grid: Grid, hours: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "T V H W"]:
    """One member: the quantile Φ(g) of the heads at each point (`quantiles`), with g = `smooth_normal`.

    Heads make no field together. The same quantile at places near one another leaves the distribution at each point as it is and makes a
    state (a Gaussian copula, as in geostatistical output perturbation, Gel et al. 2004; Berrocal et al. 2007). Channels are drawn on their
    own.
    """
    if len(heads) == 1:
        return heads[0]
    normal = smooth_normal(member, grid, hours, heads.shape[2])
    of_points = torch.from_numpy(heads.reshape(len(heads), -1))
    return quantiles(of_points, torch.from_numpy(normal.reshape(-1))).numpy().reshape(normal.shape)


def draw_members(
    heads: Float[np.ndarray, "K T V H W"], members: int, grid: Grid, hours: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "M T V H W"]:
    """Any number of them, see `draw_member`."""
    return np.stack([draw_member(heads, member, grid, hours) for member in range(members)])


def smooth_normals(
    members: Iterable[int], grid: Grid, hours: Float[np.ndarray, " T"], channels: int
) -> Float[np.ndarray, "M T V H W"]:
    """`smooth_normal` of several members; a pair of opposite sign is computed once."""
    fields: dict[int, np.ndarray] = {}
    for member in members:
        opposite = member - 1 if member % 2 else member + 1
        known = fields.get(opposite)
        fields[member] = smooth_normal(member, grid, hours, channels) if known is None else -known
    return np.stack(list(fields.values()))


def smooth_normal(
    member: int, grid: Grid, hours: Float[np.ndarray, " T"], channels: int
) -> Float[np.ndarray, "T V H W"]:
    """A standard normal field for each channel, correlated as exp(-d² / 2 l² - Δt² / 2 τ²) with d the chord, l = 800 km and τ = 24 h.

        g(x, t) = sqrt(2 / F) sum_f cos(ω_f · x / l + ν_f t / τ + φ_f)        Rahimi & Recht 2007, random Fourier features

    A function of the member, the place and the time alone: tiles and windows agree. Members come in pairs of opposite
    sign, so that the mean of an even number is that of the heads to first order.

    The cosine of a sum is cos a cos b - sin a sin b, a matrix product over f of what depends on time and what depends on the place.
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
