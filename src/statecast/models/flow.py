"""The flow head: the joint distribution of all values that a question asks, as a flow from noise to values.

A velocity v moves values x from noise at time t = 0 to data at t = 1 (Lipman et al. 2023, flow matching; Liu et al. 2023, rectified flow):

    dx/dt = v(x, t | d),        x(0) ~ N(0, 1)

where d are the decoded tokens: context is encoded and decoded once, however many members are drawn and in however many steps. The asked
tokens see one another inside the head, so a member is one draw of all of them together. v is fitted to the velocity of a path between
noise x_0 and truth x_1:

    rectified   x_t = (1 - t) x_0 + t x_1              loss  |v(x_t, t | d) - dx_t/dt|²
    cosine      x_t = cos(πt/2) x_0 + sin(πt/2) x_1     the cosine schedule of diffusion models (Nichol & Dhariwal 2021), v-prediction
                                                        (Salimans & Ho 2022) up to the factor π/2

Values are departures from the anchor in units of its spread, as in other heads.

Axes: B sample, N asked token of all streams, P value in a token, D value of all asked tokens, W width, C coordinate, F feature of time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from zlib import crc32

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from statecast.axes import Axis
from statecast.models.attention import Geometry
from statecast.models.blocks import DecoderBlock, ModulatedNorm
from statecast.models.noise import hashed, normal, uniform
from statecast.streams import Tokens, Window

Path = Literal["rectified", "cosine"]

TIME_WAVES = 8  # half waves of the path's time, 1 to 8 in its length
TIME_SIZE = 64  # size of the embedded time, the condition of the norms
IN_TRAINING = -1  # in the place of a member's number: the noise of training is none that is drawn from
OF_TIME = -2  # in the same place: the time in training


@dataclass(frozen=True)
class Asked:
    """The asked tokens with values of all streams, side by side.

    sizes    tokens and values per token of each stream
    decoded  of each token, given the context
    at       positions of the tokens
    visible  the tokens that each sees inside the head; None: all
    known    1 for the values that take part: those present, in training those observed; the others are 0 throughout
    place    a number for each value by its stream, token and position in the token: what its noise depends on
    seed     of the noise of each sample
    """

    sizes: Mapping[str, tuple[int, int]]
    decoded: Float[Tensor, "B N W"]
    at: Geometry
    visible: Bool[Tensor, "B #N N"] | None
    known: Float[Tensor, "B D"]
    place: Int[Tensor, "B D"]
    seed: Int[Tensor, " B"]

    def noise(self, member: Int[Tensor, " B"] | int) -> Float[Tensor, "B D"]:
        """Standard normal, the same for the same sample, member and token in any batch; 0 where nothing takes part."""
        number = member[:, None] if isinstance(member, Tensor) else member
        return normal(self.seed[:, None], number, self.place).to(self.known.dtype) * self.known

    def repeated(self, times: int) -> "Asked":
        """Each sample so many times."""
        visible = None if self.visible is None else self.visible.repeat_interleave(times, dim=0)
        parts = {name: getattr(self, name) for name in ("decoded", "known", "place", "seed")}
        parts = {name: part.repeat_interleave(times, dim=0) for name, part in parts.items()}
        return replace(self, at=self.at.repeated(times), visible=visible, **parts)

    def joined(self, parts: Mapping[str, Float[Tensor, "B N P"]]) -> Float[Tensor, "B D"]:
        """The values of all streams in one row."""
        return torch.cat([parts[name].flatten(1) for name in self.sizes], dim=1)

    def split(self, values: Float[Tensor, "*B D"]) -> dict[str, Float[Tensor, "*B N P"]]:
        """The values of each stream."""
        lengths = [tokens * size for tokens, size in self.sizes.values()]
        parts = zip(self.sizes.items(), values.split(lengths, dim=-1), strict=True)
        return {
            name: part.unflatten(-1, (tokens, size))
            for name, (tokens, size), part in ((n, s, p) for (n, s), p in parts)
        }


def places_of(window: Window, streams: Mapping[str, int]) -> Int[Tensor, "B D"]:
    """A number for each value by that of its stream, the number of its token and its position in the token."""
    parts = []
    for name, tokens in window.items():
        number = tokens.index
        if number is None:
            number = torch.arange(len(tokens), device=tokens.values.device).expand(tokens.values.shape[:-1])
        value = torch.arange(tokens.spec.size, device=number.device)
        parts.append(hashed(streams[name], number[..., None], value).flatten(1))
    return torch.cat(parts, dim=1)


def known_values(tokens: Tokens, *, in_training: bool) -> Bool[Tensor, "B N P"]:
    """The values that take part in a flow: those of tokens that are no padding, in training those that were observed."""
    known = tokens.observed if in_training else torch.ones_like(tokens.observed)
    return known if tokens.present is None else known & tokens.present[..., None]


def on_path(
    path: Path, noise: Float[Tensor, "B D"], truth: Float[Tensor, "B D"], time: Float[Tensor, " B"]
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """The point of the path at this time, and its velocity."""
    t = time[:, None]
    if path == "rectified":
        return torch.lerp(noise, truth, t), truth - noise
    angle = math.pi / 2 * t
    cos, sin = angle.cos(), angle.sin()
    return cos * noise + sin * truth, math.pi / 2 * (cos * truth - sin * noise)


def of_normal(path: Path, time: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """c(t) of the velocity c(t) x of a standard normal distribution: the regression of dx_t/dt on x_t where noise and truth are normal.

    rectified   c = (2t - 1) / (t² + (1 - t)²)          cosine   c = 0
    """
    return (2 * time - 1) / (time**2 + (1 - time) ** 2) if path == "rectified" else torch.zeros_like(time)


class FlowHead(nn.Module):
    """The velocity v(x, t | d): a few blocks in which the asked tokens see one another, with norms modulated by the time (DiT).

    h = d + values(x),   h += attention(norm(h, t), h) + perceptron(norm(h, t)),   v = heads(norm(h, t))  [+ c(t) x]

    With `skip` the velocity of a standard normal distribution, c(t) x, is added: a head whose weights are 0 draws standard normal values,
    and learns what differs from them, as a preconditioned diffusion model does (Karras et al. 2022).
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        axes: Sequence[Axis],
        *,
        width: int,
        heads: int,
        mlp_ratio: float,
        layers: int,
        path: Path,
        skip: bool = False,
    ) -> None:
        """`sizes`: values per token of each stream."""
        super().__init__()
        self.path: Path = path
        self.skip = skip
        self.streams = {name: crc32(name.encode()) for name in sizes}  # a number for each, whichever others there are
        self.values = nn.ModuleDict({name: nn.Linear(2 * size, width) for name, size in sizes.items()})
        self.time = nn.Sequential(nn.Linear(2 * TIME_WAVES, TIME_SIZE), nn.GELU())
        self.blocks = nn.ModuleList(DecoderBlock(width, heads, mlp_ratio, axes, TIME_SIZE) for _ in range(layers))
        self.norm = ModulatedNorm(width, TIME_SIZE)
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})

    def forward(self, values: Float[Tensor, "B D"], time: Float[Tensor, " B"], asked: Asked) -> Float[Tensor, "B D"]:
        """The velocity of the values at this time."""
        now, known = asked.split(values * asked.known), asked.split(asked.known)
        embedded = [self.values[name](torch.cat([now[name], known[name]], dim=-1)) for name in asked.sizes]
        tokens = (asked.decoded + torch.cat(embedded, dim=1)).to(values.dtype)  # also under autocast
        condition = self.time(time_features(time))[:, None]
        for block in self.blocks:
            tokens = block(tokens, asked.at, condition, tokens, asked.at, asked.visible)
        lengths = [tokens for tokens, _ in asked.sizes.values()]
        parts = zip(asked.sizes, self.norm(tokens, condition).split(lengths, dim=1), strict=True)
        velocity = asked.joined({name: self.heads[name](part) for name, part in parts}).to(values.dtype)
        if self.skip:
            velocity = velocity + of_normal(self.path, time)[:, None] * values
        return velocity * asked.known

    def residual(self, truth: Float[Tensor, "B D"], asked: Asked) -> Float[Tensor, "B D"]:
        """v - dx_t/dt at a random time of each sample, uniform in 0 to 1; its mean square is the loss."""
        time = uniform(asked.seed, OF_TIME).to(truth.dtype)
        values, velocity = on_path(self.path, asked.noise(IN_TRAINING), truth * asked.known, time)
        return self(values, time, asked) - velocity


def time_features(time: Float[Tensor, " B"]) -> Float[Tensor, "B F"]:
    """cos(π k t) and sin(π k t), k = 1 to 8."""
    angles = math.pi * torch.arange(1, TIME_WAVES + 1, device=time.device, dtype=time.dtype) * time[:, None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
