"""Samples of showers: one split of a record with the codecs of its streams. Axes: L layer, A alpha, R ring."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from statecast.domain import Split
from statecast.numbered import NumberedCases, require_apart
from statecast.particles.showers.codec import Grid, IncidentCodec, Parts, ShareCodec
from statecast.particles.showers.recipe import ShowerRecipe
from statecast.particles.showers.record import ShowerRecord, read_record
from statecast.particles.showers.streams import IncidentStream
from statecast.streams import Window

Codecs = Mapping[str, Any]


@dataclass(frozen=True)
class ShowerSource:
    """One split, from which showers are drawn; `is_turned`: drawn ones at a random angle, those of `cases` as they are."""

    record: ShowerRecord
    codecs: Codecs
    is_turned: bool = False

    def draw(self, sample: np.random.Generator) -> Window:
        """The tokens of a shower, each with the same probability."""
        number = int(sample.integers(len(self.record)))
        voxels = self._voxels(number)
        if self.is_turned:
            voxels = turned(voxels, int(sample.integers(voxels.shape[1])), is_reflected=sample.uniform() < 0.5)
        return self._tokens(number, voxels, sample)

    def describe(self, sample: np.random.Generator) -> str:
        return f"shower {self.record.places[int(sample.integers(len(self.record)))]}"

    def cases(self) -> NumberedCases:
        return NumberedCases(self)

    def window(self, number: int) -> Window:
        """The tokens of one shower, by stream."""
        return self._tokens(number, self._voxels(number), None)

    def _voxels(self, number: int) -> Float[np.ndarray, "L A R"]:
        return np.asarray(self.record.showers.voxels_mev[number]).reshape(self.record.geometry.shape)

    def _tokens(self, number: int, voxels: Float[np.ndarray, "L A R"], sample: np.random.Generator | None) -> Window:
        parts = Parts.of(self.record.showers.incident_mev[number], voxels)
        return {name: codec.tokens(parts, sample) for name, codec in self.codecs.items()}


def turned(voxels: Float[np.ndarray, "*B L A R"], bins: int, *, is_reflected: bool) -> Float[np.ndarray, "*B L A R"]:
    """The shower turned by so many bins of alpha, and reflected."""
    voxels = np.roll(voxels, bins, axis=-2)
    return voxels[..., ::-1, :] if is_reflected else voxels


def open_source(recipe: ShowerRecipe, split: Split, known: Codecs) -> ShowerSource | None:
    """One split of a recipe; None where it has no validation. A stream in `known` keeps its codec, unless the geometry is another.

    Statistics come from the training split. Raises RecipeError or ShowerError in one line.
    """
    data = recipe.data
    chosen = data.train if split == "train" else data.validate_on
    if chosen is None:
        return None
    require_apart(data)
    files = data.files if split == "train" else data.held_out_files
    record = read_record(files, (0, None) if chosen == "all" else chosen, data)
    codecs = known if split == "validate" else fitted_codecs(recipe, record, known)
    return ShowerSource(record, {name: codecs[name] for name in recipe.streams}, split == "train" and data.turn)


def fitted_codecs(recipe: ShowerRecipe, record: ShowerRecord, known: Codecs) -> dict[str, Any]:
    """The codec of each stream, with the statistics of the record; those in `known` of the same grid as they are."""
    grid = record.grid(recipe.data.depth_x0)
    few = record.spread()
    voxels = few.voxels_mev.reshape(len(few), *record.geometry.shape)
    parts = Parts.of(few.incident_mev, voxels)
    codecs: dict[str, Any] = {}
    for name, stream in recipe.streams.items():
        before = known.get(name)
        if isinstance(stream, IncidentStream):
            before = before if isinstance(before, IncidentCodec) else None
            codecs[name] = IncidentCodec.fit(stream, record.showers.incident_mev, before)
        elif isinstance(before, ShareCodec) and before.stream == stream and _is_same(before.grid, grid):
            codecs[name] = before
        else:
            codecs[name] = ShareCodec.fit(stream, grid, parts)
    return codecs


def _is_same(one: Grid, other: Grid) -> bool:
    return (one.geometry, one.depth_x0) == (other.geometry, other.depth_x0)
