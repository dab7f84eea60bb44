"""The window of a training sample of showers, without values: for costs. The geometry alone says it."""

import numpy as np

from statecast.domain import Sizes
from statecast.particles.showers.codec import Grid, IncidentCodec, Parts, ShareCodec
from statecast.particles.showers.geometry import read_geometry
from statecast.particles.showers.recipe import ShowerRecipe
from statecast.particles.showers.streams import IncidentStream


def sizes(recipe: ShowerRecipe) -> Sizes:
    geometry = read_geometry(recipe.data.geometry, recipe.data.particle)
    grid = Grid(geometry, recipe.data.depth_x0)
    parts = Parts.of(np.array(1.0), np.ones(geometry.shape))
    codecs = {
        name: IncidentCodec(stream) if isinstance(stream, IncidentStream) else ShareCodec.blank(stream, grid)
        for name, stream in recipe.streams.items()
    }
    window = {name: codec.tokens(parts) for name, codec in codecs.items()}
    return Sizes({name: codec.spec for name, codec in codecs.items()}, window)
