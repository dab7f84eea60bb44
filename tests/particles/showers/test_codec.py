"""Tokens of showers: an exact inverse, zeros, standardised values, patches; and samples of a split."""

import numpy as np
import pytest
import torch

from statecast.config import RecipeError, read_recipe
from statecast.particles.showers.codec import Parts, energies_of
from statecast.particles.showers.domain import DOMAIN
from statecast.particles.showers.geometry import ShowerError
from statecast.particles.showers.scale import Scale
from statecast.particles.showers.source import open_source, turned

ORDER = ("response", "layers", "voxels")


@pytest.fixture(scope="module")
def source(recipe):
    return open_source(read_recipe(recipe), "train", {})


def of(source, count=40):
    showers = source.record.showers[:count]
    return showers.incident_mev, showers.voxels_mev.reshape(count, 3, 4, 2).copy()


@pytest.mark.parametrize("sample", [None, np.random.default_rng(0)])
def test_showers_round_trip_with_their_zeros(source, sample):
    incident, voxels = of(source)
    voxels[3] = 0  # nothing deposited
    voxels[4, 1] = 0  # a layer without energy
    parts = Parts.of(incident, voxels)
    values = {name: source.codecs[name].tokens(parts, sample).values.numpy() for name in ORDER}
    again = energies_of(values, incident, [(name, source.codecs[name]) for name in ORDER], is_drawn=False)
    known = np.ones(len(voxels), bool)
    known[3] = known[4] = False  # what has no energy is not observed: its shares are free
    np.testing.assert_allclose(again[known], voxels[known], rtol=1e-4)
    assert ((again == 0) == (voxels == 0))[known].all()
    drawn = energies_of(values, incident, [(name, source.codecs[name]) for name in ORDER], is_drawn=True)
    faint = (again > 0) & (drawn == 0)
    assert faint.any() and again[faint].max() < source.codecs["voxels"].grid.faint_mev


def test_factors_multiply_to_the_energies(source):
    incident, voxels = of(source)
    parts = Parts.of(incident, voxels)
    np.testing.assert_allclose(parts.energies(), voxels, rtol=1e-6)
    np.testing.assert_allclose(parts.layers.sum(axis=1), 1)
    np.testing.assert_allclose(parts.response * incident, voxels.sum(axis=(1, 2, 3)), rtol=1e-5)


def test_a_layer_without_energy_is_not_observed(source):
    incident, voxels = of(source)
    voxels[0, 2] = 0
    tokens = source.codecs["voxels"].tokens(Parts.of(incident, voxels))
    assert not tokens.observed[0, 4:].any() and tokens.observed[0, :4].all()
    layers = source.codecs["layers"].tokens(Parts.of(incident, voxels))
    assert layers.observed.all()  # that it has none is known


def test_values_are_standardised_given_the_energy_and_zeros_lie_in_a_gap(source):
    incident, voxels = of(source, 160)
    parts = Parts.of(incident, voxels)
    codec = source.codecs["voxels"]
    values = codec.whole(codec.tokens(parts).values.numpy())
    hit = voxels > 0
    assert abs(values[hit].mean()) < 0.1 and 0.8 < values[hit].std() < 1.2
    known = np.broadcast_to((parts.layers > 0)[..., None, None], hit.shape)
    mean, std = codec.scale.at(np.where(parts.layers > 0, parts.log_layers, 0))
    lowest = np.broadcast_to(-mean / std, hit.shape)
    np.testing.assert_allclose(values[~hit & known], (lowest - 0.5)[~hit & known], rtol=1e-4)
    drawn = codec.whole(codec.tokens(parts, np.random.default_rng(0)).values.numpy())
    below = (lowest - drawn)[~hit & known]
    assert (below >= 0).all() and (below <= 1).all() and below.std() > 0.2


