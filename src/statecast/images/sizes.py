"""The window of a training sample of images, for costs. The pictures say their size."""

import numpy as np

from statecast.domain import Sizes
from statecast.images.recipe import ImageRecipe
from statecast.images.source import open_source


def sizes(recipe: ImageRecipe) -> Sizes:
    source = open_source(recipe, "train", {})
    assert source is not None
    window = source.draw(np.random.default_rng(0))
    return Sizes({name: codec.spec for name, codec in source.codecs.items()}, window)
