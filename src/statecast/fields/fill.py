"""Gap filling: what a satellite's instrument saw is shown, the gaps between its swaths are asked.

Axes: N token, M moment of an orbit.
"""

from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from statecast.streams import Question, Tokens, Window
from statecast.tasks.base import ASKED, Share, Slabs, TaskOptions, ask_a_share, slab_of, split
from statecast.tasks.turns import in_turn

ORBIT_MIN, INCLINATION_DEG = 101.0, 98.7  # of the polar orbiters of NOAA and EUMETSAT
EARTH_DEG_PER_MIN = 360.0 / (24 * 60)


class Fill(TaskOptions):
    """Show the tokens that lie nearest to the ground track of a polar orbiter during their slab of time, ask the others.

    Where the orbit crosses the equator is drawn for each sample. Every stream is seen along the same track.
    """

    needs_order: ClassVar[bool] = True

    kind: Literal["fill"] = "fill"
    slabs: Slabs = Field(2, description="token slabs of the window")
    hidden: float = Field(0.6, gt=0, lt=1, description="share of each slab that the swaths leave out")
    slab_h: float = Field(6.0, ge=1e-3, le=1e6, description="hours of observations that make a slab")
    asked: Share = Field(1.0, description=ASKED)

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        """A question with the same number of tokens in every sample of a step."""
        return ask_a_share(self._split(window, sample.uniform(0, 360)), self.asked, sample)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All of the gaps asked; `seed` draws the orbit."""
        return self._split(window, np.random.default_rng(seed).uniform(0, 360))

    def in_turn(self, window: Window, parts: int, seed: int = 0) -> list[list[Question]]:
        """Each token in turn."""
        return in_turn(window, parts, seed)

    def _split(self, window: Window, node_deg: float) -> Question:
        return split(window, {name: ~self._seen(tokens, node_deg) for name, tokens in window.items()})

    def _seen(self, tokens: Tokens, node_deg: float) -> np.ndarray:
        """True for the tokens nearest to the track, the same number in every slab and sample."""
        lat, lon, offset = (tokens.coordinate(c).numpy() for c in ("latitude_deg", "longitude_deg", "offset_h"))
        slab, seen = slab_of(tokens), np.zeros(len(tokens), dtype=bool)
        for number in np.unique(slab):
            here = np.flatnonzero(slab == number)
            end_min = 60 * (float(offset[here[0]]) + self.slab_h / 2)
            track = ground_track(end_min - 60 * self.slab_h + np.arange(60 * self.slab_h), node_deg)
            nearness = (unit_vectors(lat[here], lon[here]) @ track.T).max(axis=1)
            count = min(max(1, round((1 - self.hidden) * len(here))), len(here) - 1)
            seen[here[np.lexsort((lon[here], lat[here], -nearness.round(6)))[:count]]] = True
        return seen


def unit_vectors(lat_deg: Float[np.ndarray, " N"], lon_deg: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N 3"]:
    lat, lon = np.deg2rad(lat_deg), np.deg2rad(lon_deg)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def ground_track(minutes: Float[np.ndarray, " M"], node_deg: float) -> Float[np.ndarray, "M 3"]:
    """Places below a satellite on a circular orbit, as unit vectors; at minute 0 it crosses the equator northwards at `node_deg` east.

    sin(lat) = sin(i) sin(u),  lon = node + atan2(cos(i) sin(u), cos(u)) - Ω t,  u = 2π t / period        Vallado 2013, section 11.4
    """
    u, inclination = 2 * np.pi * minutes / ORBIT_MIN, np.deg2rad(INCLINATION_DEG)
    lat = np.arcsin(np.sin(inclination) * np.sin(u))
    lon = np.arctan2(np.cos(inclination) * np.sin(u), np.cos(u))
    return unit_vectors(np.rad2deg(lat), node_deg + np.rad2deg(lon) - EARTH_DEG_PER_MIN * minutes)
