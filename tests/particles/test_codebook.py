"""Codebooks: cells, remembered particles, both ways of fitting."""

import numpy as np
import pytest
import torch

from statecast.particles import codebook
from statecast.particles.codebook import MEMBERS, Codebook, fit_codebook, fit_residuals, members_of, nearest
from statecast.particles.jets import JetError

NAMES = ("delta_eta", "delta_phi", "log_pt_fraction", "charge")


@pytest.fixture(scope="module")
def particles():
    random = torch.Generator().manual_seed(0)
    kinds = torch.randint(-1, 5, (4000,), generator=random)
    values = torch.randn(4000, 4, generator=random)
    values[:, 3] = (kinds == 0).float()
    return values, kinds


@pytest.fixture(scope="module", params=["kmeans", "vqvae"])
def book(request, particles) -> Codebook:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codebook, "STEPS", 300)
        return fit_codebook(*particles, NAMES, 64, request.param, seed=0)


def test_a_particle_and_the_members_of_its_code_lie_close_together(book, particles):
    values, kinds = particles
    codes = book.assign(values, kinds, NAMES)
    decoded, decoded_kinds = book.decode(codes, torch.Generator().manual_seed(1))
    apart = (decoded[:, :3] - values[:, :3]).square().mean()
    assert apart < 1.0  # 2 for random particles, as of two draws of a normal distribution
    assert (decoded_kinds == kinds).float().mean() > 0.8
    assert torch.equal(book.assign(decoded, decoded_kinds, NAMES), codes)  # a member lies in its own cell


def test_decoded_particles_have_the_distribution_of_those_that_were_learned(book, particles):
    values, kinds = particles
    decoded, _ = book.decode(book.assign(values, kinds, NAMES), torch.Generator().manual_seed(1))
    assert decoded.mean(dim=0) == pytest.approx(values.mean(dim=0), abs=0.05)
    assert decoded.std(dim=0) == pytest.approx(values.std(dim=0), rel=0.04)


def test_a_codebook_comes_back_from_its_tensors(book, particles):
    again = Codebook.of_tensors(book.tensors(), book.names, book.looked_at)
    assert torch.equal(again.assign(*particles, NAMES), book.assign(*particles, NAMES))


def test_codes_depend_on_names_not_on_the_order_of_columns(book, particles):
    values, kinds = particles
    assert torch.equal(book.assign(values.flip(-1), kinds, NAMES[::-1]), book.assign(values, kinds, NAMES))


def test_fitting_is_a_function_of_the_seed(particles):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, other = (fit_codebook(*particles, NAMES, 16, "kmeans", seed=3) for _ in range(2))
    assert torch.equal(one.centres, other.centres) and torch.equal(one.members, other.members)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_code_without_particles_is_never_assigned():
    values, kinds = torch.zeros(100, 4), torch.zeros(100, dtype=torch.int64)
    values[:50, 0] = 1.0
    book = fit_codebook(values, kinds, NAMES, 8, "kmeans", seed=0)
    assert book.size == 8 and book.is_used.sum() == 2
    assert set(book.assign(values, kinds, NAMES).tolist()) == {0, 1}


def test_a_second_code_says_where_in_its_cell_a_particle_lies(book, particles):
    values, kinds = particles
    random = torch.Generator().manual_seed(1)
    codes = book.assign(values, kinds, NAMES)
    residuals = fit_residuals(values[:, :3], codes, 64, 32, seed=0)
    fine = residuals.assign(values[:, :3], codes)
    decoded = residuals.decode(codes, fine, random)
    coarse, _ = book.decode(codes, random)
    errors = [(found[:, :3] - values[:, :3]).square().mean() for found in (decoded, coarse)]
    assert errors[0] < 0.3 * errors[1]
    assert torch.equal(residuals.assign(decoded, codes), fine)
    for code in (0, 17):  # in units of its cell, a particle has mean 0 and standard deviation 1
        places = ((values[:, :3] - residuals.middles[code]) / residuals.spreads[code])[codes == code]
        assert places.mean(dim=0).abs().max() < 1e-5 and (places.std(dim=0, correction=0) - 1).abs().max() < 1e-4


def test_the_nearest_centre_is_that_of_brute_force():
    random = torch.Generator().manual_seed(0)
    points, centres = torch.randn(200, 3, generator=random), torch.randn(9, 3, generator=random)
    assert torch.equal(nearest(points, centres), torch.cdist(points, centres).argmin(dim=-1))


def test_members_are_of_their_own_code():
    codes = np.array([2, 0, 0, 2, 1, 2] * 30)
    rows = members_of(codes, 3, np.random.default_rng(0))
    assert rows.shape == (3, MEMBERS) and (codes[rows] == np.arange(3)[:, None]).all()
    assert len(set(rows[2])) == MEMBERS and len(set(rows[1])) == 30  # as many as there are


def test_more_codes_than_particles_are_refused(particles):
    with pytest.raises(JetError, match="has 10 particles, expected at least 64"):
        fit_codebook(particles[0][:10], particles[1][:10], NAMES, 64, "kmeans", seed=0)
