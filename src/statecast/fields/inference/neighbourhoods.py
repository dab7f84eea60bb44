"""Where a model is asked: of windows like those that it was trained on, the whole domain or neighbourhoods."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from statecast.fields.inference.tiles import tiles
from statecast.fields.sources import Grid
from statecast.fields.tokenizers import Place, WindowSampler
from statecast.fields.tokenizers.windows import places_around, smallest_domain, whole_domain, window_shapes
from statecast.trained import TrainedModel

SEED = 0  # of the places where neighbourhoods are verified: the same in every run


@dataclass(frozen=True)
class Neighbourhoods:
    """The grid of each stream of a model, and the rows and columns of its window in training."""

    grids: Mapping[str, Grid]
    shapes: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, trained: TrainedModel) -> "Neighbourhoods":
        grids = {name: tokenizer.climatology.grid for name, tokenizer in trained.tokenizers.items()}
        patches = {name: tokenizer.stream.patch for name, tokenizer in trained.tokenizers.items()}
        extent = trained.recipe["window"]["extent"]
        return cls(grids, window_shapes(extent and tuple(extent), grids, patches))

    @property
    def is_whole(self) -> bool:
        """True if the window of every stream is its whole domain."""
        return all(self.shapes[name] == grid.shape for name, grid in self.grids.items())

    @property
    def _drawn_on(self) -> str:
        return smallest_domain(self.grids)

    def drawn(self, start: int, steps: int) -> dict[str, Place]:
        """The whole domain of each stream, or a neighbourhood drawn as in training, see `WindowSampler`: a function of `start` alone."""
        if self.is_whole:
            return self._whole(start, steps)
        of, shape = self.grids[self._drawn_on], self.shapes[self._drawn_on]
        place = WindowSampler(of, np.array([start]), steps, shape).draw(np.random.default_rng([SEED, start]))
        return places_around(place, of, self.grids, self.shapes)

    def tiled(self, start: int, steps: int) -> list[dict[str, Place]]:
        """Neighbourhoods that cover the domain on which training drew them, see `tiles`, or the whole domain of each stream as one."""
        if self.is_whole:
            return [self._whole(start, steps)]
        of, shape = self.grids[self._drawn_on], self.shapes[self._drawn_on]
        return [places_around(tile.place(start, steps), of, self.grids, self.shapes) for tile in tiles(of, shape)]

    def _whole(self, start: int, steps: int) -> dict[str, Place]:
        return {name: whole_domain(grid, start, steps) for name, grid in self.grids.items()}
