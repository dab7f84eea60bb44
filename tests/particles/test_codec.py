"""Tokens of jets and their inverse; targets that don't give themselves away."""

import numpy as np
import pytest
import torch

from statecast.config import read_recipe
from statecast.particles.jets import momentum_components
from statecast.particles.source import JetSource, open_source
from statecast.streams import UNKNOWN

ALL = {
    "particles": {"particles": ["delta_eta", "delta_phi", "log_pt_fraction", "log_pt", "charge", "mass_gev", "d0_mm"]},
    "jet": {"quantities": ["multiplicity", "pt_gev", "eta", "mass_gev"]},
    "codes": {"asks": "codebook", "size": 64},
    "fine": {"asks": "residual", "of": "codes", "size": 16},
    "kinds": {"asks": "kinds"},
    "momenta": {"asks": "values"},
    "bins": {"asks": "bins", "size": 64},
    "label": {"label": "class"},
    "mass": {"label": "generated_mass_gev"},
}
TASK = {"kind": "next_particle", "ask": ["codes", "fine", "kinds", "momenta", "bins"], "show": ["jet", "label"]}


@pytest.fixture
def source(make_recipe) -> JetSource:
    return open_source(read_recipe(make_recipe(TASK, streams=ALL)), "train", {})


def test_values_are_standardised_over_the_training_split(source):
    cases = source.cases()
    tokens = [cases[number]["particles"] for number in range(len(cases))]
    values = torch.cat([torch.where(t.observed, t.values, torch.nan) for t in tokens])
    assert values.nanmean(dim=0).abs().max() < 1e-4
    spread = (values**2).nanmean(dim=0).sqrt()
    is_constant = torch.tensor(
        [name == "mass_gev" for name in source.codecs["particles"].channels]
    )  # of these test jets
    assert (spread[~is_constant] - 1).abs().max() < 1e-3 and spread[is_constant] == 0
    jets = torch.stack([cases[number]["jet"].values[:, 0] for number in range(len(cases))])
    assert jets.mean(dim=0).abs().max() < 1e-4 and (jets.std(dim=0, correction=0) - 1).abs().max() < 1e-3


def test_particles_come_back_from_their_tokens(source, make_jets):
    jets = make_jets()
    codec = source.codecs["particles"]
    for number in (0, 7, 199):
        truth = jets.particles_of(number)
        jet = {name: np.full(len(truth["pt_gev"]), column[number]) for name, column in jets.of_jets.items()}
        back = codec.particles(source.window(number)["particles"], jet)
        np.testing.assert_allclose(momentum_components(back), momentum_components(truth), rtol=1e-5, atol=1e-4)
        assert (back["kind"] == truth["kind"]).all() and (back["charge"] == truth["charge"]).all()


def test_what_a_particle_lacks_is_not_observed(source, make_jets):
    has_track = np.isfinite(make_jets().particles_of(3)["d0_mm"])
    observed = source.window(3)["particles"].observed
    assert (observed[:, -1].numpy() == has_track).all() and observed[:, :-1].all()


def test_targets_lie_at_the_ranks_of_the_particles_and_have_no_direction(source):
    window = source.window(5)
    count = len(window["particles"])
    for name in ("codes", "fine", "kinds", "momenta"):
        tokens = window[name]
        assert [axis.name for axis in tokens.spec.axes] == ["index"]
        assert len(tokens) == count + (name == "codes")
        assert (tokens.coords[:, 0] == torch.arange(len(tokens))).all() and (
            tokens.index == torch.arange(len(tokens))
        ).all()
    assert (window["fine"].guess[:, 0] == window["codes"].codes[:-1]).all()
    assert window["codes"].codes[-1] == source.codecs["codes"].stop
    assert (window["particles"].codes == window["kinds"].codes).all()
    torch.testing.assert_close(window["particles"].values, window["momenta"].values)
    assert (window["bins"].coords == window["jet"].coords).all() and window["jet"].coords.max() < 0


def test_a_bin_holds_as_many_jets_as_any_other_and_decodes_into_itself(source):
    codec, record = source.codecs["bins"], source.record
    codes = torch.stack([source.window(number)["bins"].codes for number in range(len(record))])
    assert codec.categories == tuple(map(str, range(8)))
    for place in range(1, 4):  # of real numbers; counts come in lumps
        assert torch.bincount(codes[:, place], minlength=8).tolist() == [25] * 8
    decoded = codec.decode(codes[:, 1], 1, torch.Generator().manual_seed(0))
    assert (torch.searchsorted(codec.edges[1], decoded, right=True) == codes[:, 1]).all()
    assert not torch.equal(decoded, record.quantities[:, 1])


def test_labels_are_codes_and_standardised_numbers(source, make_jets):
    jets, window = make_jets(), source.window(11)
    codec = source.codecs["label"]
    assert codec.classes == ("one", "two") and codec.classes[window["label"].codes[0]] == jets.labels[11]
    mass = source.codecs["mass"].numbers(window["mass"].values.numpy())[0, 0]
    assert mass == pytest.approx(jets.of_jets["generated_mass_gev"][11], rel=1e-5)


def test_codecs_of_all_kinds_come_back_from_a_directory(source, tmp_path):
    for name, codec in source.codecs.items():
        codec.save(tmp_path, name)
    assert not list(tmp_path.glob("*.pkl")) and {p.suffix for p in tmp_path.iterdir()} <= {".json", ".safetensors"}
    from statecast.particles.domain import DOMAIN

    streams = {name: codec.stream.model_dump(mode="json") for name, codec in source.codecs.items()}
    loaded = JetSource(source.record, DOMAIN.load(tmp_path, streams, None))
    for name, tokens in source.window(42).items():
        again = loaded.window(42)[name]
        torch.testing.assert_close(again.values, tokens.values, rtol=0, atol=0)
        assert again.codes is None or torch.equal(again.codes, tokens.codes)
        assert loaded.codecs[name].spec == source.codecs[name].spec
        assert loaded.codecs[name].categories == source.codecs[name].categories


def test_a_rotated_jet_keeps_its_angles_and_gets_new_codes(source):
    from statecast.particles.source import random_turn

    turn = random_turn(np.random.default_rng(3))
    torch.testing.assert_close(turn @ turn.T, torch.eye(2))
    plain, turned = source.window(8), source.window(8, turn)
    before, after = (torch.cdist(w["particles"].coords[:, :2], w["particles"].coords[:, :2]) for w in (plain, turned))
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain["particles"].coords[:, :2], turned["particles"].coords[:, :2])
    both = [(source.window(n)["codes"].codes, source.window(n, turn)["codes"].codes) for n in range(20)]
    assert any(not torch.equal(one, other) for one, other in both)
    features = source.record.features[source.record.span(8)]
    eta_phi = features[:, :2] @ turn.T
    torch.testing.assert_close(turned["particles"].coords[:, :2], eta_phi)


def test_an_unknown_kind_has_no_code(source, make_jets):
    kinds = source.window(2)["particles"].codes
    assert (kinds == UNKNOWN).any() and (kinds.numpy() == make_jets().particles_of(2)["kind"]).all()