def test_the_scale_follows_the_energy_and_stays_finite_with_few_or_equal_showers():
    energy = np.linspace(0, 5, 400)[:, None]
    shares = (0.1 + 0.1 * energy[:, :, None, None]) ** 3 * np.ones((1, 1, 4, 2))
    scale = Scale.fit(energy, shares)
    mean, _ = scale.at(np.array([[1.0], [4.0]]))
    np.testing.assert_allclose(mean[:, 0, 0, 0], [0.2, 0.5], atol=0.01)
    for count in (1, 3):
        few = Scale.fit(np.full((count, 1), 2.0), shares[:count])
        assert np.isfinite(few.normalised(shares[:1], np.array([[2.0]]), 0.5)).all()
    nothing = Scale.fit(np.full((5, 1), -np.inf), np.zeros((5, 1, 4, 2)))
    assert np.isfinite(nothing.std).all() and (nothing.std > 0).all()


def test_patches_hold_neighbours(source):
    codec = source.codecs["voxels"]
    grid = np.arange(24.0).reshape(3, 4, 2)
    assert codec.patches(grid)[1].tolist() == [4, 5, 6, 7]  # layer 0, alphas 2 and 3, both rings
    assert np.array_equal(codec.whole(codec.patches(grid)), grid)
    depth, alpha, radius = codec.coords[1].tolist()
    assert depth == pytest.approx(25 / 6) and alpha == pytest.approx(np.pi / 2) and radius == pytest.approx(25)


def test_a_turn_keeps_energies_and_a_full_turn_changes_nothing(source):
    voxels = of(source)[1]
    for reflected in (False, True):
        one = turned(voxels, 1, is_reflected=reflected)
        np.testing.assert_allclose(one.sum(axis=-2), voxels.sum(axis=-2), rtol=1e-5)
        assert not np.array_equal(one, voxels)
    assert np.array_equal(turned(voxels, 4, is_reflected=False), voxels)


def test_a_sample_is_a_function_of_its_generator(source):
    one, same = (source.draw(np.random.default_rng(5)) for _ in range(2))
    assert all(torch.equal(one[name].values, same[name].values) for name in one)
    assert "shower" in source.describe(np.random.default_rng(5))


def test_codecs_are_loaded_as_they_were_saved(source, tmp_path):
    for name, codec in source.codecs.items():
        codec.save(tmp_path, name)
    again = DOMAIN.load(tmp_path, {name: codec.stream.model_dump() for name, codec in source.codecs.items()}, None)
    window, parts = source.window(0), Parts.of(*(each[0] for each in of(source)))
    for name in window:
        assert (
            torch.equal(again[name].tokens(parts).values, window[name].values) and again[name].spec == window[name].spec
        )


def test_a_cached_split_is_the_split(recipe, tmp_path):
    data = {**recipe["data"], "cache": str(tmp_path / "cache")}
    cached, plain = (open_source(read_recipe({**recipe, "data": d}), "train", {}) for d in (data, recipe["data"]))
    assert (cached.record.showers.voxels_mev == plain.record.showers.voxels_mev).all()
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"streams": {"voxels": {"patch": [1, 3, 2]}}}, ShowerError, "3 alphas do not divide the 4"),
        ({"data": {"train": [0, 300], "validate": None}}, ShowerError, "but the files hold 240"),
        ({"data": {"validate": [100, 200]}}, RecipeError, "overlaps those of training"),
        ({"data": {"geometry": "small", "particle": None}}, ShowerError, "has 24 voxels, expected 480"),
        ({"data": {"particle": "pion"}}, ShowerError, "has no particle pion"),
        ({"data": {"particle": "photon"}}, ShowerError, "has 24 voxels, expected 2 by its geometry"),
    ],
)
def test_what_does_not_fit_is_refused(recipe, change, error, message):
    changed = {key: {**recipe[key], **change.get(key, {})} for key in ("data", "streams")}
    with pytest.raises(error, match=message):
        open_source(read_recipe({**recipe, **changed}), "train", {})


def test_a_recipe_needs_all_four_streams(recipe):
    streams = {name: stream for name, stream in recipe["streams"].items() if name != "response"}
    with pytest.raises(RecipeError, match="0 have response: true"):
        read_recipe({**recipe, "streams": streams, "task": {"kind": "masked"}})
