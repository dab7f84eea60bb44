"""A plain U-Net for latitude-longitude grids, a trained peer that ours is held against: forecasts, finer grids, gaps.

A library of peers.py, finer.py and lattices.py, not a script.

Axes: B sample, T time, L lead time, K known step, V channel, C channels of a network's input or output, H row, W column.

Every question is the same to it: `inputs` (B C H W) in, a departure from `base` out. `ForecastQuestion`, `DownscaleQuestion` and
`FillQuestion` make the batches; all of them read `Anomalies`, the values that statecast's own tokens hold, so that it learns from exactly
the same data.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import cos, pi
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from statecast.fields.sources import Climatology, Grid, Record
from statecast.fields.tokenizers.first_guess import bilinear
from statecast.trained import TrainedModel
from statecast.training.muon import Muon

WIDTHS = (32, 64, 128)
WEIGHT_DECAY, GRADIENT_CLIP, WARM_UP = 1e-2, 1.0, 0.05
GROUPS = 8  # of GroupNorm


def pad(x: Float[Tensor, "B C H W"], periodic: bool) -> Float[Tensor, "B C H+2 W+2"]:
    """One point on each side: round the globe in longitude if the grid goes round it, the nearest one elsewhere."""
    x = F.pad(x, (1, 1, 0, 0), mode="circular" if periodic else "replicate")
    return F.pad(x, (0, 0, 1, 1), mode="replicate")


def upsample(x: Float[Tensor, "B C h w"], shape: tuple[int, int], periodic: bool) -> Float[Tensor, "B C H W"]:
    """Bilinear, to twice the rows and columns, of which `shape` are kept."""
    doubled = F.interpolate(pad(x, periodic), scale_factor=2, mode="bilinear", align_corners=False)
    return doubled[..., 2 : 2 + shape[0], 2 : 2 + shape[1]]


class Convolution(nn.Module):
    """3 × 3, normalised, SiLU."""

    def __init__(self, inputs: int, outputs: int, periodic: bool) -> None:
        super().__init__()
        self.periodic = periodic
        self.convolution = nn.Conv2d(inputs, outputs, 3)
        self.norm = nn.GroupNorm(GROUPS, outputs)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        return F.silu(self.norm(self.convolution(pad(x, self.periodic))))


class Block(nn.Module):
    """Two convolutions beside a linear map of the channels."""

    def __init__(self, inputs: int, outputs: int, periodic: bool) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            Convolution(inputs, outputs, periodic), Convolution(outputs, outputs, periodic)
        )
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        return self.skip(x) + self.convolutions(x)


class UNet(nn.Module):
    """A block on the way down and one on the way up at each level; a level has half the rows and columns of the one before it.

    widths    channels of each level, the finest first
    periodic  the grid goes round the globe

    The last map starts at zero: an untrained network answers 0 everywhere.
    """

    def __init__(self, inputs: int, outputs: int, widths: tuple[int, ...] = WIDTHS, *, periodic: bool) -> None:
        super().__init__()
        self.periodic = periodic
        self.down = nn.ModuleList(Block(a, b, periodic) for a, b in zip((inputs, *widths), widths, strict=False))
        finer = list(pairwise(widths))
        self.up = nn.ModuleList(Block(fine + coarse, fine, periodic) for fine, coarse in reversed(finer))
        self.out = zeroed(nn.Conv2d(widths[0], outputs, 1))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        levels = [self.down[0](x)]
        for block in self.down[1:]:
            levels.append(block(F.avg_pool2d(levels[-1], 2, ceil_mode=True, count_include_pad=False)))
        x = levels.pop()
        for block, skipped in zip(self.up, reversed(levels), strict=True):
            x = block(torch.cat([skipped, upsample(x, skipped.shape[-2:], self.periodic)], dim=1))
        return self.out(x)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


@dataclass(frozen=True)
class Batch:
    """What a network sees, what it departs from, what is true, and what each value of that weighs (0: was not observed)."""

    inputs: Float[Tensor, "B C H W"]
    base: Float[Tensor, "B D H W"]
    target: Float[Tensor, "B D H W"]
    weight: Float[Tensor, "B D H W"]


class Departure(nn.Module):
    """base + scale · network(inputs): what the network says is of the size of one."""

    def __init__(self, network: nn.Module, scale: Float[Tensor, " D"]) -> None:
        super().__init__()
        self.network = network
        self.scale: Tensor
        self.register_buffer("scale", scale[:, None, None])

    def forward(self, inputs: Float[Tensor, "B C H W"], base: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        return base + self.scale * self.network(inputs)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error in units of `scale`, by weight."""
        error = (self(batch.inputs, batch.base) - batch.target) / self.scale
        return (error.square() * batch.weight).sum() / batch.weight.sum()


