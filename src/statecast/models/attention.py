"""Attention that knows distance from the first step. Axes: B sample, N query token, M key token, H head, D value inside a head, W width.

Each head looks at a spot that is displaced from the query in the query's own frame (east, north, earlier or later, up or down) and
has a width of its own: the logit of a pair is

    q · k / sqrt(D)  -  a |x_q + s - x_k|² / 2  -  b (t_q + τ - t_k)² / 2  -  c (l_q - l_k)² / 2

with x on the unit sphere, s = s_east · east(q) + s_north · north(q), t in days and l the log pressure; a, b, c, s and τ are learned for
each head. With displacements on a ring it starts as a convolution (Cordonnier et al. 2020, "On the relationship between self-attention
and convolutional layers", quadratic encoding; d'Ascoli et al. 2021). A Gaussian of a distance is an inner product, up to a term that
is the same for all keys and so drops out of the softmax:

    a (x_q + s) · x_k  +  b (t_q + τ) t_k - b t_k² / 2  +  c l_q l_k - c l_k² / 2            (|x_k| = 1)

so the geometry takes 7 of a head's D values, keeps the fused kernels, and needs no N × M matrix.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from statecast.models.embedding import unit_vectors
from statecast.streams import SURFACE_PRESSURE_HPA

GEOMETRY_SIZE = 8  # 3 of place, 2 of time, 2 of level, 1 unused: head sizes stay multiples of 8


@dataclass(frozen=True)
class Geometry:
    """Where tokens are: unit vectors, local east and north, days since the window's first step, log pressure."""

    place: Float[Tensor, "B N 3"]
    east: Float[Tensor, "B N 3"]
    north: Float[Tensor, "B N 3"]
    days: Float[Tensor, "B N"]
    height: Float[Tensor, "B N"]

    @classmethod
    def of(cls, coords: Float[Tensor, "B N C"]) -> "Geometry":
        lat, lon = torch.deg2rad(coords[..., 0]), torch.deg2rad(coords[..., 1])
        zero = torch.zeros_like(lat)
        east = torch.stack([-lon.sin(), lon.cos(), zero], dim=-1)
        north = torch.stack([-lat.sin() * lon.cos(), -lat.sin() * lon.sin(), lat.cos()], dim=-1)
        height = torch.log(SURFACE_PRESSURE_HPA / coords[..., 5])
        return cls(unit_vectors(coords), east, north, coords[..., 2] / 24, height)


class GeometricAttention(nn.Module):
    """Multi-head attention from tokens at one geometry to tokens at another (or the same).

    reach_deg  size of a token on the sphere: heads start with displacements of 0 to 1.5 and widths of 0.5 to 8 of it
    Raises ValueError if the width is no multiple of the heads or a head is too small to hold the geometry.
    """

    def __init__(self, width: int, heads: int, reach_deg: float) -> None:
        super().__init__()
        if width % heads or width // heads <= GEOMETRY_SIZE:
            raise ValueError(
                f"width {width} with {heads} heads: expected a multiple of the heads, with more than {GEOMETRY_SIZE} a head."
            )
        self.heads, self.head_size = heads, width // heads
        self.content_size = self.head_size - GEOMETRY_SIZE
        self.to_query = nn.Linear(width, heads * self.content_size, bias=False)
        self.to_key = nn.Linear(width, heads * self.content_size, bias=False)
        self.to_value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.reach = math.radians(reach_deg)
        shift, log_width = _ring(heads)
        self.shift = nn.Parameter(shift)  # east and north, in units of reach
        self.log_width = nn.Parameter(log_width)  # of the spot, in units of reach
        self.shift_days = nn.Parameter(torch.zeros(heads))
        self.log_width_days = nn.Parameter(torch.zeros(heads))
        self.log_width_height = nn.Parameter(torch.zeros(heads))

    def forward(
        self, queries: Float[Tensor, "B N W"], at: Geometry, context: Float[Tensor, "B M W"], where: Geometry
    ) -> Float[Tensor, "B N W"]:
        query, key, value = self.project(queries, at, context, where)
        with without_autocast(query.device):  # in 8 bits the inner products forget where tokens are
            mixed = scaled_dot_product_attention(query, key, value, scale=1.0)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def project(
        self, queries: Float[Tensor, "B N W"], at: Geometry, context: Float[Tensor, "B M W"], where: Geometry
    ) -> tuple[Float[Tensor, "B H N D"], Float[Tensor, "B H M D"], Float[Tensor, "B H M D"]]:
        """Query, key and value of each head: the softmax of query · key is how much a head takes of each value."""
        content = self._split(self.to_query(queries)) / math.sqrt(self.content_size)
        query = torch.cat([content, self._query_geometry(at)], dim=-1)
        key = torch.cat([self._split(self.to_key(context)), self._key_geometry(where)], dim=-1)
        return query, key, self._split(self.to_value(context)).to(query.dtype)

    def _split(self, tokens: Float[Tensor, "B N HD"]) -> Float[Tensor, "B H N D"]:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _query_geometry(self, at: Geometry) -> Float[Tensor, "B H N 8"]:
        a, b, c = (
            torch.exp(-2 * log_width)[None, :, None]
            for log_width in (self.log_width, self.log_width_days, self.log_width_height)
        )
        shift = (self.reach * self.shift)[None, :, None, :]
        east, north = shift[..., :1] * at.east[:, None], shift[..., 1:] * at.north[:, None]
        spot = (a[..., None] / self.reach**2) * (at.place[:, None] + east + north)
        days, height = at.days[:, None], at.height[:, None]
        time = torch.stack(
            torch.broadcast_tensors(b * (days + self.shift_days[None, :, None]), -b / 2 + 0 * days), dim=-1
        )
        level = torch.stack(torch.broadcast_tensors(c * height, -c / 2 + 0 * height, 0 * c + 0 * height), dim=-1)
        return torch.cat([spot, time, level], dim=-1)

    def _key_geometry(self, where: Geometry) -> Float[Tensor, "B H M 8"]:
        parts = [where.days, where.days**2, where.height, where.height**2, torch.zeros_like(where.days)]
        features = torch.cat([where.place, torch.stack(parts, dim=-1)], dim=-1)
        return features[:, None].expand(-1, self.heads, -1, -1)


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """A context in which products are taken in the precision of their factors."""
    known = torch.amp.is_autocast_available(device.type)  # `meta`, on which large models are sized, has none
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def _ring(heads: int) -> tuple[Tensor, Tensor]:
    """Where heads look at the start: a quarter of them straight ahead with wide spots, the others on a ring with narrow ones."""
    wide = max(1, heads // 4)
    angles = torch.arange(heads - wide) * (2 * math.pi / max(1, heads - wide))
    ring = torch.stack([angles.cos(), angles.sin()], dim=-1)
    shift = torch.cat([torch.zeros(wide, 2), ring])
    widths = torch.cat(
        [
            torch.linspace(0.0, 3.0, wide + 1)[1:].exp2() if wide > 1 else torch.tensor([3.0]),
            torch.full((heads - wide,), 0.75),
        ]
    )
    return shift, widths.log()
