"""Members that could be states: at each point a quantile of the heads' answers, along a field that is smooth in space and time.

Axes: K head, M member, T time, V channel, H row, W column, F feature.
"""

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

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


def draw_member(
    heads: Float[np.ndarray, "K T V H W"], member: int, grid: Grid, hours: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "T V H W"]:
    """One member: the quantile Φ(g) of the heads at each point, with g = `smooth_normal`.

    Heads are quantiles (i - 1/2) / K at each point on its own and make no field together. The same quantile at places near one another
    leaves the distribution at each point as it is and makes a state (a Gaussian copula, as in geostatistical output perturbation, Gel et
    al. 2004; Berrocal et al. 2007). It is linear in g between the sorted heads, which lie at Φ^-1((i - 1/2) / K), and goes on so beyond the
    outermost two: a normal distribution keeps its tails. Channels are drawn on their own.
    """
    if len(heads) == 1:
        return heads[0]
    normal = smooth_normal(member, grid, hours, heads.shape[2])
    at = ndtri((np.arange(len(heads)) + 0.5) / len(heads))
    lower = (np.searchsorted(at, normal) - 1).clip(0, len(heads) - 2)
    ordered = np.sort(heads, axis=0)
    below, above = (np.take_along_axis(ordered, (lower + k)[None], axis=0)[0] for k in (0, 1))
    share = (normal - at[lower]) / (at[lower + 1] - at[lower])
    return (below + share * (above - below)).astype(heads.dtype)


def draw_members(
    heads: Float[np.ndarray, "K T V H W"], members: int, grid: Grid, hours: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "M T V H W"]:
    """Any number of them, see `draw_member`."""
    return np.stack([draw_member(heads, member, grid, hours) for member in range(members)])


def smooth_normal(
    member: int, grid: Grid, hours: Float[np.ndarray, " T"], channels: int
) -> Float[np.ndarray, "T V H W"]:
    """A standard normal field for each channel, correlated as exp(-d² / 2 l² - Δt² / 2 τ²) with d the chord, l = 800 km and τ = 24 h.

        g(x, t) = sqrt(2 / F) sum_f cos(ω_f · x / l + ν_f t / τ + φ_f)        Rahimi & Recht 2007, random Fourier features

    A function of the member, the place and the time alone: tiles and windows agree. Members come in pairs of opposite
    sign, so that the mean of an even number is that of the heads to first order.
    """
    random = np.random.default_rng([SEED, member // 2])
    waves = random.standard_normal((channels, FEATURES, 3)) * EARTH_KM / REACH_KM
    rates = random.standard_normal((channels, FEATURES)) / REACH_H
    phases = random.uniform(0, 2 * np.pi, (channels, FEATURES))
    lat, lon = np.meshgrid(np.deg2rad(grid.lat), np.deg2rad(grid.lon), indexing="ij")
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    sign = 1.0 if member % 2 == 0 else -1.0
    fields = np.zeros((len(hours), channels, *grid.shape))
    for wave, rate, phase in zip(*(np.moveaxis(a, 1, 0) for a in (waves, rates, phases)), strict=True):
        in_space = np.einsum("vc,chw->vhw", wave, place)
        in_time = (rate * hours[:, None] + phase)[..., None, None]
        fields += np.cos(in_space + in_time)
    return sign * np.sqrt(2 / FEATURES) * fields
