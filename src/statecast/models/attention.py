"""Attention that depends on distance from the first step. Axes: B sample, N query token, M key token, H head, D value inside a head,
W width, S displacement, K metric component.

Each head attends to a spot that is displaced from the query, in the local frame of the query, and has its own width along each axis. The
logit of a pair is

    q · k / sqrt(D)  -  sum over axes of  a |e(x_q) + s - e(x_k)|² / 2

with e the metric vector of the axis (`statecast.axes`): a unit vector on the sphere, days in time, log pressure, a rank. The sharpness a
(one over the squared width) and the displacement s are learned for each head. With its initial displacements on a ring, attention starts as
a convolution (Cordonnier et al. 2020, "On the relationship between self-attention and convolutional layers", quadratic encoding; d'Ascoli
et al. 2021). A Gaussian of a distance is an inner product, up to a term that is the same for all keys and cancels in the softmax:

    a (e_q + s) · e_k  -  a |e_k|² / 2            (|e_k| = 1 on a sphere, where the second term cancels too)

The geometry therefore occupies a few of a head's D values, works with fused kernels, and needs no N × M matrix. Where some keys lack an
axis, the cancelled term is no longer the same for all keys: it is kept as a further value, which is 1 for keys that have the axis. A key
that lacks an axis is treated as if it were at the centre of the spot; a query that lacks an axis treats all keys as equally near along it.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from statecast.axes import Axis, columns_of
from statecast.streams import PADDING

MULTIPLE = 8  # the geometry is padded to a multiple of this, so that the sizes of heads remain multiples of 8
SMALLEST_GEOMETRY = MULTIPLE
BOUNDED = ("sphere", "circle", "time", "level")
"""Kinds of axes whose metric vectors are short; ranks and positions in a plane grow with the window."""


def geometry_size(axes: Sequence[Axis]) -> int:
    """Number of values of a head that the geometry occupies. Padding, if any, leaves room for terms of axes that some tokens lack."""
    used = sum(axis.of_kind.key_size for axis in axes)
    return -(-used // MULTIPLE) * MULTIPLE


@dataclass(frozen=True)
class Along:
    """Positions of tokens along one axis.

    metric  e(x), 0 for a token that lacks the axis
    frame   directions of the displacements
    square  |e|²; None if it is 1
    has     1 for tokens that have the axis; None if all do
    """

    metric: Float[Tensor, "B N K"]
    frame: Float[Tensor, "B N S K"] | None
    square: Float[Tensor, "B N"] | None
    has: Float[Tensor, "B N"] | None

    def repeated(self, times: int) -> "Along":
        """Each sample so many times."""
        parts = {"metric": self.metric, "frame": self.frame, "square": self.square, "has": self.has}
        grown = {name: part.repeat_interleave(times, dim=0) for name, part in parts.items() if part is not None}
        return replace(self, **grown)


@dataclass(frozen=True)
class Geometry:
    """Positions of tokens.

    along   positions along each axis that has a metric
    partly  groups of axes that some keys lack, each group as a whole: their terms do not cancel in the softmax
    """

    along: Mapping[str, Along]
    partly: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(
        cls,
        coords: Float[Tensor, "B N C"],
        axes: Sequence[Axis],
        *,
        lacking: frozenset[str] = frozenset(),
        partly: tuple[tuple[str, ...], ...] = (),
    ) -> "Geometry":
        """From coordinates along `axes`; only axes in `lacking` may contain NaN."""
        along = {}
        for axis in axes:
            kind = axis.of_kind
            if kind.metric is None:
                continue
            own = coords[..., columns_of(axes, axis.name)]
            metric = kind.metric(own, axis.spacing)
            frame = None if kind.frame is None else kind.frame(own, axis.spacing)
            has = None
            if axis.name in lacking:
                has = metric.isfinite().all(dim=-1).to(metric.dtype)
                metric = metric.nan_to_num()
                frame = None if frame is None else frame.nan_to_num()
            square = None if kind.on_unit_sphere else metric.square().sum(dim=-1)
            along[axis.name] = Along(metric, frame, square, has)
        return cls(along, partly)

    def repeated(self, times: int) -> "Geometry":
        """Each sample so many times."""
        return Geometry({name: along.repeated(times) for name, along in self.along.items()}, self.partly)

    def has_all(self, axes: Sequence[str]) -> Float[Tensor, "B N"]:
        """1 for tokens that have all of these axes."""
        first = self.along[axes[0]].metric
        of_axes = [self.along[axis].has for axis in axes]
        have = [has for has in of_axes if has is not None]
        return torch.stack(have).amin(dim=0) if have else torch.ones_like(first[..., 0])


class AxisSpots(nn.Module):
    """Displacement and width of each head's spot along one axis, in units of its reach."""

    def __init__(self, axis: Axis, heads: int) -> None:
        super().__init__()
        self.on_unit_sphere = axis.of_kind.on_unit_sphere
        self.reach = axis.of_kind.reach(axis.spacing)
        shift, log_width = starting_spots(axis, heads)
        if shift is not None:
            self.shift = nn.Parameter(shift)
        self.log_width = nn.Parameter(log_width)

    def spot(self, at: Along) -> Float[Tensor, "B H N K"]:
        """Centre of each head's spot: the position of the query plus the displacement."""
        spot = at.metric[:, None]
        if at.frame is not None:
            shift = (self.reach * self.shift)[None, :, None, :]
            for displacement in range(self.shift.shape[-1]):
                spot = spot + shift[..., displacement, None] * at.frame[:, None, :, displacement]
        return spot

    def sharpness(self) -> Float[Tensor, "1 H 1 1"]:
        """a, one over the squared width of the spot."""
        return torch.exp(-2 * self.log_width)[None, :, None, None] / self.reach**2

    def query(self, at: Along) -> Float[Tensor, "B H N K"]:
        """The factors that multiply the key's metric vector and, unless that lies on a unit sphere, its square."""
        sharpness = self.sharpness()
        factor = sharpness * self.spot(at)
        if not self.on_unit_sphere:
            factor = torch.cat([factor, -sharpness / 2 + 0 * factor[..., :1]], dim=-1)
        return factor if at.has is None else factor * at.has[:, None, :, None]

    def constant(self, at: Along) -> Float[Tensor, "B H N 1"]:
        """The term that is the same for all keys that have the axis."""
        square = self.spot(at).square().sum(dim=-1, keepdim=True) + float(self.on_unit_sphere)
        constant = -self.sharpness() / 2 * square
        return constant if at.has is None else constant * at.has[:, None, :, None]


