"""What an answer starts from: which shown tokens, and what they let expect between and beside them. Axes as in the module."""

import math

import numpy as np
import pytest
import torch

from statecast.models.anchors import Neighbours
from statecast.streams import COORDINATES

OFFSET, PRESSURE = COORDINATES.index("offset_h"), COORDINATES.index("pressure_hpa")
HERE = (40.0, 10.0)
STEP_H = 6.0


def places(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    """Coordinates of tokens from (latitude, longitude, offset_h, pressure) as one sample."""
    coords = torch.zeros(1, len(rows), len(COORDINATES))
    for i, (lat, lon, offset, pressure) in enumerate(rows):
        coords[0, i, [0, 1, OFFSET, PRESSURE]] = torch.tensor([lat, lon, offset, pressure])
    coords[..., -1] = 1.0
    return coords


def nearest(asked: torch.Tensor, shown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Index, whether it is at the same place, and hours to the nearest shown token."""
    neighbours = Neighbours.of(asked, shown)
    return neighbours.index[..., 0], neighbours.same_place[..., 0], neighbours.gap_h[..., 0]


def damped(asked: torch.Tensor, shown: torch.Tensor, values: torch.Tensor, rate: float) -> torch.Tensor:
    return Neighbours.of(asked, shown).damped(values[None, :, None, :, None], torch.tensor([rate]), STEP_H)[
        0, ..., 0, :, 0
    ]


def test_the_nearest_shown_token_is_of_the_same_place_then_the_nearest_in_time():
    here = (40.0, 10.0)
    shown = places((*here, 0, 500), (*here, 12, 500), (*here, 48, 500), (40.0, 17.5, 24, 500), (*here, 24, 850))
    asked = places((*here, 24, 500), (*here, 60, 500), (*here, 36, 500), (*here, -5, 500), (40.0, 20.0, 24, 500))
    index, same_place, gap_h = nearest(asked, shown)
    assert index.tolist() == [[1, 2, 2, 0, 3]]
    assert same_place.tolist() == [[True, True, True, True, False]]
    assert gap_h.tolist() == [[12.0, 12.0, -12.0, -5.0, 0.0]]


@pytest.mark.parametrize(("lat", "lon_step"), [(85.3, 7.5), (0.0, 1.0), (89.5, 1.0)])
def test_a_close_neighbour_is_no_substitute_for_the_same_place(lat, lon_step):
    """Near the poles, and on fine grids, the next token is close; the same place days ago is the anchor all the same."""
    shown = places((lat, 10.0, 0, 500), (lat, 10.0 + lon_step, 120, 500))
    index, same_place, gap_h = nearest(places((lat, 10.0, 120, 500)), shown)
    assert (index.item(), same_place.item(), gap_h.item()) == (0, True, 120.0)


def test_a_shown_token_at_the_asked_place_and_time_is_passed_over():
    here = (40.0, 10.0)
    index, same_place, gap_h = nearest(places((*here, 24, 500)), places((*here, 24, 500), (*here, 0, 500)))
    assert (index.item(), same_place.item(), gap_h.item()) == (1, True, 24.0)
    _, same_place, _ = nearest(places((*here, 24, 500)), places((*here, 24, 500)))
    assert not same_place.item()


def test_a_place_that_was_shown_before_and_after_has_neighbours_on_both_sides():
    shown = places((*HERE, 0, 500), (*HERE, 12, 500), (*HERE, 48, 500), (41.0, 10.0, 30, 500), (*HERE, 36, 850))
    neighbours = Neighbours.of(places((*HERE, 24, 500), (*HERE, 60, 500), (41.0, 10.0, 24, 500)), shown)
    assert neighbours.enclosed.tolist() == [[True, False, False]]
    assert neighbours.index[0, 0].tolist() == [1, 2]
    assert neighbours.gap_h[0, 0].tolist() == [12.0, -24.0]


def test_features_are_mixed_linearly_in_time_between_two_sides_and_taken_whole_beside_one():
    shown = places((*HERE, 0, 500), (*HERE, 36, 500))
    features = torch.tensor([[[0.0, 3.0], [9.0, 0.0]]])
    mixed = Neighbours.of(places((*HERE, 12, 500), (*HERE, 48, 500)), shown).mixed(features)
    torch.testing.assert_close(mixed, torch.tensor([[[3.0, 2.0], [9.0, 0.0]]]))


def test_without_damping_what_lies_between_is_linear_interpolation_step_by_step():
    """Tokens of two steps at 0, 6 | 12, 18 | 24, 30 h: the middle one from the steps at 6 and 24 h."""
    shown, asked = places((*HERE, 3, 500), (*HERE, 27, 500)), places((*HERE, 15, 500))
    values = torch.tensor([[7.0, 1.0], [4.0, 7.0]])
    torch.testing.assert_close(damped(asked, shown, values, 1e-5), torch.tensor([[2.0, 3.0]]), atol=1e-3, rtol=0)


def test_what_lies_between_is_the_conditional_mean_of_an_ornstein_uhlenbeck_process():
    """Against the normal equations with the covariance exp(-r |t - s|)."""
    rate = 0.05
    shown, asked = places((*HERE, 3, 500), (*HERE, 39, 500)), places((*HERE, 15, 500), (*HERE, 27, 500))
    values = torch.tensor([[7.0, 1.5], [-2.0, 7.0]])
    known, unknown = np.array([6.0, 36.0]), np.array([12.0, 18.0, 24.0, 30.0])
    covariance = lambda s, t: np.exp(-rate * np.abs(s[:, None] - t[None]))  # noqa: E731
    mean = covariance(unknown, known) @ np.linalg.solve(covariance(known, known), [1.5, -2.0])
    np.testing.assert_allclose(damped(asked, shown, values, rate).flatten(), mean, rtol=1e-4)


def spread(asked: torch.Tensor, shown: torch.Tensor, rate: float) -> torch.Tensor:
    return Neighbours.of(asked, shown).spread(torch.tensor([rate]), 2, STEP_H)[0, :, 0]


def test_the_spread_about_what_lies_between_is_the_conditional_deviation_of_the_process():
    rate = 0.05
    shown, asked = places((*HERE, 3, 500), (*HERE, 39, 500)), places((*HERE, 15, 500), (*HERE, 27, 500))
    known, unknown = np.array([6.0, 36.0]), np.array([12.0, 18.0, 24.0, 30.0])
    covariance = lambda s, t: np.exp(-rate * np.abs(s[:, None] - t[None]))  # noqa: E731
    variance = 1 - np.diag(
        covariance(unknown, known) @ np.linalg.solve(covariance(known, known), covariance(known, unknown))
    )
    np.testing.assert_allclose(spread(asked, shown, rate).flatten(), np.sqrt(variance), rtol=1e-4)


def test_the_spread_beside_one_grows_to_that_of_climatology_which_it_is_where_nothing_was_shown():
    shown = places((*HERE, 3, 500))
    asked = places((*HERE, 15, 500), (*HERE, -9, 500), (*HERE, 1e4, 500), (10.0, 10.0, 15, 500))
    expected = [[math.sqrt(1 - math.exp(-0.04 * hours)) for hours in pair] for pair in ((6, 12), (12, 6))]
    torch.testing.assert_close(spread(asked, shown, 0.02), torch.tensor([*expected, [1.0, 1.0], [1.0, 1.0]]))


def test_beside_one_it_decays_and_the_order_of_the_tokens_does_not_matter():
    shown, asked = places((*HERE, 3, 500), (*HERE, 27, 500)), places((*HERE, 15, 500), (*HERE, 39, 500))
    values = torch.tensor([[7.0, 1.0], [4.0, 6.0]])
    both = damped(asked, shown, values, 0.02)
    torch.testing.assert_close(both[1], 6.0 * torch.tensor([math.exp(-0.12), math.exp(-0.24)]))
    torch.testing.assert_close(damped(asked, shown.flip(1), values.flip(0), 0.02), both)


def test_the_rate_of_damping_gets_a_gradient_on_both_sides_and_none_is_no_number():
    rate = torch.tensor([1e-4], requires_grad=True)
    shown, asked = places((*HERE, 0, 500), (*HERE, 24, 500)), places((*HERE, 12, 500), (*HERE, 36, 500))
    values = torch.tensor([[1.0], [3.0]])
    Neighbours.of(asked, shown).damped(values[None, :, None, :, None], rate, STEP_H).sum().backward()
    assert torch.isfinite(rate.grad).all() and rate.grad.item() < 0
