"""Axes of a token's coordinates: each kind of axis has features for the embedding and a metric vector for attention.

Tasks, models and costs know space and time only through this table. Raw coordinates never enter a linear map.

Axes: * any leading axes, C coordinate column, F feature, D metric component, S displacement.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module

SURFACE_PRESSURE_HPA = 1013.25  # of the standard atmosphere at sea level
SPHERE_OCTAVES = 5  # half the shortest wavelength on the unit vector is 2 / 2^4 of an Earth radius, about 800 km
TIME_SCALES_H = (6.0, 24.0, 96.0)
LINE_OCTAVES = 8  # wavelengths of 4 to 512 spacings
CIRCLE_HARMONICS = (1, 2, 4)

Kind = Literal["sphere", "time", "level", "scale", "plane", "circle", "line", "index"]


@dataclass(frozen=True)
class Axis:
    """One axis of a stream's coordinates.

    name     of the axis, unique in a stream; streams that share a name share the axis
    kind     determines columns, features and metric, see `KINDS`
    unit     of the coordinate
    spacing  distance between neighbouring tokens in `unit`: the initial size of the spots of attention
    columns  names of the coordinates, if they differ from those of the kind
    """

    name: str
    kind: Kind
    unit: str = "1"
    spacing: float = 1.0
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kind = KINDS[self.kind]
        if not self.columns:
            object.__setattr__(self, "columns", kind.columns or (self.name,))
        if len(self.columns) != max(1, len(kind.columns)):
            raise ValueError(
                f"axis {self.name}: kind {self.kind} has {max(1, len(kind.columns))} columns, got {list(self.columns)}. "
                "Give one name for each."
            )
        if not self.name.isidentifier() or hasattr(dict, self.name) or hasattr(Module, self.name):
            raise ValueError(
                f"'{self.name}' can't name an axis. Choose another word of letters, digits and underscores."
            )
        if not self.spacing > 0:
            raise ValueError(f"axis {self.name}: spacing is {self.spacing}, expected a positive length.")

    @property
    def of_kind(self) -> "AxisKind":
        return KINDS[self.kind]


@dataclass(frozen=True)
class AxisKind:
    """What a kind of axis provides to the model.

    columns        names of its coordinates; none: one coordinate, named after the axis
    features       coordinates, spacing -> numbers of order one for the embedding
    metric         coordinates, spacing -> metric vector; the squared distance of two of them measures how far apart two tokens are; none:
                   the axis plays no part in attention
    frame          coordinates, spacing -> direction in metric space of each displacement that a head may learn
    displacements  S, number of displacements of a head
    dimensions     D, size of the metric vector
    on_unit_sphere the metric vector has length 1
    reach          spacing -> size of a spot in metric space
    """

    columns: tuple[str, ...]
    features: Callable[[Float[Tensor, "*B C"], float], Float[Tensor, "*B F"]]
    metric: Callable[[Float[Tensor, "*B C"], float], Float[Tensor, "*B D"]] | None
    frame: Callable[[Float[Tensor, "*B C"], float], Float[Tensor, "*B S D"]] | None = None
    displacements: int = 0
    dimensions: int = 0
    on_unit_sphere: bool = False
    reach: Callable[[float], float] = lambda spacing: 1.0

    @property
    def key_size(self) -> int:
        """Number of values of a head that the metric occupies: the vector and, unless its length is 1, its squared length."""
        return 0 if self.metric is None else self.dimensions + (not self.on_unit_sphere)


def unit_vectors(coords: Float[Tensor, "*B C"]) -> Float[Tensor, "*B 3"]:
    """Points on the unit sphere from latitude and longitude in degrees: x points to 0° E, y to 90° E, z to the North Pole."""
    lat, lon = torch.deg2rad(coords[..., 0]), torch.deg2rad(coords[..., 1])
    return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], dim=-1)


def east_and_north(coords: Float[Tensor, "*B C"], spacing: float) -> Float[Tensor, "*B 2 3"]:
    """Unit vectors towards east and north, tangent to the sphere."""
    lat, lon = torch.deg2rad(coords[..., 0]), torch.deg2rad(coords[..., 1])
    zero = torch.zeros_like(lat)
    east = torch.stack([-lon.sin(), lon.cos(), zero], dim=-1)
    north = torch.stack([-lat.sin() * lon.cos(), -lat.sin() * lon.sin(), lat.cos()], dim=-1)
    return torch.stack([east, north], dim=-2)


def sphere_features(coords: Float[Tensor, "*B C"], spacing: float = 1.0) -> Float[Tensor, "*B F"]:
    """The unit vector and waves on it: neither the poles nor the date line are special."""
    place = unit_vectors(coords)
    waves = torch.cat([place * (math.pi / 2 * 2.0**k) for k in range(SPHERE_OCTAVES)], dim=-1)
    return torch.cat([place, waves.sin(), waves.cos()], dim=-1)


def calendar_features(coords: Float[Tensor, "*B C"]) -> Float[Tensor, "*B F"]:
    """First and second harmonics of universal time, local solar time and season, each as an angle."""
    day, sun, year = coords[..., 1] * (2 * math.pi / 24), coords[..., 2], coords[..., 3] * (2 * math.pi)
    angles = torch.stack([k * angle for angle in (day, sun, year) for k in (1, 2)], dim=-1)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def duration_features(hours: Float[Tensor, "*B"]) -> Float[Tensor, "*B F"]:
    """Smooth functions of a duration, which may be negative, at several time scales."""
    scaled = torch.stack([hours / scale for scale in TIME_SCALES_H], dim=-1)
    return torch.cat([scaled.tanh(), torch.exp(-scaled.abs()), scaled[..., 1:2] / 4], dim=-1)


def time_features(coords: Float[Tensor, "*B C"], spacing: float = 1.0) -> Float[Tensor, "*B F"]:
    """The calendar as angles, and the offset within the window as a duration."""
    return torch.cat([calendar_features(coords), duration_features(coords[..., 0])], dim=-1)


def level_features(coords: Float[Tensor, "*B C"], spacing: float = 1.0) -> Float[Tensor, "*B F"]:
    """Height as log pressure (0 at the surface, about 2.3 at 100 hPa), with its sine and cosine."""
    height = torch.log(SURFACE_PRESSURE_HPA / coords[..., 0:1])
    return torch.cat([height, (2 * height).sin(), (2 * height).cos()], dim=-1)


def scale_features(coords: Float[Tensor, "*B C"], spacing: float = 1.0) -> Float[Tensor, "*B F"]:
    """Logarithm of the grid spacing, in octaves relative to one degree."""
    return torch.log2(coords[..., 0:1]) / 4


def line_features(coords: Float[Tensor, "*B C"], spacing: float) -> Float[Tensor, "*B F"]:
    """Waves of 4 to 512 spacings along each coordinate."""
    turns = coords[..., None] / spacing * 2.0 ** -torch.arange(2.0, 2 + LINE_OCTAVES, device=coords.device)
    angles = 2 * math.pi * turns.flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def circle_features(coords: Float[Tensor, "*B C"], spacing: float = 1.0) -> Float[Tensor, "*B F"]:
    """Harmonics of an angle in radians."""
    angles = torch.cat([k * coords for k in CIRCLE_HARMONICS], dim=-1)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _on_circle(coords: Float[Tensor, "*B 1"], spacing: float) -> Float[Tensor, "*B 2"]:
    return torch.cat([coords.cos(), coords.sin()], dim=-1)


def _along_circle(coords: Float[Tensor, "*B 1"], spacing: float) -> Float[Tensor, "*B 1 2"]:
    return torch.cat([-coords.sin(), coords.cos()], dim=-1)[..., None, :]


def _in_spacings(coords: Float[Tensor, "*B C"], spacing: float) -> Float[Tensor, "*B C"]:
    return coords / spacing


def _along_each(coords: Float[Tensor, "*B C"], spacing: float) -> Float[Tensor, "*B C C"]:
    return torch.eye(coords.shape[-1], device=coords.device, dtype=coords.dtype).expand(*coords.shape, -1)


def _days(coords: Float[Tensor, "*B C"], spacing: float) -> Float[Tensor, "*B 1"]:
    return coords[..., 0:1] / 24


def _along_time(coords: Float[Tensor, "*B C"], spacing: float) -> Float[Tensor, "*B 1 1"]:
    return torch.ones_like(coords[..., 0:1])[..., None]


def _log_pressure(coords: Float[Tensor, "*B C"], spacing: float) -> Float[Tensor, "*B 1"]:
    return torch.log(SURFACE_PRESSURE_HPA / coords[..., 0:1])


TIME_COLUMNS = ("offset_h", "hour_utc", "solar_time_rad", "year_fraction")
"""Hours since the first step of the window; hour of the day; local mean solar time as an angle, 0 at midnight; elapsed fraction of the
year, 0 to 1, in the calendar of the record."""

KINDS: dict[str, AxisKind] = {
    "sphere": AxisKind(
        ("latitude_deg", "longitude_deg"),
        sphere_features,
        lambda coords, spacing: unit_vectors(coords),
        east_and_north,
        displacements=2,
        dimensions=3,
        on_unit_sphere=True,
        reach=math.radians,
    ),
    "time": AxisKind(TIME_COLUMNS, time_features, _days, _along_time, displacements=1, dimensions=1),
    "level": AxisKind((), level_features, _log_pressure, dimensions=1),
    "scale": AxisKind((), scale_features, None),
    "plane": AxisKind(("x", "y"), line_features, _in_spacings, _along_each, displacements=2, dimensions=2),
    "circle": AxisKind(
        (),
        circle_features,
        _on_circle,
        _along_circle,
        displacements=1,
        dimensions=2,
        on_unit_sphere=True,
        reach=lambda spacing: spacing,
    ),
    "line": AxisKind((), line_features, _in_spacings, _along_each, displacements=1, dimensions=1),
    "index": AxisKind((), line_features, _in_spacings, _along_each, displacements=1, dimensions=1),
}


def column_names(axes: Sequence[Axis]) -> tuple[str, ...]:
    """The names of all coordinates, in the order of the axes."""
    return tuple(column for axis in axes for column in axis.columns)


def columns_of(axes: Sequence[Axis], name: str) -> slice:
    """The columns of one axis. Raises KeyError if there is no such axis."""
    first = 0
    for axis in axes:
        if axis.name == name:
            return slice(first, first + len(axis.columns))
        first += len(axis.columns)
    raise KeyError(f"there is no axis {name}. Axes: {', '.join(axis.name for axis in axes) or 'none'}.")


def united(of_streams: Sequence[Sequence[Axis]]) -> tuple[Axis, ...]:
    """The axes of all streams, each once, as declared by the first stream that has it.

    Raises ValueError if two axes share a name but differ in kind.
    """
    by_name: dict[str, Axis] = {}
    for axes in of_streams:
        for axis in axes:
            known = by_name.setdefault(axis.name, axis)
            if (known.kind, known.columns) != (axis.kind, axis.columns):
                raise ValueError(
                    f"axis {axis.name} is of kind {known.kind} in one stream and of kind {axis.kind} in another. Give them two names."
                )
    return tuple(by_name.values())


def in_space(coords: Float[Tensor, "*B C"], own: Sequence[Axis], axes: Sequence[Axis]) -> Float[Tensor, "*B C"]:
    """Coordinates along `own` axes, rearranged as coordinates along `axes`; NaN along absent axes."""
    if [axis.name for axis in own] == [axis.name for axis in axes]:
        return coords
    names = {axis.name for axis in own}
    parts = []
    for axis in axes:
        if axis.name in names:
            parts.append(coords[..., columns_of(own, axis.name)])
        else:
            parts.append(coords.new_full((*coords.shape[:-1], len(axis.columns)), torch.nan))
    return torch.cat(parts, dim=-1) if parts else coords[..., :0]


def coordinate_features(coords: Float[Tensor, "*B C"], axes: Sequence[Axis]) -> Float[Tensor, "*B F"]:
    """The features of all coordinates along `axes`, each of order one; NaN where a coordinate is NaN."""
    parts = [axis.of_kind.features(coords[..., columns_of(axes, axis.name)], axis.spacing) for axis in axes]
    return torch.cat(parts, dim=-1) if parts else coords[..., :0]


def feature_size(axes: Sequence[Axis]) -> int:
    """F, the number of `coordinate_features`."""
    return coordinate_features(torch.ones(1, len(column_names(axes))), axes).shape[-1]


def metric_vectors(coords: Float[Tensor, "*B C"], axes: Sequence[Axis]) -> Float[Tensor, "*B D"]:
    """The concatenated metric vectors of all axes, each in units of its reach: squared distances add up. 0 where a coordinate is NaN."""
    parts = []
    for axis in axes:
        kind = axis.of_kind
        if kind.metric is not None:
            vector = kind.metric(coords[..., columns_of(axes, axis.name)], axis.spacing)
            parts.append(vector / kind.reach(axis.spacing))
    return torch.nan_to_num(torch.cat(parts, dim=-1)) if parts else coords[..., :0]