class GeometricAttention(nn.Module):
    """Multi-head attention from tokens at one geometry to tokens at another (or the same).

    Raises ValueError if the width is not a multiple of the number of heads, or if a head is too small for the geometry.
    """

    def __init__(self, width: int, heads: int, axes: Sequence[Axis]) -> None:
        super().__init__()
        self.geometry_size = geometry_size(axes)
        if width % heads or width // heads <= self.geometry_size:
            raise ValueError(
                f"width {width} with {heads} heads: expected a multiple of the number of heads, with more than "
                f"{self.geometry_size} values per head."
            )
        self.heads, self.head_size = heads, width // heads
        self.content_size = self.head_size - self.geometry_size
        measured = [axis for axis in axes if axis.of_kind.metric is not None]
        self.spots = nn.ModuleDict({axis.name: AxisSpots(axis, heads) for axis in measured})
        self.is_bounded = all(axis.kind in BOUNDED for axis in measured)
        self.to_query = nn.Linear(width, heads * self.content_size, bias=False)
        self.to_key = nn.Linear(width, heads * self.content_size, bias=False)
        self.to_value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(
        self,
        queries: Float[Tensor, "B N W"],
        at: Geometry,
        context: Float[Tensor, "B M W"],
        where: Geometry,
        visible: Bool[Tensor, "B #N M"] | None = None,
    ) -> Float[Tensor, "B N W"]:
        """The result for each query; 0 for a query that sees nothing. `visible`: the keys that each query sees; None: all keys."""
        query = self.project_queries(queries, at)
        key, value = self.project_keys(context, where)
        return self.mix(query, key, value.to(query.dtype), visible)

    def mix(
        self,
        query: Float[Tensor, "B H N D"],
        key: Float[Tensor, "B H M D"],
        value: Float[Tensor, "B H M D"],
        visible: Bool[Tensor, "B #N M"] | None,
    ) -> Float[Tensor, "B N W"]:
        if self.is_bounded and query.is_cuda and computes_in_bfloat16("cuda"):
            query, key, value = in_bfloat16(query, key, value, self.geometry_size)
        with without_autocast(query.device):  # with a mantissa of 8 bits, inner products lose the positions of tokens
            if visible is None:
                mixed = scaled_dot_product_attention(query, key, value, scale=1.0)
            else:
                mixed = _masked_attention(query, key, value, visible)
        return self.output(mixed[..., : self.head_size].transpose(1, 2).flatten(2))

    def project(
        self, queries: Float[Tensor, "B N W"], at: Geometry, context: Float[Tensor, "B M W"], where: Geometry
    ) -> tuple[Float[Tensor, "B H N D"], Float[Tensor, "B H M D"], Float[Tensor, "B H M D"]]:
        """Query, key and value of each head: the softmax of query · key gives the weight of each value."""
        query = self.project_queries(queries, at)
        key, value = self.project_keys(context, where)
        return query, key, value.to(query.dtype)

    def project_queries(self, queries: Float[Tensor, "B N W"], at: Geometry) -> Float[Tensor, "B H N D"]:
        content = self._split(self.to_query(queries)) / math.sqrt(self.content_size)
        geometry = [self._spot(axis).query(at.along[axis]) for axis in self.spots]
        for group in at.partly:
            constants = [self._spot(axis).constant(at.along[axis]) for axis in group]
            geometry.append(torch.stack(constants).sum(dim=0))
        return torch.cat([content, *self._padded(geometry)], dim=-1)

    def project_keys(
        self, context: Float[Tensor, "B M W"], where: Geometry
    ) -> tuple[Float[Tensor, "B H M D"], Float[Tensor, "B H M D"]]:
        """Key and value of each head."""
        content = self._split(self.to_key(context))
        geometry = []
        for axis in self.spots:
            along = where.along[axis]
            geometry.append(along.metric)
            if along.square is not None:
                geometry.append(along.square[..., None])
        geometry += [where.has_all(group)[..., None] for group in where.partly]
        of_heads = [part[:, None].expand(-1, self.heads, -1, -1) for part in self._padded(geometry)]
        return torch.cat([content, *of_heads], dim=-1), self._split(self.to_value(context))

    def _spot(self, axis: str) -> AxisSpots:
        spot = self.spots[axis]
        assert isinstance(spot, AxisSpots)
        return spot

    def _split(self, tokens: Float[Tensor, "B N HD"]) -> Float[Tensor, "B H N D"]:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _padded(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """The parts, padded with zeros to the size of the geometry."""
        spare = self.geometry_size - sum(part.shape[-1] for part in parts)
        if spare < 0:
            raise ValueError(
                f"the heads have {self.geometry_size} values for the geometry, but these tokens need {self.geometry_size - spare}: "
                "too many different sets of axes are missing from streams. Give the streams the same axes, or train a new model."
            )
        if not parts or not spare:
            return list(parts)
        zeros = parts[0].new_zeros((*parts[0].shape[:-1], spare))
        return [*parts, zeros]


def in_bfloat16(
    query: Float[Tensor, "B H N D"], key: Float[Tensor, "B H M D"], value: Float[Tensor, "B H M D"], geometry: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value in bfloat16, for the fast kernels of a GPU, with the last `geometry` values of query and key as sums of two:

        q · k = (q' + q") · (k' + k")  ≈  q' · k' + q' · k" + q" · k'

    A product of 16 bits of mantissa instead of 8, whose error in the logit of a token a few widths away stays below 0.02 for windows round
    the globe. The values are padded to the same size.
    """
    content = query.shape[-1] - geometry
    high_query, low_query = _in_two(query[..., content:])
    high_key, low_key = _in_two(key[..., content:])
    queries = [query[..., :content].bfloat16(), high_query, high_query, low_query]
    keys = [key[..., :content].bfloat16(), high_key, low_key, high_key]
    return torch.cat(queries, dim=-1), torch.cat(keys, dim=-1), pad(value.bfloat16(), (0, 2 * geometry))


def _in_two(values: Float[Tensor, "*B"]) -> tuple[Tensor, Tensor]:
    """Each value as the sum of two in bfloat16."""
    high = values.bfloat16()
    return high, (values - high).bfloat16()


def _masked_attention(
    query: Float[Tensor, "B H N D"],
    key: Float[Tensor, "B H M D"],
    value: Float[Tensor, "B H M D"],
    visible: Bool[Tensor, "B #N M"],
) -> Float[Tensor, "B H N D"]:
    """Attention to visible keys only; 0 for a query that sees nothing.

    Keys are padded to a multiple of `streams.PADDING`, so that sums over keys are taken in the same order for any amount of padding.
    """
    length = -(-visible.shape[-1] // PADDING) * PADDING
    if missing := length - key.shape[-2]:  # 0 also for keys that come padded
        key, value = pad(key, (0, 0, 0, missing)), pad(value, (0, 0, 0, missing))
    if missing := length - visible.shape[-1]:
        visible = pad(visible, (0, missing))
    sees = visible.any(dim=-1, keepdim=True)[:, None]
    mask = visible[:, None] | ~sees  # a softmax over no keys would be NaN
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0) * sees


def starting_spots(axis: Axis, heads: int) -> tuple[Tensor | None, Tensor]:
    """Initial displacements and log widths of each head's spot along an axis, in units of its reach.

    On surfaces, a quarter of the heads have wide spots without displacement; the others have narrow spots displaced onto a ring. Along
    lines and ranks, the narrow spots are displaced by one or two tokens, backwards or forwards. In time and height no spot is displaced,
    and widths are a day and a scale height.
    """
    kind = axis.of_kind
    if kind.displacements == 2:
        return _ring(heads)
    if axis.kind in ("line", "index", "circle"):
        return _aside(heads)
    shift = torch.zeros(heads, kind.displacements) if kind.displacements else None
    return shift, torch.zeros(heads)


def _ring(heads: int) -> tuple[Tensor, Tensor]:
    """A quarter of the heads with wide spots and no displacement, the others with narrow spots on a ring."""
    wide = max(1, heads // 4)
    angles = torch.arange(heads - wide) * (2 * math.pi / max(1, heads - wide))
    ring = torch.stack([angles.cos(), angles.sin()], dim=-1)
    shift = torch.cat([torch.zeros(wide, 2), ring])
    return shift, _widths(heads, wide)


def _aside(heads: int) -> tuple[Tensor, Tensor]:
    """A quarter of the heads with wide spots and no displacement, the others with narrow spots at -1, 1, -2, 2, -1, ... tokens."""
    wide = max(1, heads // 4)
    steps = torch.tensor([-1.0, 1.0, -2.0, 2.0])
    aside = steps[torch.arange(heads - wide) % len(steps)]
    return torch.cat([torch.zeros(wide), aside])[:, None], _widths(heads, wide)


def _widths(heads: int, wide: int) -> Tensor:
    widest = torch.linspace(0.0, 3.0, wide + 1)[1:].exp2() if wide > 1 else torch.tensor([3.0])
    return torch.cat([widest, torch.full((heads - wide,), 0.75)]).log()


def computes_in_bfloat16(device: str) -> bool:
    """Whether autocast to bfloat16 is on."""
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """A context in which matrix products use the precision of their factors."""
    has_autocast = torch.amp.is_autocast_available(device.type)  # False for `meta`, used to size large models
    return torch.autocast(device.type, enabled=False) if has_autocast else nullcontext()
