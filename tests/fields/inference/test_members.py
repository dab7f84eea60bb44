"""Members: what they keep of the heads, and that they are fields. Axes as in the module."""

import numpy as np
import pytest
from scipy.stats import kstest

from statecast.fields.inference.members import (
    EARTH_KM,
    REACH_H,
    REACH_KM,
    check_members,
    draw_members,
    smooth_normal,
    smooth_normals,
)
from statecast.fields.sources import Grid
from statecast.models import ModelOptions
from statecast.trained import ModelError, TrainedModel, build

GRID = Grid(np.linspace(-85, 85, 18), np.arange(36) * 10.0)


def quantiles_of_a_normal(heads: int = 16) -> np.ndarray:
    """The same at each point, in an order of its own."""
    from scipy.special import ndtri

    values = ndtri((np.arange(heads) + 0.5) / heads)
    order = np.random.default_rng(0).permuted(np.tile(np.arange(heads)[:, None], (1, 2 * 18 * 36)), axis=0)
    return values[order].reshape(heads, 2, 1, *GRID.shape)


def test_the_distribution_at_each_point_is_that_of_the_heads():
    members = draw_members(quantiles_of_a_normal(), 400, GRID, np.array([0.0, 6.0]))
    assert kstest(members[:, 0, 0, 9, 20], "norm").pvalue > 1e-3  # beyond the outermost heads, too
    assert members.mean() == pytest.approx(0, abs=1e-6) and members.std() == pytest.approx(1, abs=0.01)


def test_members_are_smooth_where_heads_are_in_any_order():
    heads = quantiles_of_a_normal()
    rough = np.abs(np.diff(heads[3, 0, 0], axis=-1)).mean()
    members = draw_members(heads, 20, GRID, np.array([0.0, 6.0]))
    near = np.abs(np.diff(members[:, 0, 0, 16:], axis=-1)).mean()  # 10 degrees of longitude near the pole
    assert near < 0.35 * rough
    assert np.abs(np.diff(members[:, :, 0], axis=1)).mean() < 0.35 * rough  # six hours


def test_fields_are_standard_normal_and_correlated_as_they_say():
    fields = np.stack([smooth_normal(2 * m, GRID, np.array([0.0, 24.0]), 1)[:, 0] for m in range(400)])
    assert fields.mean() == pytest.approx(0, abs=0.03) and fields.std() == pytest.approx(1, abs=0.03)
    row = fields[:, 0, 17]  # at 85 degrees north
    chord = 2 * EARTH_KM * np.cos(np.deg2rad(85)) * np.sin(np.deg2rad(GRID.lon / 2))
    found = np.array([np.mean(row[:, 0] * row[:, k]) for k in range(36)])
    np.testing.assert_allclose(found, np.exp(-(chord**2) / 2 / REACH_KM**2), atol=0.15)
    assert np.mean(fields[:, 0] * fields[:, 1]) == pytest.approx(np.exp(-(24.0**2) / 2 / REACH_H**2), abs=0.05)


def test_a_field_depends_on_place_and_time_alone_and_pairs_are_opposite():
    hours = np.array([6.0, 12.0, 18.0])
    whole = smooth_normal(4, GRID, hours, 2)
    part = smooth_normal(4, Grid(GRID.lat[3:7], GRID.lon[[35, 0, 1]]), hours[1:], 2)
    np.testing.assert_allclose(part, whole[1:, :, 3:7][..., [35, 0, 1]], atol=1e-9)
    np.testing.assert_array_equal(smooth_normal(5, GRID, hours, 2), -whole)
    assert np.abs(np.corrcoef(whole[0, 0].ravel(), whole[0, 1].ravel())[0, 1]) < 0.4  # channels on their own


def test_fields_of_several_members_are_those_of_each():
    hours = np.array([0.0, 6.0])
    together = smooth_normals(range(1, 4), GRID, hours, 2)
    np.testing.assert_array_equal(together, [smooth_normal(member, GRID, hours, 2) for member in (1, 2, 3)])


def test_one_head_is_every_member():
    heads = np.random.default_rng(0).standard_normal((1, 2, 3, *GRID.shape))
    np.testing.assert_array_equal(draw_members(heads, 2, GRID, np.array([0.0, 6.0]))[1], heads[0])


def test_a_deterministic_model_has_one_member(make_trained):
    trained = make_trained()
    tokenizers = trained.codecs
    point = TrainedModel(
        build(ModelOptions(width=32, heads=2, head="point"), tokenizers, 0), tokenizers, trained.recipe
    )
    check_members(point, 1)
    with pytest.raises(ModelError, match=r"members is 2, but the model is deterministic \(head point\): it has 1"):
        check_members(point, 2)
