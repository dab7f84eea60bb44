"""Baselines of taggers and of generators."""

import numpy as np
import pytest

from statecast.particles.evaluation.baselines import fit_classifier, independent_constituents, probabilities
from statecast.particles.evaluation.tagging import auc
from statecast.particles.jets import Jets, wrapped


def pairs(count: int = 400) -> Jets:
    """Jets of two particles on opposite sides of the axis with equal pT, in all directions."""
    random = np.random.default_rng(0)
    axis = {"pt_gev": random.uniform(500, 650, count), "eta": random.uniform(-2, 2, count)}
    axis |= {"phi": random.uniform(-np.pi, np.pi, count), "mass_gev": np.full(count, 80.0)}
    angle = random.uniform(0, 2 * np.pi, count)
    side = np.tile([1.0, -1.0], count)
    eta = np.repeat(axis["eta"], 2) + 0.3 * side * np.repeat(np.cos(angle), 2)
    phi = np.repeat(axis["phi"], 2) + 0.3 * side * np.repeat(np.sin(angle), 2)
    particles = {"pt_gev": np.repeat(axis["pt_gev"] / 2, 2), "eta": eta, "phi": wrapped(phi)}
    particles |= {"mass_gev": np.zeros(2 * count), "kind": np.zeros(2 * count, int), "charge": np.ones(2 * count)}
    return Jets(np.arange(0, 2 * count + 1, 2), particles, axis, np.full(count, "pair"))


def relative(jets: Jets) -> tuple[np.ndarray, np.ndarray]:
    own = np.repeat(np.arange(len(jets)), jets.multiplicity)
    eta = jets.particles["eta"] - jets.of_jets["eta"][own]
    phi = wrapped(jets.particles["phi"] - jets.of_jets["phi"][own])
    return eta, phi


def test_independent_constituents_keep_each_distribution_but_no_relation():
    jets = pairs()
    drawn = independent_constituents(jets, 2000, np.random.default_rng(1))
    eta, phi = relative(drawn)
    assert np.hypot(eta, phi) == pytest.approx(0.3)
    assert drawn.particles["pt_gev"] == pytest.approx(np.repeat(drawn.of_jets["pt_gev"] / 2, 2))
    assert (np.abs(drawn.particles["phi"]) <= np.pi).all() and len(drawn) == 2000
    of_truth, of_drawn = (np.add.reduceat(relative(each)[0], each.offsets[:-1]) for each in (jets, drawn))
    assert np.abs(of_truth).max() < 1e-9 and of_drawn.std() == pytest.approx(
        0.3, rel=0.1
    )  # two draws: sqrt(2) 0.3 / sqrt(2)


def test_constituents_are_in_order_of_pt():
    jets = pairs()
    soft = {**jets.particles, "pt_gev": jets.particles["pt_gev"] * np.tile([1.0, 0.2], len(jets))}
    drawn = independent_constituents(Jets(jets.offsets, soft, jets.of_jets), 100, np.random.default_rng(0))
    pt = drawn.particles["pt_gev"].reshape(-1, 2)
    assert (pt[:, 0] >= pt[:, 1]).all() and (pt[:, 0] > pt[:, 1]).any()


@pytest.mark.parametrize("kind", ["logistic", "boosting"])
@pytest.mark.parametrize("count", [60, 1500])
def test_classifiers_separate_what_can_be_separated(kind, count):
    random = np.random.default_rng(0)
    labels = np.array(["top", "QCD"])[np.arange(count + 500) % 2]
    features = random.standard_normal((count + 500, 5)) + 2.0 * (labels == "top")[:, None] * np.eye(5)[0]
    model = fit_classifier(kind, features[:count], labels[:count])
    probability = probabilities(model, features[count:], ("QCD", "top"))
    assert probability.sum(axis=1) == pytest.approx(1.0)
    assert auc(probability[:, 1], labels[count:] == "top") > 0.85  # Φ(2 / √2) = 0.92
