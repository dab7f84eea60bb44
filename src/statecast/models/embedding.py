"""Embedding of α: a perceptron on features of the coordinates. Axes: * any leading axes, C coordinate, F feature, W width."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from statecast.axes import Axis, coordinate_features, feature_size


class CoordinateEmbedding(nn.Module):
    """α as a vector of the model's width: a two-layer perceptron on `axes.coordinate_features`.

    The features of an axis are 0 for tokens that lack this axis.
    """

    def __init__(self, width: int, axes: Sequence[Axis]) -> None:
        super().__init__()
        self.axes = tuple(axes)
        self.layers = nn.Sequential(nn.Linear(feature_size(axes), width), nn.GELU(), nn.Linear(width, width))

    def forward(self, coords: Float[Tensor, "*B C"], *, is_partial: bool = False) -> Float[Tensor, "*B W"]:
        """`is_partial`: some coordinates may be NaN."""
        features = coordinate_features(coords, self.axes)
        return self.layers(features.nan_to_num() if is_partial else features)
