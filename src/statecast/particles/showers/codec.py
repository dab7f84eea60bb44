"""Codecs of showers: energies of voxels as tokens of four streams, with an exact inverse.

    E_voxel = E_incident · response · share of the layer · share of the voxel in its layer

Axes: * any leading axes, L layer, A alpha, R ring, N token, P value in a token.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from safetensors.numpy import load_file, save_file
from torch import Tensor

from statecast.axes import Axis
from statecast.particles.codec import PlainCodec
from statecast.particles.showers.geometry import Geometry, ShowerError
from statecast.particles.showers.scale import Scale
from statecast.particles.showers.streams import IncidentStream, LayerStream, ResponseStream, VoxelStream
from statecast.streams import Tokens, TokenSpec

BELOW = 0.999  # of the smallest energy that a voxel had in training: what is decoded to less is read as 0
Shares = tuple[Float[np.ndarray, "*B L A R"], Float[np.ndarray, "*B L"], Bool[np.ndarray, "*B L"]]
"""Shares of a stream, the log energy that their scale depends on, and whether a layer has any energy."""


@dataclass(frozen=True)
class Parts:
    """One shower, or several, as factors of the energy of each voxel, in 64 bits; 0 where there is no energy to share.

    log_energy  of the incident particle in MeV
    """

    log_energy: Float[np.ndarray, "*B"]
    response: Float[np.ndarray, "*B"]
    layers: Float[np.ndarray, "*B L"]
    voxels: Float[np.ndarray, "*B L A R"]

    @classmethod
    def of(cls, incident_mev: Float[np.ndarray, "*B"], voxels_mev: Float[np.ndarray, "*B L A R"]) -> "Parts":
        """The factors of showers."""
        voxels, incident = voxels_mev.astype(np.float64), np.asarray(incident_mev, np.float64)
        of_layers = voxels.sum(axis=(-2, -1))
        total = of_layers.sum(axis=-1)
        layers = _share(of_layers, total[..., None])
        return cls(np.log(incident), np.asarray(total / incident), layers, _share(voxels, of_layers[..., None, None]))

    @property
    def log_layers(self) -> Float[np.ndarray, "*B L"]:
        """Log energy of each layer in MeV; -inf without energy."""
        share = self.response[..., None] * _share(self.layers, self.layers.sum(axis=-1, keepdims=True))
        logs = np.log(share, where=share > 0, out=np.full(share.shape, -np.inf))
        return self.log_energy[..., None] + logs

    def energies(self) -> Float[np.ndarray, "*B L A R"]:
        """The energies of the voxels in MeV: the inverse of `of`. Shares need not add up to 1: they are divided by their sum."""
        of_voxels = _share(self.voxels, self.voxels.sum(axis=(-2, -1), keepdims=True))
        return np.exp(self.log_layers)[..., None, None] * of_voxels


def _share(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    return part / np.where(total > 0, total, np.inf)


@dataclass(frozen=True)
class IncidentCodec(PlainCodec):
    """The standardised logarithm of the incident energy. `low_mev`, `high_mev`: the range of training."""

    stream: IncidentStream
    mean: float = 0.0
    std: float = 1.0
    low_mev: float = 1.0
    high_mev: float = 1.0

    @classmethod
    def fit(
        cls, stream: IncidentStream, incident_mev: Float[np.ndarray, " S"], known: "IncidentCodec | None" = None
    ) -> "IncidentCodec":
        """A known codec keeps its scale; its range grows."""
        low, high = float(incident_mev.min()), float(incident_mev.max())
        if known is not None:
            return replace(known, low_mev=min(low, known.low_mev), high_mev=max(high, known.high_mev))
        logs = np.log(incident_mev)
        return cls(stream, float(logs.mean()), max(float(logs.std()), 0.1), low, high)

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(size=1)

    @property
    def channels(self) -> tuple[str, ...]:
        return ("log_energy",)

    def tokens(self, parts: Parts, sample: np.random.Generator | None = None) -> Tokens:
        standardised = (parts.log_energy - self.mean) / self.std
        value = torch.from_numpy(np.asarray(standardised, np.float32)[..., None, None])
        return Tokens(value, value[..., :0], torch.ones_like(value, dtype=torch.bool), self.spec).numbered()

    def save(self, directory: Path, name: str) -> None:
        facts = {key: value for key, value in vars(self).items() if key != "stream"}
        (directory / f"{name}.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, stream: IncidentStream, directory: Path, name: str) -> "IncidentCodec":
        return cls(stream, **json.loads((directory / f"{name}.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Grid:
    """Where tokens lie: the geometry, and what its XML does not say.

    threshold_mev  the smallest energy of a voxel in training
    faint_mev      what 1 % of the voxels with energy do not reach: what is drawn below is read as empty
    """

    geometry: Geometry
    depth_x0: float
    threshold_mev: float = 0.0
    faint_mev: float = 0.0

    def facts(self) -> dict[str, Any]:
        return {**asdict(self), "geometry": self.geometry.as_lists(), "particle": self.geometry.particle}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Grid":
        return cls(
            Geometry.of(facts["particle"], facts["geometry"]),
            facts["depth_x0"],
            facts["threshold_mev"],
            facts["faint_mev"],
        )


@dataclass(frozen=True)
class ShareCodec(PlainCodec):
    """Shares of an energy in patches of layers, alphas and rings, on the scale of `Scale`: of voxels, layers, or the response alone."""

    stream: ResponseStream | LayerStream | VoxelStream
    grid: Grid
    scale: Scale

    @classmethod
    def fit(cls, stream: Any, grid: Grid, parts: Parts) -> "ShareCodec":
        """Statistics of showers. Raises ShowerError for a patch that does not divide the geometry."""
        blank = cls.blank(stream, grid)
        shares, energies, _ = blank.of(parts)
        return replace(blank, scale=Scale.fit(energies, shares))

    @classmethod
    def blank(cls, stream: Any, grid: Grid) -> "ShareCodec":
        """Without statistics."""
        codec = cls(stream, grid, Scale.blank(1, 1))
        for what, size, part in zip(("layers", "alphas", "rings"), codec.shape, codec.patch, strict=True):
            if size % part:
                raise ShowerError(
                    f"patch {list(codec.patch)}: {part} {what} do not divide the {size} of the geometry. "
                    f"Choose a divisor, such as 1 or {size}."
                )
        return replace(codec, scale=Scale.blank(codec.shape[0], codec.shape[2]))

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of layers, alphas and rings of the shares."""
        if isinstance(self.stream, VoxelStream):
            return self.grid.geometry.shape
        return (len(self.grid.geometry.layers), 1, 1) if isinstance(self.stream, LayerStream) else (1, 1, 1)

    @property
    def patch(self) -> tuple[int, int, int]:
        return self.stream.patch if isinstance(self.stream, VoxelStream) else (1, 1, 1)

    @cached_property
    def spec(self) -> TokenSpec:
        layers, alphas, _ = self.patch
        thickness = self.grid.depth_x0 / len(self.grid.geometry.layers)
        depth = Axis("depth", "line", "X0", layers * thickness)
        if isinstance(self.stream, ResponseStream):
            return TokenSpec(size=1)
        if isinstance(self.stream, LayerStream):
            return TokenSpec(size=1, axes=(depth,), order="depth")
        alpha = Axis("alpha", "circle", "rad", 2 * math.pi * alphas / self.shape[1])
        edges = self.grid.geometry.layers[0].r_edges_mm
        radius = Axis("radius", "line", "mm", (edges[-1] - edges[0]) * self.patch[2] / self.shape[2])
        return TokenSpec(size=math.prod(self.patch), axes=(depth, alpha, radius), order="depth")

    @property
    def channels(self) -> tuple[str, ...]:
        """The place of each value in its patch: layer, alpha and ring."""
        if not isinstance(self.stream, VoxelStream):
            return ("share",)
        return tuple(f"{layer}_{alpha}_{ring}" for layer, alpha, ring in np.ndindex(*self.patch))

    def of(self, parts: Parts) -> Shares:
        """What this stream holds of showers."""
        if isinstance(self.stream, ResponseStream):
            energies = parts.log_energy[..., None]
            return parts.response[..., None, None, None], energies, np.ones(energies.shape, bool)
        if isinstance(self.stream, LayerStream):
            energies, has_energy = np.broadcast_arrays(
                parts.log_energy[..., None], parts.response[..., None] > 0, parts.layers
            )[:2]
            return parts.layers[..., None, None], energies, has_energy
        return parts.voxels, parts.log_layers, parts.layers > 0

    def tokens(self, parts: Parts, sample: np.random.Generator | None = None) -> Tokens:
        """`sample` draws where in their gap zeros lie; None: in its middle."""
        shares, energies, has_energy = self.of(parts)
        place = 0.5 if sample is None else sample.random(shares.shape, dtype=np.float32)
        values = self.scale.normalised(shares, np.where(has_energy, energies, 0.0), place)
        known = np.broadcast_to(has_energy[..., None, None], shares.shape)
        known_values = torch.from_numpy(self.patches(np.where(known, values, 0.0).astype(np.float32)))
        observed = torch.from_numpy(self.patches(known))
        coords = self.coords.expand(*observed.shape[:-1], -1)
        return Tokens(known_values, coords, observed, self.spec).numbered()

    def asked(self, samples: int) -> Tokens:
        """Tokens without values, of so many showers, to be asked."""
        shape = (samples, len(self.coords), self.spec.size)
        blank = torch.zeros(shape)
        index = torch.arange(shape[1]).expand(samples, -1)
        return Tokens(blank, self.coords.expand(samples, -1, -1), blank == 0, self.spec, index=index)

    def shares(
        self, values: Float[np.ndarray, "*B N P"], log_energy: Float[np.ndarray, "*B L"]
    ) -> Float[np.ndarray, "*B L A R"]:
        """The shares of tokens with these values: the inverse of `tokens`, up to rounding."""
        return self.scale.shares(self.whole(values.astype(np.float64)), log_energy)

    def patches(self, grid: Shaped[np.ndarray, "*B L A R"]) -> Shaped[np.ndarray, "*B N P"]:
        """Tokens in the order layer, alpha, ring."""
        lead, (layers, alphas, rings), (p, q, r) = grid.shape[:-3], self.shape, self.patch
        split = grid.reshape(*lead, layers // p, p, alphas // q, q, rings // r, r)
        first = len(lead)
        order = (*range(first), first, first + 2, first + 4, first + 1, first + 3, first + 5)
        return np.array(split.transpose(order)).reshape(*lead, -1, p * q * r)

    def whole(self, tokens: Float[np.ndarray, "*B N P"]) -> Float[np.ndarray, "*B L A R"]:
        """The inverse of `patches`."""
        lead, (layers, alphas, rings), (p, q, r) = tokens.shape[:-2], self.shape, self.patch
        split = tokens.reshape(*lead, layers // p, alphas // q, rings // r, p, q, r)
        first = len(lead)
        order = (*range(first), first, first + 3, first + 1, first + 4, first + 2, first + 5)
        return split.transpose(order).reshape(*lead, layers, alphas, rings)

    @cached_property
    def coords(self) -> Float[Tensor, "N C"]:
        """The middle of each token: depth in radiation lengths, alpha, radius in mm."""
        if isinstance(self.stream, ResponseStream):
            return torch.zeros(1, 0)
        geometry = self.grid.geometry
        layers, alphas, rings = self.shape
        depth = (np.arange(layers) + 0.5) * self.grid.depth_x0 / layers
        alpha = -math.pi + (np.arange(alphas) + 0.5) * 2 * math.pi / alphas
        edges = [np.array(layer.r_edges_mm) for layer in geometry.layers]
        radius = np.stack([(edge[1:] + edge[:-1]) / 2 for edge in edges])[:, :rings]
        grid = np.broadcast_arrays(depth[:, None, None], alpha[:, None], radius[:layers, None, :])
        middles = [self.patches(axis).mean(axis=-1) for axis in grid]
        return torch.from_numpy(np.stack(middles[: len(self.spec.axes)], axis=-1)).float()

    def save(self, directory: Path, name: str) -> None:
        (directory / f"{name}.json").write_text(json.dumps(self.grid.facts()), encoding="utf-8")
        save_file(dict(vars(self.scale)), directory / f"{name}.safetensors")

    @classmethod
    def load(cls, stream: Any, directory: Path, name: str) -> "ShareCodec":
        facts = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        return cls(stream, Grid.of(facts), Scale(**load_file(directory / f"{name}.safetensors")))


def energies_of(
    values: Mapping[str, Float[np.ndarray, "B N P"]],
    incident_mev: Float[np.ndarray, " B"],
    codecs: Sequence[tuple[str, ShareCodec]],
    *,
    is_drawn: bool,
) -> Float[np.ndarray, "B L A R"]:
    """Voxels in MeV from the values of the streams response, layers and voxels, whose names and codecs are given in this order.

    is_drawn  a flow blurs the edge between empty and faint voxels: those below `Grid.faint_mev` are read as empty
    """
    log_energy = np.log(incident_mev)
    (_, response), (_, layers), (_, voxels) = codecs
    of_response, of_layers, of_voxels = (values[name] for name, _ in codecs)
    energies = np.broadcast_to(log_energy[:, None], (len(log_energy), layers.shape[0]))
    parts = Parts(
        log_energy,
        response.shares(of_response, log_energy[:, None])[:, 0, 0, 0],
        layers.shares(of_layers, energies)[:, :, 0, 0],
        np.zeros((len(log_energy), *voxels.shape)),
    )
    known = parts.log_layers
    shares = voxels.shares(of_voxels, np.where(np.isneginf(known), 0.0, known))
    smallest = voxels.grid.faint_mev if is_drawn else voxels.grid.threshold_mev * BELOW
    is_kept = replace(parts, voxels=shares).energies() >= smallest
    return replace(parts, voxels=np.where(is_kept, shares, 0.0)).energies()
