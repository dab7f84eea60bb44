"""Charge and kind by the code of the Particle Data Group."""

import numpy as np
import pytest

from statecast.particles.jets import PARTICLE_KINDS, UNKNOWN_KIND
from statecast.particles.particle_codes import charges, kinds
from statecast.streams import UNKNOWN

CHARGES = {
    211: 1, -211: -1, 321: 1, 130: 0, 310: 0, 111: 0, 411: 1, 421: 0, 431: 1, 511: 0, 521: 1, 443: 0,
    2212: 1, -2212: -1, 2112: 0, 3112: -1, 3222: 1, 3122: 0, 3312: -1, 3334: -1, 2224: 2,
    11: -1, -11: 1, 13: -1, 15: -1, 22: 0, 12: 0, 23: 0, 0: 0,
}  # fmt: skip


@pytest.mark.parametrize(("code", "charge"), CHARGES.items())
def test_charges_are_those_of_the_particle_data_group(code, charge):
    assert charges(np.array([code]))[0] == charge


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-321, "charged hadron"),
        (2112, "neutral hadron"),
        (130, "neutral hadron"),
        (22, "photon"),
        (-11, "electron"),
        (13, "muon"),
        (1, "neutral hadron"),  # CMS: a hadron in the forward calorimeter
        (2, "photon"),  # CMS: an electron or photon there
    ],
)
def test_kinds_of_codes(code, kind):
    codes = np.array([code])
    assert kinds(codes, charges(codes))[0] == PARTICLE_KINDS.index(kind)


def test_a_neutrino_and_a_particle_without_charge_are_of_unknown_kind():
    assert list(kinds(np.array([12, -14, 0]), np.array([0, 0, np.nan]))) == [UNKNOWN_KIND] * 3


def test_an_unknown_kind_is_an_unknown_code_of_a_token():
    assert UNKNOWN_KIND == UNKNOWN