@dataclass(frozen=True)
class Training:
    """What a training took, in seconds of this process' CPU time and of the wall, and in operations a sample."""

    steps: int
    samples: int
    cpu_s: float
    wall_s: float
    parameters: int
    flops: int


def train(
    model: Departure,
    batches: Iterator[Batch],
    seconds: float,
    *,
    learning_rate: float,
    orthogonal_rate: float,
) -> Training:
    """Train in place for a given CPU time: a short warm-up and half a cosine by the share of the time that has passed.

    The kernels of all convolutions but the last take orthogonal steps at a rate of their own (0: AdamW's like all others). CPU time on one
    thread is what the wall clock would show on a machine of its own.
    """
    optimiser = make_optimiser(model, learning_rate, orthogonal_rate)
    rates = [group["lr"] for group in optimiser.param_groups]
    flops = count_flops(model, next(batches))
    began, began_wall, steps, samples = time.process_time(), time.monotonic(), 0, 0
    model.train()
    while (share := (time.process_time() - began) / seconds) < 1:
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * min((share + 1e-3) / WARM_UP, 0.5 * (1 + cos(pi * share)))
        batch = next(batches)
        optimiser.zero_grad()
        model.loss(batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
        optimiser.step()
        steps, samples = steps + 1, samples + len(batch.inputs)
    model.eval()
    taken, wall = time.process_time() - began, time.monotonic() - began_wall
    return Training(steps, samples, taken, wall, sum(p.numel() for p in model.parameters()), flops)


def make_optimiser(model: Departure, learning_rate: float, orthogonal_rate: float) -> Muon:
    kernels = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    hidden = {id(p) for p in kernels[:-1]} if orthogonal_rate else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {(False, False): [], (True, False): [], (True, True): []}
    for parameter in model.parameters():
        groups[parameter.ndim > 1, id(parameter) in hidden].append(parameter)
    return Muon(
        [
            {
                "params": parameters,
                "weight_decay": WEIGHT_DECAY * decays,
                "lr": orthogonal_rate if orthogonal else learning_rate,
                "orthogonal": orthogonal,
            }
            for (decays, orthogonal), parameters in groups.items()
        ],
        lr=learning_rate,
    )


def count_flops(model: Departure, batch: Batch) -> int:
    """Operations of a sample's forward and backward pass, as torch counts matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        model.loss(batch).backward()
    return counter.get_total_flops() // len(batch.inputs)


@dataclass(frozen=True)
class Anomalies:
    """A record as departures from its climatology in units of their standard deviation, as `FieldTokenizer` writes them into tokens.

    NaN where nothing was observed.
    """

    values: Float[np.ndarray, "T V H W"]
    hour_utc: Float[np.ndarray, " T"]
    year_fraction: Float[np.ndarray, " T"]
    grid: Grid
    step_h: float

    @classmethod
    def read(cls, record: Record, climatology: Climatology) -> "Anomalies":
        mean = climatology.at(record.months_passed, record.hour_utc)
        values = (record.read(slice(None)) - mean) / climatology.anomaly_std[:, None, None]
        return cls(values.astype(np.float32), record.hour_utc, record.year_fraction, record.grid, record.step_h)

    @cached_property
    def place(self) -> Float[np.ndarray, "4 H W"]:
        """Sines and cosines of latitude and longitude."""
        lat, lon = np.meshgrid(np.deg2rad(self.grid.lat), np.deg2rad(self.grid.lon), indexing="ij")
        return np.stack([np.sin(lat), np.cos(lat), np.sin(lon), np.cos(lon)]).astype(np.float32)

    @cached_property
    def area(self) -> Float[np.ndarray, "H W"]:
        """Area of each cell over its mean."""
        return (self.grid.cell_area / self.grid.cell_area.mean()).astype(np.float32)

    def alpha(self, times: np.ndarray) -> Float[np.ndarray, "B 8 H W"]:
        """Where and when: place, hour of the day and season."""
        angle = 2 * np.pi * np.stack([self.hour_utc[times] / 24, self.year_fraction[times]], axis=1)
        clock = np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
        clock = np.broadcast_to(clock[..., None, None], (*clock.shape, *self.grid.shape))
        return np.concatenate([np.broadcast_to(self.place, (len(times), *self.place.shape)), clock], axis=1)

    def shown(self, times: np.ndarray) -> Float[np.ndarray, "B V H W"]:
        """Values at these times, 0 where there is none."""
        return np.nan_to_num(self.values[times])


class Question(Protocol):
    """What a peer is asked: batches of it, the sizes of input and output, and how large a departure is."""

    inputs: int
    scale: Float[np.ndarray, " D"]

    def batch(self, anomalies: Anomalies, times: np.ndarray, generator: np.random.Generator) -> Batch: ...


def batches(question: Question, anomalies: Anomalies, times: np.ndarray, size: int, seed: int) -> Iterator[Batch]:
    """Batches without end, each of times drawn at random."""
    generator = np.random.default_rng(seed)
    while True:
        yield question.batch(anomalies, generator.choice(times, size), generator)


@dataclass(frozen=True)
class Peer:
    """A network with the settings that docs/experiments.md found best for its forecasts.

    make  (inputs, outputs, grid) -> network
    """

    name: str
    make: Callable[[int, int, Grid], nn.Module]
    learning_rate: float
    orthogonal_rate: float
    batch_size: int


def make_unet(inputs: int, outputs: int, grid: Grid) -> UNet:
    return UNet(inputs, outputs, periodic=grid.is_periodic)


UNET = Peer("U-Net", make_unet, 4e-3, 0.01, 2)


def trained_peer(
    peer: Peer, question: Question, anomalies: Anomalies, times: np.ndarray, seed: int, seconds: float
) -> tuple[Departure, Training]:
    """A peer that was trained on a question at these times, for a given CPU time."""
    torch.manual_seed(seed)
    network = peer.make(question.inputs, len(question.scale), anomalies.grid)
    model = Departure(network, torch.from_numpy(np.asarray(question.scale, np.float32)))
    drawn = batches(question, anomalies, times, peer.batch_size, seed)
    rates = {"learning_rate": peer.learning_rate, "orthogonal_rate": peer.orthogonal_rate}
    return model, train(model, drawn, seconds, **rates)


def make_batch(
    inputs: list[np.ndarray], base: Float[np.ndarray, "B D H W"], target: Float[np.ndarray, "B D H W"], area: np.ndarray
) -> Batch:
    weight = np.isfinite(target) * area
    arrays = (np.concatenate(inputs, axis=1), base, np.nan_to_num(target), weight)
    return Batch(*(torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in arrays))


def fold(fields: Float[np.ndarray, "B L V H W"]) -> Float[np.ndarray, "B D H W"]:
    return fields.reshape(len(fields), -1, *fields.shape[-2:])


@dataclass(frozen=True)
class ForecastQuestion:
    """The last `history` steps -> the states `leads` steps later, as departures from the best linear estimate at the same point.

    weights  of each known step, the last first, for each channel and lead time: the regression of the later state on them
    scale    root mean square of what is left
    """

    leads: tuple[int, ...]
    history: int
    weights: Float[np.ndarray, "L V K"]
    scale: Float[np.ndarray, " D"]

    @classmethod
    def fit(cls, anomalies: Anomalies, leads: tuple[int, ...], history: int) -> "ForecastQuestion":
        """Weights and scale of the training period."""
        found = [cls._regress(anomalies, lead, history) for lead in leads]
        weights, scale = (np.stack(part) for part in zip(*found, strict=True))
        return cls(leads, history, weights, scale.reshape(-1))

    @staticmethod
    def _regress(anomalies: Anomalies, lead: int, history: int) -> tuple[np.ndarray, np.ndarray]:
        last = np.arange(history - 1, len(anomalies.values) - lead)
        past = [anomalies.values[last - back] for back in range(history)]
        later = anomalies.values[last + lead]
        known = np.isfinite(later) & np.logical_and.reduce([np.isfinite(x) for x in past])
        mean = lambda x: np.where(known, x * anomalies.area, 0).sum((0, 2, 3)) / (known * anomalies.area).sum((0, 2, 3))  # noqa: E731
        moments = np.array([[mean(x * y) for x in past] for y in past])
        products = np.array([mean(x * later) for x in past])
        weights = np.linalg.solve(np.moveaxis(moments, -1, 0), products.T[..., None])[..., 0]
        error = later - sum(w[:, None, None] * x for w, x in zip(weights.T, past, strict=True))
        return weights, np.sqrt(mean(error**2))

    @property
    def inputs(self) -> int:
        return self.history * self.weights.shape[1] + 8

    def starts(self, anomalies: Anomalies) -> np.ndarray:
        """The last known steps that have their history before and all lead times after them."""
        return np.arange(self.history - 1, len(anomalies.values) - max(self.leads))

    def batch(self, anomalies: Anomalies, times: np.ndarray, generator: np.random.Generator | None = None) -> Batch:
        """`times` are the last known steps."""
        past = [anomalies.shown(times - back) for back in range(self.history)]
        base = np.einsum("kbvhw,lvk->blvhw", past, self.weights)
        target = np.stack([anomalies.values[times + lead] for lead in self.leads], axis=1)
        return make_batch([*past, anomalies.alpha(times)], fold(base), fold(target), anomalies.area)


@dataclass(frozen=True)
class DownscaleQuestion:
    """Fields on a coarse grid -> fields on a finer one at the same times, as departures from the interpolated ones.

    coarse  anomalies at the times of the fine ones; its channels may be others
    source  for each fine channel the coarse one that it departs from; -1: from climatology
    ratio   of each fine channel: spread of the coarse anomalies over that of its own
    static  fields on the fine grid that never change, of the size of one
    """

    coarse: Anomalies
    source: tuple[int, ...]
    ratio: Float[np.ndarray, " D"]
    static: Float[np.ndarray, "S H W"]
    scale: Float[np.ndarray, " D"]

    @classmethod
    def fit(
        cls, coarse: Anomalies, fine: Anomalies, source: tuple[int, ...], ratio: np.ndarray, static: np.ndarray
    ) -> "DownscaleQuestion":
        """The scale of the training period."""
        question = cls(coarse, source, ratio, static, np.ones(len(source)))
        error = (fine.values - question.base(fine, np.arange(len(fine.values)))) ** 2
        weight = np.isfinite(error) * fine.area
        return cls(
            coarse,
            source,
            ratio,
            static,
            np.sqrt((np.nan_to_num(error) * weight).sum((0, 2, 3)) / weight.sum((0, 2, 3))),
        )

    @property
    def inputs(self) -> int:
        return self.coarse.values.shape[1] + len(self.static) + 8

    def interpolated(self, fine: Anomalies, times: np.ndarray) -> Float[np.ndarray, "B V H W"]:
        return bilinear(self.coarse.shown(times), self.coarse.grid, fine.grid)

    def base(self, fine: Anomalies, times: np.ndarray) -> Float[np.ndarray, "B D H W"]:
        found = self.interpolated(fine, times)
        channels = [found[:, s] if s >= 0 else np.zeros_like(found[:, 0]) for s in self.source]
        return np.stack(channels, axis=1) * self.ratio[:, None, None]

    def batch(self, anomalies: Anomalies, times: np.ndarray, generator: np.random.Generator | None = None) -> Batch:
        """`anomalies` are the fine ones."""
        static = np.broadcast_to(self.static, (len(times), *self.static.shape))
        inputs = [self.interpolated(anomalies, times), static, anomalies.alpha(times)]
        return make_batch(inputs, self.base(anomalies, times), anomalies.values[times], anomalies.area)


@dataclass(frozen=True)
class FillQuestion:
    """Masked states of a window of `steps` steps and where they are known -> all of them.

    hide  (generator) -> which of T H W are hidden

    It departs from climatology.
    """

    steps: int
    channels: int
    hide: Callable[[np.random.Generator], np.ndarray]

    @property
    def inputs(self) -> int:
        return (self.channels + 1) * self.steps + 8

    @property
    def scale(self) -> Float[np.ndarray, " D"]:
        return np.ones(self.steps * self.channels)

    def starts(self, anomalies: Anomalies) -> np.ndarray:
        return np.arange(len(anomalies.values) - self.steps + 1)

    def batch(self, anomalies: Anomalies, times: np.ndarray, generator: np.random.Generator) -> Batch:
        """`times` are the first steps of windows."""
        return self.masked(anomalies, times, np.stack([self.hide(generator) for _ in times]))

    def masked(self, anomalies: Anomalies, times: np.ndarray, hidden: np.ndarray) -> Batch:
        """The batch of these windows; `hidden` has the axes B T H W. Only what is hidden is scored."""
        window = anomalies.values[times[:, None] + np.arange(self.steps)]
        known = ~hidden[:, :, None] & np.isfinite(window)
        shown = np.where(known, window, np.float32(0))
        target = fold(np.where(hidden[:, :, None], window, np.nan))
        inputs = [fold(shown), ~hidden, anomalies.alpha(times)]
        return make_batch(inputs, np.zeros_like(target), target, anomalies.area)


def downscale_question(
    trained: TrainedModel, asked: str, records: Mapping[str, Record]
) -> tuple[DownscaleQuestion, Anomalies]:
    """What the U-Net is asked, and the fine anomalies of the period."""
    tokenizers = trained.codecs
    coarse, fine = (Anomalies.read(records[n], tokenizers[n].climatology) for n in ("atmosphere", asked))
    climatology, there = tokenizers[asked].climatology, tokenizers["atmosphere"].climatology
    source = tuple(there.channels.index(channel) for channel in climatology.channels)
    ratio = there.anomaly_std[list(source)] / climatology.anomaly_std
    relief = Anomalies.read(records["relief"], tokenizers["relief"].climatology).values[0]
    return DownscaleQuestion.fit(coarse, fine, source, ratio, relief), fine


def downscaled(
    model: Departure,
    question: DownscaleQuestion,
    trained: TrainedModel,
    asked: str,
    records: Mapping[str, Record],
    times: np.ndarray,
) -> Float[np.ndarray, "S V H W"]:
    """Fields of the U-Net, in the units of the channels."""
    held_out, fine = downscale_question(trained, asked, records)
    held_out = DownscaleQuestion(held_out.coarse, question.source, question.ratio, question.static, question.scale)
    batch = held_out.batch(fine, times)
    with torch.inference_mode():
        answer = torch.cat([model(x, b) for x, b in zip(batch.inputs.split(16), batch.base.split(16), strict=True)])
    record, climatology = records[asked], trained.codecs[asked].climatology
    mean = climatology.at(record.months_passed[times], record.hour_utc[times])
    fields = answer.numpy() * climatology.anomaly_std[:, None, None] + mean
    return np.where(climatology.lowest[:, None, None] >= 0, np.maximum(fields, 0), fields)
