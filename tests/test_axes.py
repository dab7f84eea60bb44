"""Axes: each kind's features and metric against closed forms."""

import math

import pytest
import torch

from statecast.axes import (
    KINDS,
    SURFACE_PRESSURE_HPA,
    Axis,
    column_names,
    columns_of,
    coordinate_features,
    duration_features,
    feature_size,
    in_space,
    level_features,
    line_features,
    metric_vectors,
    scale_features,
    sphere_features,
    time_features,
    unit_vectors,
    united,
)

PLACE, TIME = Axis("place", "sphere", "degree", 30.0), Axis("time", "time", "h")
HEIGHT, SPACING = Axis("pressure_hpa", "level", "hPa"), Axis("spacing_deg", "scale", "degree")
PIXEL, RANK = Axis("pixel", "plane", spacing=2.0, columns=("row", "column")), Axis("rank", "index")
ANGLE, DEPTH = Axis("phi", "circle", "rad", 0.5), Axis("depth", "line", "cm", 10.0)
EVERY = (PLACE, TIME, HEIGHT, SPACING, PIXEL, RANK, ANGLE, DEPTH)


def at(axis: Axis, **columns: float) -> torch.Tensor:
    """Coordinates of one token along an axis, in float64."""
    return torch.tensor([[columns.get(column, 0.0) for column in axis.columns]], dtype=torch.float64)


def along(axis: Axis, *values: float) -> torch.Tensor:
    """Coordinates of tokens along an axis of one column, in float64."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def squared_distance(one: torch.Tensor, other: torch.Tensor, axis: Axis) -> float:
    return float((metric_vectors(one, [axis]) - metric_vectors(other, [axis])).square().sum())


def random_coords(count: int, axes: tuple[Axis, ...]) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    ranges = {
        "latitude_deg": (-89.0, 89.0),
        "longitude_deg": (0.0, 360.0),
        "offset_h": (0.0, 72.0),
        "hour_utc": (0.0, 24.0),
        "solar_time_rad": (0.0, 2 * math.pi),
        "year_fraction": (0.0, 1.0),
        "pressure_hpa": (50.0, SURFACE_PRESSURE_HPA),
        "spacing_deg": (0.25, 15.0),
        "phi": (0.0, 2 * math.pi),
    }
    low, high = torch.tensor([ranges.get(column, (0.0, 100.0)) for column in column_names(axes)]).T
    return low + (high - low) * torch.rand(count, len(low), generator=random)


# features


def test_unit_vectors_point_to_greenwich_to_90_east_and_to_the_pole():
    coords = torch.cat([at(PLACE), at(PLACE, longitude_deg=90.0), at(PLACE, latitude_deg=90.0)])
    torch.testing.assert_close(unit_vectors(coords), torch.eye(3, dtype=torch.float64))


def test_the_date_line_and_the_poles_are_not_special():
    for one, other in (
        (
            at(PLACE, longitude_deg=-180.0, latitude_deg=20.0),
            at(PLACE, longitude_deg=180.0, latitude_deg=20.0),
        ),
        (at(PLACE, longitude_deg=0.0), at(PLACE, longitude_deg=360.0)),
        (
            at(PLACE, latitude_deg=90.0, longitude_deg=10.0),
            at(PLACE, latitude_deg=90.0, longitude_deg=250.0),
        ),
    ):
        torch.testing.assert_close(sphere_features(one), sphere_features(other))


def test_places_a_few_degrees_apart_differ():
    distance = (sphere_features(at(PLACE)) - sphere_features(at(PLACE, longitude_deg=3.0))).norm()
    assert distance > 0.5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"hour_utc": 0.0}, {"hour_utc": 24.0}),
        ({"year_fraction": 0.0}, {"year_fraction": 1.0}),
        ({"solar_time_rad": -math.pi / 2}, {"solar_time_rad": 3 * math.pi / 2}),
    ],
)
def test_day_and_year_have_no_seam(one, other):
    torch.testing.assert_close(time_features(at(TIME, **one)), time_features(at(TIME, **other)))


def test_the_sun_stands_alike_at_noon_everywhere():
    greenwich = time_features(at(TIME, hour_utc=12.0, solar_time_rad=math.pi))
    date_line = time_features(at(TIME, hour_utc=0.0, solar_time_rad=math.pi))
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
    heights = level_features(along(HEIGHT, SURFACE_PRESSURE_HPA, 500.0, 100.0))[:, 0]
    assert heights[0] == 0 and (heights.diff() > 0).all()
    assert float(heights[2]) == pytest.approx(2.3158, abs=1e-4)  # ln 10.1325


def test_grid_spacing_counts_in_octaves_around_one_degree():
    assert float(scale_features(along(SPACING, 1.0))) == 0
    assert float(scale_features(along(SPACING, 0.25))) == -0.5


def test_waves_along_a_line_are_4_to_512_spacings_long():
    features = line_features(along(DEPTH, 30.0), DEPTH.spacing)[0]
    angles = torch.tensor([2 * math.pi * 3.0 / 2**k for k in range(2, 10)], dtype=torch.float64)
    torch.testing.assert_close(features, torch.cat([angles.sin(), angles.cos()]))


def test_a_plane_has_the_waves_of_both_its_lines_and_a_rank_those_of_a_line_of_its_spacing():
    of_plane = KINDS["plane"].features(at(PIXEL, row=3.0, column=8.0), 2.0)[0]
    row, column = (line_features(along(RANK, position), 2.0)[0] for position in (3.0, 8.0))
    sines_then_cosines = [*row[:8], *column[:8], *row[8:], *column[8:]]
    torch.testing.assert_close(of_plane, torch.stack(sines_then_cosines))
    torch.testing.assert_close(KINDS["index"].features(along(RANK, 5.0), 1.0), line_features(along(RANK, 5.0), 1.0))


def test_an_angle_has_its_first_second_and_fourth_harmonics_and_no_seam():
    features = KINDS["circle"].features(along(ANGLE, 0.3, 0.3 + 2 * math.pi), 0.5)
    closed_form = [math.sin(0.3), math.sin(0.6), math.sin(1.2), math.cos(0.3), math.cos(0.6), math.cos(1.2)]
    torch.testing.assert_close(features[0], torch.tensor(closed_form, dtype=torch.float64))
    torch.testing.assert_close(features[1], features[0])


def test_every_feature_is_about_one_in_size():
    features = coordinate_features(random_coords(5000, EVERY), EVERY)
    assert features.isfinite().all()
    assert features.abs().max() < 3.1  # log pressure at 50 hPa


def test_features_of_all_axes_stand_side_by_side():
    coords = random_coords(7, EVERY)
    features, first = coordinate_features(coords, EVERY), 0
    for axis in EVERY:
        own = axis.of_kind.features(coords[:, columns_of(EVERY, axis.name)], axis.spacing)
        torch.testing.assert_close(features[:, first : first + feature_size([axis])], own)
        first += feature_size([axis])
    assert features.shape[-1] == first == feature_size(EVERY)


# metric


def test_distance_on_the_sphere_is_the_chord_in_reaches():
    """|e - e'|² = 2 - 2 cos(angle); two places on one meridian 40° apart, and two across the date line."""
    chord = (2 - 2 * math.cos(math.radians(40))) / math.radians(30) ** 2
    assert squared_distance(at(PLACE, latitude_deg=10.0), at(PLACE, latitude_deg=50.0), PLACE) == pytest.approx(chord)
    one, other = at(PLACE, longitude_deg=160.0), at(PLACE, longitude_deg=-160.0)
    assert squared_distance(one, other, PLACE) == pytest.approx(chord)


