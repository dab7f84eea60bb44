"""Jets that a model on a GPU draws and tags are those of a CPU. Where there is no GPU, a device that refuses what a GPU would (`elsewhere`)."""

import numpy as np

import statecast as sc
from statecast.particles.inference.generate import generate
from statecast.particles.inference.tag import class_probabilities


def on(device: str, run) -> sc.TrainedModel:
    trained = sc.load(run)
    trained.model.to(device)
    return trained


def test_jets_are_drawn_as_on_the_cpu(runs, device):
    expected = generate(runs.generating, 2, label="one", seed=1, batch=2)
    found = generate(on(device, runs.generating), 2, label="one", seed=1, batch=2)
    assert found.offsets.tolist() == expected.offsets.tolist()
    np.testing.assert_allclose(found.particles["pt_gev"], expected.particles["pt_gev"], rtol=1e-3)


def test_classes_are_as_probable_as_on_the_cpu(runs, device, make_jets):
    jets = make_jets(5, seed=3)
    expected = class_probabilities(sc.load(runs.tagged), jets)
    np.testing.assert_allclose(class_probabilities(on(device, runs.tagged), jets), expected, rtol=1e-3)
