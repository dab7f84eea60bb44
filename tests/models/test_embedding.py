"""Coordinates as features."""

import pytest
import torch

from statecast.models.embedding import (
    CoordinateEmbedding,
    coordinate_features,
    duration_features,
    level_features,
    scale_features,
    sphere_features,
    time_features,
    unit_vectors,
)
from statecast.streams import COORDINATES, SURFACE_PRESSURE_HPA


def at(**axes: float) -> torch.Tensor:
    """Coordinates of one token, in float64."""
    usual = dict.fromkeys(COORDINATES, 0.0) | {"pressure_hpa": SURFACE_PRESSURE_HPA, "spacing_deg": 1.0}
    return torch.tensor([[(usual | axes)[name] for name in COORDINATES]], dtype=torch.float64)


def test_unit_vectors_point_to_greenwich_to_90_east_and_to_the_pole():
    coords = torch.cat([at(), at(longitude_deg=90.0), at(latitude_deg=90.0)])
    torch.testing.assert_close(unit_vectors(coords), torch.eye(3, dtype=torch.float64))


def test_the_date_line_and_the_poles_are_not_special():
    for one, other in (
        (at(longitude_deg=-180.0, latitude_deg=20.0), at(longitude_deg=180.0, latitude_deg=20.0)),
        (at(longitude_deg=0.0), at(longitude_deg=360.0)),
        (at(latitude_deg=90.0, longitude_deg=10.0), at(latitude_deg=90.0, longitude_deg=250.0)),
    ):
        torch.testing.assert_close(sphere_features(one), sphere_features(other))


def test_places_a_few_degrees_apart_differ():
    distance = (sphere_features(at()) - sphere_features(at(longitude_deg=3.0))).norm()
    assert distance > 0.5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"hour_utc": 0.0}, {"hour_utc": 24.0}),
        ({"year_fraction": 0.0}, {"year_fraction": 1.0}),
        ({"longitude_deg": -90.0}, {"longitude_deg": 270.0}),
    ],
)
def test_day_and_year_have_no_seam(one, other):
    torch.testing.assert_close(time_features(at(**one)), time_features(at(**other)))


def test_the_sun_stands_alike_at_noon_everywhere():
    greenwich, date_line = time_features(at(hour_utc=12.0)), time_features(at(hour_utc=0.0, longitude_deg=180.0))
    sun = [2, 3, 8, 9]  # two harmonics of local solar time, sine and cosine
    torch.testing.assert_close(greenwich[:, sun], date_line[:, sun])
    assert not torch.allclose(greenwich, date_line)


def test_a_span_of_time_has_a_sign_and_stays_bounded_near_the_present():
    hours = torch.tensor([-24.0, 0.0, 24.0])
    before, now, after = duration_features(hours)
    assert torch.equal(now[:3], torch.zeros(3)) and torch.equal(now[3:6], torch.ones(3))
    torch.testing.assert_close(before[:3], -after[:3])
    torch.testing.assert_close(before[3:6], after[3:6])


def test_height_is_zero_at_the_surface_and_grows_upwards():
    heights = torch.cat([level_features(at(pressure_hpa=p)) for p in (SURFACE_PRESSURE_HPA, 500.0, 100.0)])[:, 0]
    assert heights[0] == 0 and (heights.diff() > 0).all()
    assert float(heights[2]) == pytest.approx(2.3158, abs=1e-4)  # ln 10.1325


def test_grid_spacing_counts_in_octaves_around_one_degree():
    assert float(scale_features(at(spacing_deg=1.0))) == 0
    assert float(scale_features(at(spacing_deg=0.25))) == -0.5


def test_every_feature_is_about_one_in_size():
    random = torch.Generator().manual_seed(0)
    low = torch.tensor([-90.0, 0.0, 0.0, 0.0, 0.0, 50.0, 0.25])
    high = torch.tensor([90.0, 360.0, 72.0, 24.0, 1.0, SURFACE_PRESSURE_HPA, 15.0])
    features = coordinate_features(low + (high - low) * torch.rand(5000, len(COORDINATES), generator=random))
    assert features.isfinite().all()
    assert features.abs().max() < 3.1  # log pressure at 50 hPa
    size = features.square().mean(dim=0).sqrt()
    assert size.min() > 0.15 and size.max() < 1.2 and 0.65 < size.median() < 0.75  # 0.707 of a sine


def test_the_embedding_has_the_width_of_the_model_and_depends_on_every_axis():
    embedding = CoordinateEmbedding(24).double()
    coords = at(latitude_deg=40.0, longitude_deg=10.0, hour_utc=5.0, year_fraction=0.3).requires_grad_()
    embedded = embedding(coords)
    assert embedded.shape == (1, 24)
    embedded.square().sum().backward()
    assert (coords.grad != 0).all()
