"""From model layers to pressure levels and mean sea level. Axes: L model layer (top first), P pressure level, H row, W column."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# m s-2, J kg-1 K-1, R_vapour / R_dry - 1; all as in jcm
GRAVITY, GAS_CONSTANT, VAPOUR = 9.81, 287.04, 0.6078
# x in T ∝ p^x if temperature falls by 6.5 K per km, as in the standard atmosphere
LAPSE_EXPONENT = 0.0065 * GAS_CONSTANT / GRAVITY


class Column(NamedTuple):
    """State of the model layers at pressure `p` [Pa]; `ps` [Pa] and `phis` [m2 s-2] are the values at the ground."""

    p: Float[np.ndarray, "L H W"]
    t: Float[np.ndarray, "L H W"]
    u: Float[np.ndarray, "L H W"]
    v: Float[np.ndarray, "L H W"]
    q: Float[np.ndarray, "L H W"]
    z: Float[np.ndarray, "L H W"]
    ps: Float[np.ndarray, "H W"]
    phis: Float[np.ndarray, "H W"]

    @property
    def t_ground(self) -> Float[np.ndarray, "H W"]:
        """Air temperature at the ground [K], extrapolated by 6.5 K per km from the lowest layer; Trenberth uses the first-order form."""
        return self.t[-1] * (self.ps / self.p[-1]) ** LAPSE_EXPONENT


def on_pressure_levels(column: Column, levels_hpa: Sequence[float]) -> dict[str, Float[np.ndarray, "P H W"]]:
    """t [K], u, v [m s-1], q [kg kg-1] and z [m2 s-2] on pressure levels.

    Between layers, interpolation is linear in log pressure; z is the hydrostatic integral of that temperature and therefore
    quadratic: linear + R ΔTv h w (1 - w) / 2, where h is the distance between the layers in log pressure. Below the lowest
    layer u, v and q are constant; below the ground t increases by 6.5 K per km, T = T* (p / ps)^x, and z follows from it
    (Trenberth et al. 1993, NCAR/TN-396, without their cases for ground above 2000 m).
    """
    t_ground = column.t_ground
    below = {"p": column.ps, "t": t_ground, "u": column.u[-1], "v": column.v[-1], "q": column.q[-1], "z": column.phis}
    layers = {name: np.concatenate([getattr(column, name), ground[None]]) for name, ground in below.items()}
    log_p, virtual = np.log(layers["p"]), layers["t"] * (1 + VAPOUR * layers["q"])
    levels = []
    for level_pa in np.asarray(levels_hpa, float) * 100:
        lower = np.clip((layers["p"] < level_pa).sum(0), 1, len(log_p) - 1)[None]
        (x0, x1), (v0, v1) = (_around(log_p, lower), _around(virtual, lower))
        w = np.clip((np.log(level_pa) - x0) / (x1 - x0), 0.0, 1.0)
        pairs = {name: _around(layers[name], lower) for name in "tuvqz"}
        level = {name: (1 - w) * above + w * under for name, (above, under) in pairs.items()}
        level["z"] += GAS_CONSTANT * (v1 - v0) * (x1 - x0) * w * (1 - w) / 2
        depth = LAPSE_EXPONENT * np.maximum(np.log(level_pa / column.ps), 0.0)
        level["t"] *= np.exp(depth)
        level["z"] -= GAS_CONSTANT * virtual[-1] * np.expm1(depth) / LAPSE_EXPONENT
        levels.append(level)
    return {name: np.stack([level[name] for level in levels]) for name in "tuvqz"}


def _around(layers: np.ndarray, lower: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.take_along_axis(layers, lower - 1, 0)[0], np.take_along_axis(layers, lower, 0)[0]


def sea_level_pressure(column: Column) -> Float[np.ndarray, "H W"]:
    """Mean sea-level pressure [Pa]: surface pressure reduced at 6.5 K per km, at a smaller rate where the air is hot or cold.

    ps exp[ Φs / (R T*) (1 - y / 2 + y² / 3) ],  y = x Φs / (R T*)      Trenberth et al. 1993, NCAR/TN-396
    """
    t_ground = column.t_ground
    t_sea = t_ground + 0.0065 * column.phis / GRAVITY
    phis = np.where(np.abs(column.phis) < 1e-3, 1e-3, column.phis)
    exponent = np.where((t_sea > 290.5) & (t_ground <= 290.5), GAS_CONSTANT * (290.5 - t_ground) / phis, LAPSE_EXPONENT)
    exponent = np.where((t_sea > 290.5) & (t_ground > 290.5), 0.0, exponent)
    t_used = np.where((t_sea > 290.5) & (t_ground > 290.5), (290.5 + t_ground) / 2, t_ground)
    t_used = np.where(t_ground < 255.0, (255.0 + t_ground) / 2, t_used)
    thickness = column.phis / (GAS_CONSTANT * t_used)
    y = exponent * thickness
    return column.ps * np.exp(thickness * (1 - y / 2 + y**2 / 3))
