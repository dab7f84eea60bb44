"""Coordinates as a vector of the model's width."""

import pytest
import torch

from statecast.axes import SURFACE_PRESSURE_HPA, Axis, column_names, columns_of, coordinate_features
from statecast.models.embedding import CoordinateEmbedding

AXES = (
    Axis("place", "sphere", "degree", 15.0),
    Axis("time", "time", "h"),
    Axis("pressure_hpa", "level", "hPa"),
    Axis("spacing_deg", "scale", "degree"),
)
USUAL = {
    "latitude_deg": 40.0,
    "longitude_deg": 10.0,
    "offset_h": 0.0,
    "hour_utc": 5.0,
    "solar_time_rad": 1.5,
    "year_fraction": 0.3,
    "pressure_hpa": SURFACE_PRESSURE_HPA,
    "spacing_deg": 1.0,
}


@pytest.fixture
def coords() -> torch.Tensor:
    return torch.tensor([[USUAL[name] for name in column_names(AXES)]], dtype=torch.float64)


def test_the_embedding_has_the_width_of_the_model_and_depends_on_every_axis(coords):
    embedding = CoordinateEmbedding(24, AXES).double()
    embedded = embedding(coords.requires_grad_())
    assert embedded.shape == (1, 24)
    embedded.square().sum().backward()
    assert (coords.grad != 0).all()


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_features_of_an_axis_that_a_token_lacks_are_zero(coords, axis):
    embedding = CoordinateEmbedding(24, AXES).double()
    coords[:, columns_of(AXES, axis.name)] = torch.nan
    features = coordinate_features(coords, AXES)
    lacking = features.isnan()
    assert lacking.any() and not lacking.all()
    zeroed = torch.where(lacking, 0.0, features)
    torch.testing.assert_close(embedding(coords, is_partial=True), embedding.layers(zeroed))