def test_distance_in_time_is_in_days_and_has_no_part_of_the_calendar():
    noon, later = at(TIME, offset_h=12.0), at(TIME, offset_h=60.0, hour_utc=5.0, year_fraction=0.4)
    assert squared_distance(noon, later, TIME) == pytest.approx(2.0**2)


def test_distance_in_height_is_in_scale_heights():
    surface, high = (along(HEIGHT, pressure) for pressure in (SURFACE_PRESSURE_HPA, SURFACE_PRESSURE_HPA / math.e))
    assert squared_distance(surface, high, HEIGHT) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("axis", "one", "other", "expected"),
    [
        (PIXEL, {"row": 1.0, "column": 2.0}, {"row": 7.0, "column": 10.0}, 3.0**2 + 4.0**2),
        (DEPTH, {"depth": 5.0}, {"depth": 30.0}, 2.5**2),
        (RANK, {"rank": 3.0}, {"rank": 8.0}, 5.0**2),
    ],
)
def test_distance_along_lines_and_planes_is_in_spacings(axis, one, other, expected):
    assert squared_distance(at(axis, **one), at(axis, **other), axis) == pytest.approx(expected)


def test_distance_of_two_angles_is_the_chord_in_spacings_and_has_no_seam():
    chord = (2 * math.sin(0.2) / 0.5) ** 2
    assert squared_distance(along(ANGLE, 0.1), along(ANGLE, 0.5), ANGLE) == pytest.approx(chord)
    assert squared_distance(along(ANGLE, 0.2), along(ANGLE, 2 * math.pi - 0.2), ANGLE) == pytest.approx(chord)


