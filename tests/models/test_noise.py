"""Noise as a function of its place."""

import math

import torch

from statecast.models.noise import _mixed, normal, uniform


def test_the_generator_is_splitmix64():
    """Its first output for the seed 0, as published with the reference implementation."""
    assert int(_mixed(0)) & (2**64 - 1) == 0xE220A8397B1DCDAF


def test_numbers_are_normal_and_uncorrelated_along_each_key():
    drawn = normal(torch.arange(300)[:, None], 7, torch.arange(300))
    error = 1 / math.sqrt(drawn.numel())
    assert abs(drawn.mean()) < 4 * error and abs(drawn.square().mean() - 1) < 4 * math.sqrt(2) * error
    assert abs(drawn.pow(4).mean() - 3) < 4 * math.sqrt(96) * error
    for other in (
        drawn.roll(1, 0),
        drawn.roll(1, 1),
        drawn.T,
        normal(torch.arange(300)[:, None], 8, torch.arange(300)),
    ):
        assert abs((drawn * other).mean()) < 5 * error


def test_a_number_depends_on_every_key_and_on_their_order():
    place = torch.arange(50)
    numbers = [uniform(1, 2, place), uniform(2, 1, place), uniform(1, 3, place), uniform(0, 2, place)]
    assert len(torch.cat(numbers).unique()) == 200
    assert torch.equal(uniform(1, 2, place[10:20]), numbers[0][10:20])


def test_the_largest_and_smallest_fraction_have_finite_quantiles():
    for fraction in (0.5 * 2.0**-52, (2**52 - 0.5) * 2.0**-52):
        assert 0 < fraction < 1 and math.isfinite(
            float(torch.special.ndtri(torch.tensor(fraction, dtype=torch.float64)))
        )
