"""Coordinates as features, without arbitrary origins. Axes: * any leading axes, C coordinate, F feature."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from statecast.streams import COORDINATES, SURFACE_PRESSURE_HPA

SPHERE_OCTAVES = 5  # half the finest wave on the unit vector is 2 / 2^4 of an Earth radius, some 800 km
TIME_SCALES_H = (6.0, 24.0, 96.0)


def unit_vectors(coords: Float[Tensor, "*B C"]) -> Float[Tensor, "*B 3"]:
    """Places on the unit sphere: x to 0° E, y to 90° E, z to the North Pole."""
    lat, lon = torch.deg2rad(coords[..., 0]), torch.deg2rad(coords[..., 1])
    return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], dim=-1)


def sphere_features(coords: Float[Tensor, "*B C"]) -> Float[Tensor, "*B F"]:
    """The unit vector and its waves, so that neither the poles nor the date line are special."""
    place = unit_vectors(coords)
    waves = torch.cat([place * (math.pi / 2 * 2.0**k) for k in range(SPHERE_OCTAVES)], dim=-1)
    return torch.cat([place, waves.sin(), waves.cos()], dim=-1)


def time_features(coords: Float[Tensor, "*B C"]) -> Float[Tensor, "*B F"]:
    """Universal time, local solar time and season as angles, with first and second harmonics."""
    day = coords[..., 3] * (2 * math.pi / 24)
    sun, year = day + torch.deg2rad(coords[..., 1]), coords[..., 4] * (2 * math.pi)
    angles = torch.stack([k * angle for angle in (day, sun, year) for k in (1, 2)], dim=-1)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def duration_features(hours: Float[Tensor, "*B"]) -> Float[Tensor, "*B F"]:
    """A span of time, which may be negative: smooth at several scales."""
    scaled = torch.stack([hours / scale for scale in TIME_SCALES_H], dim=-1)
    return torch.cat([scaled.tanh(), torch.exp(-scaled.abs()), scaled[..., 1:2] / 4], dim=-1)


def level_features(coords: Float[Tensor, "*B C"]) -> Float[Tensor, "*B F"]:
    """Height as log pressure (0 at the surface, about 2.3 at 100 hPa) and its waves."""
    height = torch.log(SURFACE_PRESSURE_HPA / coords[..., 5:6])
    return torch.cat([height, (2 * height).sin(), (2 * height).cos()], dim=-1)


def scale_features(coords: Float[Tensor, "*B C"]) -> Float[Tensor, "*B F"]:
    """Grid spacing as its logarithm, in octaves around one degree."""
    return torch.log2(coords[..., 6:7]) / 4


def coordinate_features(coords: Float[Tensor, "*B C"]) -> Float[Tensor, "*B F"]:
    """All features of the axes `streams.COORDINATES`, each about one in size."""
    parts = (
        sphere_features(coords),
        time_features(coords),
        duration_features(coords[..., 2]),
        level_features(coords),
        scale_features(coords),
    )
    return torch.cat(parts, dim=-1)


class CoordinateEmbedding(nn.Module):
    """α as a vector of the model's width: a two-layer perceptron on `coordinate_features`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        features = coordinate_features(torch.ones(1, len(COORDINATES))).shape[-1]
        self.layers = nn.Sequential(nn.Linear(features, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, coords: Float[Tensor, "*B C"]) -> Float[Tensor, "*B W"]:
        return self.layers(coordinate_features(coords))
