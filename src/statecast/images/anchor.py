"""What answers about pixels start from: the smooth surface through the visible pixels, after a small linear filter.

Axes: B sample, N token, L place of the lattice of tokens, P value in a token, V channel, T time, H row, W column, C channel and time.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from statecast.models.anchors import Anchored, neutral
from statecast.streams import Tokens, TokenSpec

SWEEPS = 4  # of averaging over neighbours at each scale: more change the surface by less than pixels err
ERROR = 0.5  # of the surface in units of the standard deviation of a channel, where the data is not known
SMALLEST_ERROR = 0.05  # of which none is better than the data
FILTER = 5  # pixels on each side of the filter
FILTER_RATE = 10.0  # its weights go from one pixel to a mean over 25 within some hundred steps


@dataclass(frozen=True)
class ImageSpec(TokenSpec):
    """What a model knows of a stream of pixels: also the numbers of frames, rows and columns of a token, and of tokens in a sample."""

    patch: tuple[int, int, int] = (1, 1, 1)
    lattice: tuple[int, int, int] = (1, 1, 1)

    def is_like(self, other: TokenSpec) -> bool:
        return isinstance(other, ImageSpec) and self.patch == other.patch and super().is_like(other)

    def anchor_flops(self, tokens: int, width: int, *, has_visible: bool) -> int:
        return 6 * tokens * self.size * width if has_visible else 0

    def make_anchor(self, width: int) -> nn.Module:
        return SmoothAnchor(self, width)


class SmoothAnchor(nn.Module):
    """The smooth surface through the visible pixels of the stream, and 0 where none is visible; its own values where a token is visible.

    The surface is filtered, u + k * u, by weights k of 5 × 5 pixels that are learned and 0 at first: an answer about noisy pixels starts
    from the best linear estimate from those around them, and not from the noise (Wiener 1949).

    error  root mean square error of the surface where half of a picture's patches are hidden, for each channel, in units of its standard
           deviation. It is data, not learned: `PixelCodec.calibrate` sets it
    """

    channel_axes: ClassVar[dict[str, int]] = {"error": 0, "guess.weight": 1}  # for transfer
    lead_features: ClassVar[int] = 0

    def __init__(self, spec: ImageSpec, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.guess = nn.Linear(spec.size, width)
        self.filter = nn.Parameter(torch.zeros(FILTER, FILTER))
        self.error: Tensor
        self.register_buffer("error", torch.full((spec.dimensions[0],), ERROR))

    def forward(
        self, asked: Tokens, shown: Tokens | None, encoded: Float[Tensor, "B N W"] | None, *, causal: bool
    ) -> Anchored:
        if shown is None or len(shown) == 0 or causal:
            return neutral(asked, self.lead_features)
        surface = self.surface(shown)
        at = self.places(asked)
        base = surface.gather(1, at[..., None].expand(-1, -1, surface.shape[-1]))
        spread = self.error.repeat_interleave(self.spec.size // len(self.error)).expand_as(base)
        return neutral(asked, self.lead_features)._replace(base=base, spread=spread, hint=self.guess(base))

    def places(self, tokens: Tokens) -> Int[Tensor, "B N"]:
        """Where each token lies in the lattice."""
        frames, rows, columns = self.spec.lattice
        _, height, width = self.spec.patch
        x, y = tokens.along("place").unbind(dim=-1)
        row, column = (y / height - 0.5).round().long(), (x / width - 0.5).round().long()
        place = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
        if frames == 1:
            return place
        frame = ((tokens.coordinate("frame") + 0.5) / self.spec.patch[0] - 0.5).round().long()
        return place + rows * columns * frame.clamp(0, frames - 1)

    def surface(self, shown: Tokens) -> Float[Tensor, "B L P"]:
        """Filled values of every place of the lattice."""
        at = self.places(shown)[..., None].expand_as(shown.values)
        observed = shown.observed if shown.present is None else shown.observed & shown.present[..., None]
        places = self.spec.lattice[0] * self.spec.lattice[1] * self.spec.lattice[2]
        blank = shown.values.new_zeros(len(at), places, self.spec.size)
        known = blank.scatter(1, at, observed.to(blank.dtype))
        values = blank.scatter(1, at, shown.values * observed)
        return self._as_tokens(self._filtered(fill(self._as_pixels(values), self._as_pixels(known))))

    def _filtered(self, pixels: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        around = F.pad(pixels, (FILTER // 2,) * 4, mode="replicate").flatten(0, 1)[:, None]
        change = F.conv2d(around, FILTER_RATE * self.filter[None, None])
        return pixels + change.view_as(pixels)

    def _as_pixels(self, tokens: Float[Tensor, "B L P"]) -> Float[Tensor, "B C H W"]:
        _, rows, columns = self.spec.lattice
        t, h, w = self.spec.patch
        cut = tokens.unflatten(1, self.spec.lattice).unflatten(
            -1, (-1, t, h, w)
        )  # frames, rows, columns of tokens, then P
        pixels = cut.permute(0, 4, 1, 5, 2, 6, 3, 7)
        return pixels.reshape(len(tokens), -1, rows * h, columns * w)

    def _as_tokens(self, pixels: Float[Tensor, "B C H W"]) -> Float[Tensor, "B L P"]:
        frames, rows, columns = self.spec.lattice
        t, h, w = self.spec.patch
        cut = pixels.reshape(len(pixels), -1, frames, t, rows, h, columns, w)
        return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)


def fill(values: Float[Tensor, "B C H W"], known: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """The surface through the known values (where `known` is 1) that is nearly harmonic elsewhere: each pixel the mean of its neighbours.

    A coarser surface, of means of the known values in 2 × 2 pixels, is the first guess of a finer one (pull-push, Gortler et al. 1996),
    which sweeps of averaging make smooth. 0 where nothing is known.
    """
    rows, columns = values.shape[-2:]
    if rows == columns == 1:
        return values * known
    share = _halved(known)
    coarse = _halved(values * known) / share.clamp(min=torch.finfo(values.dtype).tiny)
    guess = F.interpolate(fill(coarse, (share > 0).to(values.dtype)), size=(rows, columns), mode="bilinear")
    filled = torch.where(known > 0, values, guess)
    for _ in range(SWEEPS):
        around = F.pad(filled, (1, 1, 1, 1), mode="replicate")
        mean = (around[..., 1:-1, 2:] + around[..., 1:-1, :-2] + around[..., 2:, 1:-1] + around[..., :-2, 1:-1]) / 4
        filled = torch.where(known > 0, values, mean)
    return filled


def _halved(values: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    return F.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)
