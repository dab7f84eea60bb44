"""Where a model is asked: in windows like those that it was trained on, the whole domain or neighbourhoods."""

from statecast.fields.inference.tiles import tiles
from statecast.fields.tokenizers import Place, Windows
from statecast.trained import TrainedModel


def slab_depth(trained: TrainedModel) -> int:
    """Time steps of a slab: those of the longest token."""
    return max(codec.stream.patch[0] for codec in trained.codecs.values())


def model_windows(trained: TrainedModel) -> Windows:
    """The windows that a model was trained on."""
    grids = {name: codec.climatology.grid for name, codec in trained.codecs.items()}
    patches = {name: codec.stream.patch for name, codec in trained.codecs.items()}
    return Windows.of(trained.recipe.window.extent, grids, patches)


def drawn_places(windows: Windows, start: int, steps: int) -> dict[str, Place]:
    """The whole domain of each stream, or a neighbourhood drawn as in training: a function of `start` alone."""
    return windows.drawn(start, steps)


def tiled_places(windows: Windows, start: int, steps: int) -> list[dict[str, Place]]:
    """Neighbourhoods that cover the domain on which they were drawn in training, see `tiles`, or one window with the whole domains."""
    if windows.is_whole:
        return [windows.whole(start, steps)]
    grid, shape = windows.grids[windows.drawn_on], windows.shapes[windows.drawn_on]
    return [windows.around(tile.place(start, steps)) for tile in tiles(grid, shape)]