def test_a_scale_has_no_part_in_attention():
    assert KINDS["scale"].metric is None and KINDS["scale"].key_size == 0
    assert metric_vectors(along(SPACING, 1.0, 9.0), [SPACING]).shape == (2, 0)


def test_squared_distances_of_several_axes_add_up():
    one, other = random_coords(2, EVERY).double()
    together = (metric_vectors(one, EVERY) - metric_vectors(other, EVERY)).square().sum()
    apart = sum(
        squared_distance(*(c[columns_of(EVERY, axis.name)] for c in (one, other)), axis)
        for axis in EVERY
        if axis.of_kind.metric is not None
    )
    assert float(together) == pytest.approx(apart)


@pytest.mark.parametrize("axis", EVERY, ids=lambda axis: axis.kind)
def test_a_kind_has_as_many_components_as_it_says_and_length_one_where_it_says_so(axis):
    kind, coords = axis.of_kind, random_coords(9, (axis,)).double()
    if kind.metric is None:
        return
    metric = kind.metric(coords, axis.spacing)
    assert metric.shape[-1] == kind.dimensions
    squares = metric.square().sum(dim=-1)
    assert torch.allclose(squares, torch.ones_like(squares)) == kind.on_unit_sphere
    assert kind.key_size == kind.dimensions + (0 if kind.on_unit_sphere else 1)
    if kind.frame is not None:
        assert kind.frame(coords, axis.spacing).shape == (9, kind.displacements, kind.dimensions)


@pytest.mark.parametrize("axis", [TIME, PIXEL, RANK, ANGLE, DEPTH], ids=lambda axis: axis.kind)
def test_a_displacement_moves_a_spot_as_its_coordinate_moves_the_metric(axis):
    """The frame is the derivative of the metric: by a day, by a spacing, by a radian."""
    kind, coords = axis.of_kind, random_coords(1, (axis,)).double()[0]
    jacobian = torch.autograd.functional.jacobian(lambda x: kind.metric(x, axis.spacing), coords)
    unit = {"time": 24.0, "circle": 1.0}.get(axis.kind, axis.spacing)
    torch.testing.assert_close(kind.frame(coords, axis.spacing), unit * jacobian.T[: kind.displacements])


def test_displacements_on_the_sphere_point_east_and_north():
    coords = random_coords(1, (PLACE,)).double()[0]
    jacobian = torch.autograd.functional.jacobian(lambda x: unit_vectors(torch.rad2deg(x)), torch.deg2rad(coords))
    east, north = PLACE.of_kind.frame(coords, 1.0)
    torch.testing.assert_close(north, jacobian[:, 0])
    torch.testing.assert_close(east, jacobian[:, 1] / torch.deg2rad(coords[0]).cos())


# axes of tokens


def test_coordinates_are_found_by_the_names_of_their_axis_and_column():
    axes = (PLACE, HEIGHT, RANK)
    assert column_names(axes) == ("latitude_deg", "longitude_deg", "pressure_hpa", "rank")
    assert [columns_of(axes, axis.name) for axis in axes] == [slice(0, 2), slice(2, 3), slice(3, 4)]
    with pytest.raises(KeyError, match=r"there is no axis time\. Axes: place, pressure_hpa, rank"):
        columns_of(axes, "time")


def test_an_axis_that_is_absent_is_nan_in_the_space_of_a_model_and_counts_nothing_in_a_distance():
    coords = random_coords(4, (RANK, PLACE))
    found = in_space(coords, (RANK, PLACE), (PLACE, TIME, RANK))
    assert torch.equal(found[:, :2], coords[:, 1:]) and torch.equal(found[:, 6], coords[:, 0])
    assert found[:, 2:6].isnan().all()
    metric = metric_vectors(found, (PLACE, TIME, RANK))
    assert torch.equal(metric[:, 3], torch.zeros(4))
    torch.testing.assert_close(metric[:, [0, 1, 2, 4]], metric_vectors(found[:, [0, 1, 6]], (PLACE, RANK)))
    assert in_space(coords, (RANK, PLACE), (RANK, PLACE)) is coords


def test_streams_share_the_axes_that_they_both_name():
    assert united([(PLACE, TIME), (), (TIME, RANK)]) == (PLACE, TIME, RANK)
    with pytest.raises(ValueError, match=r"axis rank is of kind index in one stream and of kind line in another"):
        united([(RANK,), (Axis("rank", "line"),)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "index", "spacing": 0.0}, "axis x: spacing is 0.0, expected a positive length"),
        ({"kind": "plane", "columns": ("row",)}, r"axis x: kind plane has 2 columns, got \['row'\]"),
        ({"kind": "index", "columns": ("row", "column")}, "axis x: kind index has 1 columns"),
    ],
)
def test_axes_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Axis("x", **wrong)
