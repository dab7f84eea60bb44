"""Generated jets."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import statecast as sc
from statecast.models.generation import CausalState
from statecast.particles.codec import places_of
from statecast.particles.features import particle_features
from statecast.particles.inference import generator as generator_module
from statecast.particles.inference.assemble import closed, randomly_turned
from statecast.particles.inference.generate import generate
from statecast.particles.inference.generator import Generator, Sampling
from statecast.particles.jets import momentum_components, summed_momentum, wrapped
from statecast.streams import Tokens, stack


@pytest.fixture(scope="module")
def generator(runs) -> Generator:
    return Generator.of(sc.load(runs.generating))


def test_generated_jets_are_jets(runs):
    jets = generate(runs.generating, 70, label="two", batch=32)
    assert len(jets) == 70 and set(jets.labels) == {"two"}
    assert jets.multiplicity.min() >= 4 and jets.multiplicity.max() <= 30  # as in training: the count is drawn first
    for number in range(70):
        assert (np.diff(jets.particles_of(number)["pt_gev"]) <= 0).all()
    total = summed_momentum(jets)
    for name, column in jets.of_jets.items():
        np.testing.assert_allclose(column, total[name], rtol=1e-6, atol=1e-9)
    features = particle_features(jets, ("delta_eta", "delta_phi"))
    assert np.isfinite(features).all() and np.abs(features).max() < 2


def test_a_jet_does_not_depend_on_how_many_are_drawn_and_another_seed_gives_others(runs):
    few, many, others = (
        generate(runs.generating, count, seed=seed, batch=16) for count, seed in ((10, 1), (20, 1), (10, 2))
    )
    for name, column in few.particles.items():
        np.testing.assert_array_equal(column, many[slice(0, 10)].particles[name])
    assert few.multiplicity.tolist() != others.multiplicity.tolist()


@pytest.mark.parametrize("still_running", [-1.0, 0.75, 1.0])
@torch.no_grad()
def test_what_the_model_sees_while_it_draws_is_what_it_sees_in_one_pass(generator, monkeypatch, still_running):
    """The cache of keys and values and one causal pass over the visible tokens agree, also where finished jets have left."""
    monkeypatch.setattr(generator_module, "STILL_RUNNING", still_running)
    ask, sizes = CausalState.ask, []

    def compared(self, name, tokens):
        said = ask(self, name, tokens)
        if name in ("codes", "fine") and tokens.coords[0, 0, 0] > 0:  # before, no particle is visible
            whole = generator.trained.model(self.visible, {name: tokens}, "tokens", True)[name].logits
            torch.testing.assert_close(said.logits, whole, rtol=0, atol=1e-4)
            sizes.append(len(whole))
        return said

    monkeypatch.setattr(CausalState, "ask", compared)
    generator.draw(["one", "two", None, "one"], torch.Generator().manual_seed(0), Sampling())
    assert sizes[0] == 4 and (min(sizes) < 4) == (still_running > 0)


def test_jets_have_the_numbers_that_were_drawn_also_where_finished_jets_leave(generator, monkeypatch):
    drawn, draw = [], Generator._draw_numbers

    def keeping(self, *arguments):
        drawn.append(draw(self, *arguments))
        return drawn[-1]

    monkeypatch.setattr(Generator, "_draw_numbers", keeping)
    with torch.no_grad():
        jets = generator.draw(["two", "one"] * 15, torch.Generator().manual_seed(0), Sampling())
    assert jets.multiplicity.tolist() == drawn[0]["multiplicity"].round().tolist()
    np.testing.assert_allclose(jets.of_jets["pt_gev"], drawn[0]["pt_gev"], rtol=1e-6)
    assert jets.labels.tolist() == ["two", "one"] * 15


def generator_numbers(generator: Generator) -> Tokens:
    """The numbers of two jets, at their mean."""
    codec = generator.jet[1]
    values = torch.zeros(2, 3, 1)
    coords = places_of(codec.stream).expand(2, -1, -1)
    return Tokens(
        values, coords, torch.ones_like(values, dtype=torch.bool), codec.spec, index=torch.arange(3).expand(2, -1)
    )


@torch.no_grad()
def test_a_drawn_particle_is_the_token_of_its_own_columns(generator):
    """The visible token of a drawn particle equals the token that the codec makes of it within its jet."""
    codec = generator.particles[1]
    pt = torch.tensor([300.0, 80.0])
    random = torch.Generator().manual_seed(0)
    state = generator._started(["one", "two"])
    state.append("jet", generator_numbers(generator))
    token = generator._particle(state, torch.tensor([3, 5]), pt.log(), 2, random, Sampling())
    flat = replace(token, values=token.values[:, 0], observed=token.observed[:, 0], codes=token.codes[:, 0])
    jet = {"pt_gev": pt.numpy(), "eta": np.zeros(2), "phi": np.zeros(2)}
    columns = codec.particles(flat, jet)
    names = list(codec.channels)
    values = token.values[:, 0] * codec.std + codec.mean
    np.testing.assert_allclose(np.log(columns["pt_gev"]), values[:, names.index("log_pt")], rtol=1e-5)
    np.testing.assert_allclose(columns["eta"], token.coords[:, 0, 0], rtol=1e-5)
    assert (token.coords[:, 0, 2] == 2).all()


def test_closing_a_jet_gives_it_the_momentum_that_was_drawn(make_jets):
    jets = make_jets(30)
    of = np.repeat(np.arange(30), jets.multiplicity)
    random = np.random.default_rng(0)
    wanted = {
        "pt_gev": random.uniform(100, 900, 30),
        "eta": random.uniform(-2, 2, 30),
        "phi": random.uniform(-3, 3, 30),
    }
    apart = {
        "eta": jets.particles["eta"] - jets.of_jets["eta"][of],
        "phi": jets.particles["phi"] - jets.of_jets["phi"][of],
    }
    moved = {name: wanted[name][of] + apart[name] for name in ("eta", "phi")}
    particles = closed({**jets.particles, **moved}, of, wanted)
    total = summed_momentum(replace(jets, particles=particles))
    np.testing.assert_allclose(total["pt_gev"], wanted["pt_gev"], rtol=1e-9)
    assert np.abs(total["eta"] - wanted["eta"]).max() < 0.1


def test_closing_a_jet_gives_it_the_mass_that_was_drawn_and_keeps_its_shape(make_jets):
    jets = make_jets(30)
    of = np.repeat(np.arange(30), jets.multiplicity)
    axis = {name: jets.of_jets[name] for name in ("pt_gev", "eta", "phi")}
    mass = summed_momentum(replace(jets, particles=closed(jets.particles, of, axis)))["mass_gev"]
    wanted = mass * np.random.default_rng(0).uniform(0.7, 1.4, 30)
    particles = closed(jets.particles, of, {**axis, "mass_gev": wanted})
    total = summed_momentum(replace(jets, particles=particles))
    np.testing.assert_allclose(total["mass_gev"], wanted, rtol=1e-3)
    np.testing.assert_allclose(total["pt_gev"], axis["pt_gev"], rtol=1e-9)
    far = closed(jets.particles, of, {**axis, "mass_gev": 10 * mass})
    assert (summed_momentum(replace(jets, particles=far))["mass_gev"] < 3 * mass).all()


def test_a_temperature_of_zero_and_top_k_narrow_the_codes(generator):
    logits = torch.randn(500, generator.codes[1].stop + 1, generator=torch.Generator().manual_seed(0))
    random, is_allowed = torch.Generator().manual_seed(1), torch.arange(logits.shape[-1]) < generator.codes[1].stop
    best = generator._sampled(logits, is_allowed, random, Sampling(0.0))
    few = generator._sampled(logits, is_allowed, random, Sampling(1.0, 2))
    allowed = logits[:, :-1]
    assert torch.equal(best, allowed.argmax(dim=-1))
    assert (few[:, None] == allowed.topk(2).indices).any(dim=-1).all() and not torch.equal(few, best)


def test_a_model_without_the_count_stops_by_its_code(make_recipe, tmp_path):
    streams = {
        "particles": {},
        "jet": {"quantities": ["pt_gev"]},
        "codes": {"asks": "codebook", "size": 32},
        "bins": {"asks": "bins", "size": 64},
    }
    task = {"kind": "next_particle", "ask": ["codes", "bins"], "show": ["jet"]}
    training = {"steps": 60, "batch_size": 16, "validate_every": 60, "validation_samples": 16, "footprint": False}
    trained = sc.pretrain(make_recipe(task, streams=streams, training=training), tmp_path / "run", progress=False)
    jets = generate(trained, 60)
    assert 4 < jets.multiplicity.mean() < 40 and len(set(jets.multiplicity)) > 5 and jets.labels is None


def test_a_file_of_generated_jets_has_the_names_of_jetclass(runs, statecast, tmp_path):
    out = tmp_path / "drawn.parquet"
    options = (
        "--jets",
        12,
        "--label",
        "one",
        "--temperature",
        0.8,
        "--top-k",
        10,
        "--seed",
        4,
        "--out",
        out,
        "--quiet",
    )
    assert statecast("generate", runs.generating, *options) == (0, "")
    table = pq.read_table(out).to_pydict()
    jets = generate(runs.generating, 12, label="one", sampling=Sampling(0.8, 10), seed=4)
    px, _, _, energy = momentum_components(jets.particles)
    np.testing.assert_allclose(np.concatenate(table["part_px"]), px, rtol=1e-6)
    np.testing.assert_allclose([sum(energies) for energies in table["part_energy"]], table["jet_energy"], rtol=1e-5)
    assert len(energy) == sum(map(len, table["part_energy"])) and table["label_one"] == [1.0] * 12
    assert table["jet_nparticles"] == jets.multiplicity.tolist()


@pytest.mark.parametrize(
    ("run", "options", "message"),
    [
        ("masked", (), "was trained on the task masked_particles, expected next_particle"),
        ("generating", ("--label", "three"), "label three: the model learned the classes one, two"),
    ],
)
def test_what_can_not_be_generated_is_refused_in_one_line(runs, statecast, tmp_path, run, options, message):
    code, error = statecast("generate", getattr(runs, run), *options, "--out", "drawn.parquet", "--quiet")
    assert code == 2 and message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_labels_of_a_batch_are_stacked_in_order(generator):
    name, codec = generator.label
    tokens = stack([{name: codec.tokens(label)} for label in ("one", None, "two")])[name]
    assert tokens.codes[:, 0].tolist() == [0, -1, 1]


def test_a_random_turn_keeps_what_is_inside_a_jet():
    random = np.random.default_rng(0)
    of = np.repeat(np.arange(200), 5)
    jet = {"eta": random.uniform(-2, 2, 200), "phi": random.uniform(-np.pi, np.pi, 200)}
    apart = random.normal(0, 0.2, (2, 1000))
    particles = {"pt_gev": np.ones(1000), "eta": jet["eta"][of] + apart[0], "phi": wrapped(jet["phi"][of] + apart[1])}
    moved = randomly_turned(particles, of, jet, torch.Generator().manual_seed(0))
    eta, phi = moved["eta"] - jet["eta"][of], wrapped(moved["phi"] - jet["phi"][of])
    np.testing.assert_allclose(np.hypot(eta, phi), np.hypot(*apart), atol=1e-9)
    first = slice(0, None, 5)
    assert np.abs(np.exp(1j * (np.arctan2(phi, eta) - np.arctan2(*apart[::-1]))[first]).mean()) < 0.2  # all directions
    distance = np.hypot(eta[1:] - eta[:-1], phi[1:] - phi[:-1])[of[1:] == of[:-1]]
    before = np.hypot(*np.diff(apart))[of[1:] == of[:-1]]
    np.testing.assert_allclose(distance, before, atol=1e-9)
