"""A file of jets is the same however it was made: killed or not, by one process or two, as a part of a larger one or alone."""

import subprocess
import sys

import numpy as np
import pytest

from statecast.particles.jets import JetError, Jets, summed_momentum
from statecast.particles.sources import blocks
from statecast.particles.sources.blocks import Block, JetOptions, simulate_block
from statecast.particles.sources.jet_columns import LABELS
from statecast.particles.sources.parquet_blocks import recorded_options
from statecast.particles.sources.pythia import KINDS, GeneratedJets
from statecast.particles.sources.simulate import SimulationStopped, simulate_jets

ak = pytest.importorskip("awkward")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("pythia8mc")
pytest.importorskip("fastjet")


def two_prongs(random, count):
    """Jets of two particles in each batch, with random numbers all over."""
    pt = np.sort(random.uniform(200, 300, (count, 2)))[:, ::-1].ravel()
    columns = {"pt_gev": pt, "eta": random.normal(0, 0.1, 2 * count), "phi": random.normal(0, 0.1, 2 * count)}
    columns |= {"mass_gev": np.zeros(2 * count), "charge": np.ones(2 * count), "kind": np.zeros(2 * count, np.int8)}
    jets = Jets(np.arange(count + 1) * 2, columns, {})
    return Jets(jets.offsets, columns, {**summed_momentum(jets), "weight": random.uniform(size=count)})


class FakePythia:
    """Jets without collisions; a kill after so many blocks."""

    def __init__(self):
        self.started, self.killed_after, self.jets_per_batch, self.seeds = 0, None, 7, []

    def __call__(self, kind, pt_range_gev, pythia_seed, random):
        if self.started == self.killed_after:
            raise KeyboardInterrupt
        self.started += 1
        self.seeds.append(pythia_seed)
        while True:
            jets = two_prongs(random, self.jets_per_batch)
            yield GeneratedJets(jets, jets)


@pytest.fixture
def fake(monkeypatch):
    pythia = FakePythia()
    monkeypatch.setattr(blocks, "generate", pythia)
    monkeypatch.setattr(blocks, "BLOCK_JETS", 10)
    return pythia


def simulate(out, **options):
    return simulate_jets(out, **{"jets": 60, "workers": 1, "progress": False} | options)


def test_a_killed_run_that_resumes_gives_the_same_bytes(fake, tmp_path):
    whole = simulate(tmp_path / "whole.parquet").read_bytes()
    fake.started, fake.killed_after = 0, 2
    with pytest.raises(SimulationStopped, match=r"after 20 of 60 jets. The same command resumes it") as stopped:
        simulate(tmp_path / "killed.parquet")
    assert stopped.value.exit_code == 75 and not (tmp_path / "killed.parquet").exists()
    fake.started, fake.killed_after = 0, None
    assert simulate(tmp_path / "killed.parquet").read_bytes() == whole
    assert fake.started == 4  # the finished blocks were kept
    assert {path.name for path in tmp_path.iterdir()} == {"whole.parquet", "killed.parquet"}


def test_an_unfinished_run_with_other_options_is_refused(fake, tmp_path):
    out = tmp_path / "jets.parquet"
    fake.killed_after = 1
    with pytest.raises(SimulationStopped):
        simulate(out)
    fake.killed_after = None
    with pytest.raises(
        JetError, match=r"jets.parquet.unfinished: was made with seed 0 \(requested: 1\). Request these options"
    ):
        simulate(out, seed=1)
    simulate(out, seed=1, overwrite=True)
    assert recorded_options(out)["seed"] == 1


def test_a_finished_file_is_left_alone_and_other_options_are_refused(fake, tmp_path):
    out = simulate(tmp_path / "jets.parquet")
    before = out.read_bytes()
    started = fake.started
    simulate(out)
    assert fake.started == started
    with pytest.raises(JetError, match=r"made with jets 60 \(requested: 80\)"):
        simulate(out, jets=80)
    assert out.read_bytes() == before
    other = tmp_path / "other.parquet"
    other.write_text("text")
    with pytest.raises(JetError, match=r"exists but does not contain simulated jets. Give another path"):
        simulate(other)
    assert other.read_text() == "text"


def test_the_first_jets_of_a_kind_do_not_depend_on_the_number_of_jets(fake, tmp_path):
    few, many = (parquet.read_table(simulate(tmp_path / f"{jets}.parquet", jets=jets)) for jets in (30, 60))
    tops = [table.filter(table["label_Tbqq"])["jet_pt"].to_pylist() for table in (few, many)]
    assert len(tops[0]) == 15 and tops[0] == tops[1][:15]


def test_blocks_have_seeds_of_their_own(fake, tmp_path):
    simulate(tmp_path / "a.parquet", kinds=tuple(KINDS), jets=100)
    simulate(tmp_path / "b.parquet", kinds=tuple(KINDS), jets=100, seed=1)
    assert len(set(fake.seeds)) == 20
    pt = [parquet.read_table(tmp_path / f"{name}.parquet")["jet_pt"].to_pylist() for name in "ab"]
    assert len(set(pt[0] + pt[1])) == 200
    assert min(fake.seeds) >= 1 and max(fake.seeds) <= 900_000_000


def test_the_kinds_take_turns_and_each_jet_has_one_label(fake, tmp_path):
    table = parquet.read_table(simulate(tmp_path / "jets.parquet", kinds=("qcd", "h"), jets=50))
    labels = np.array([table[f"label_{name}"].to_numpy() for name in LABELS])
    assert (labels.sum(axis=0) == 1).all()
    names = [LABELS[number] for number in labels.argmax(axis=0)]
    assert names == ["QCD"] * 10 + ["Hbb"] * 10 + ["QCD"] * 10 + ["Hbb"] * 10 + ["QCD"] * 5 + ["Hbb"] * 5


def test_a_kind_that_hardly_gives_jets_is_refused(fake, tmp_path):
    fake.jets_per_batch = 0
    with pytest.raises(JetError, match="kind qcd: 0 jets in 100 batches of collisions have a pT of 500 to 650 GeV"):
        simulate(tmp_path / "jets.parquet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jets": 0}, "jets is 0, expected a positive multiple of the number of kinds, 2"),
        ({"jets": 7}, "jets is 7"),
        ({"kinds": ("qcd", "b")}, "kind b is not a kind of jet. Kinds: qcd, top, w, z, h"),
        ({"kinds": ("top", "top")}, "expected each once"),
        ({"kinds": ()}, "kinds are none"),
        ({"seed": -1}, "seed is -1, expected 0 to 2147483647"),
        ({"pt_range_gev": (650, 500)}, "pT range is 650 to 500 GeV"),
        ({"pt_range_gev": (500, float("nan"))}, "pT range is 500 to nan GeV"),
        ({"workers": 0}, "workers is 0, expected at least 1"),
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(JetError, match=message):
        simulate(tmp_path / "jets.parquet", **options)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(
        JetError, match=r"needs pythia8mc, and pythia8mc is not installed. pip install 'statecast\[hep\]'"
    ):
        simulate(tmp_path / "jets.parquet")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Eight jets of collisions, made by one process."""
    return simulate(tmp_path_factory.mktemp("jets") / "jets.parquet", jets=8)


def test_two_processes_give_the_same_bytes_as_one(real, tmp_path):
    assert simulate(tmp_path / "jets.parquet", jets=8, workers=2).read_bytes() == real.read_bytes()


def test_columns_follow_from_the_particles(real):
    jets = ak.from_parquet(real)
    assert ak.sum(jets.label_QCD) == ak.sum(jets.label_Tbqq) == 4
    for of_jet, of_particle in (("jet", "part"), ("genjet", "genpart")):
        part = {name: jets[f"{of_particle}_{name}"] for name in ("pt", "eta", "phi", "mass")}
        energy = ak.sum(np.sqrt(part["mass"] ** 2 + (part["pt"] * np.cosh(part["eta"])) ** 2), axis=1)
        px, py = (ak.sum(part["pt"] * turn(part["phi"]), axis=1) for turn in (np.cos, np.sin))
        assert np.allclose(energy, jets[f"{of_jet}_energy"], rtol=1e-5)
        assert np.allclose(np.hypot(px, py), jets[f"{of_jet}_pt"], rtol=1e-5)
        assert ak.num(part["pt"]).tolist() == jets[f"{of_jet}_nparticles"].tolist()
        flags = [
            jets[f"{of_particle}_is{name}"] for name in ("ChargedHadron", "NeutralHadron", "Photon", "Electron", "Muon")
        ]
        assert ak.all(sum(flag * 1 for flag in flags) == 1)
        charged = jets[f"{of_particle}_charge"] != 0
        assert ak.all(charged == (flags[0] | flags[3] | flags[4]))
    assert ak.all(np.isnan(jets.part_d0val) == (jets.part_charge == 0))
    assert ak.all(
        (jets.jet_sdmass <= jets.jet_mass * 1.0001) & (jets.jet_tau32 <= 1.001) & (jets.jet_tau2 <= jets.jet_tau1)
    )
    assert ak.all((jets.jet_pt > 499.9) & (jets.jet_pt < 650.1))


def test_a_file_tells_how_it_was_made(real):
    recorded = recorded_options(real)
    assert recorded["seed"] == 0 and recorded["kinds"] == ["qcd", "top"] and "pythia8mc" in recorded
    assert parquet.read_schema(real).metadata[b"license"] == b"Apache-2.0"


def test_a_block_in_the_middle_needs_none_before_it(fake):
    options = JetOptions(60, ("qcd", "top"), 0, (500.0, 650.0))
    one, same = (simulate_block(options, Block("top", 2, 10)) for _ in range(2))
    other = simulate_block(options, Block("top", 1, 10))
    assert (one.measured.particles["pt_gev"] == same.measured.particles["pt_gev"]).all()
    assert not np.isin(one.measured.particles["pt_gev"], other.measured.particles["pt_gev"]).any()


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "stopping.close()"])
def test_workers_end_when_they_are_told_to_or_the_process_that_started_them_is_killed(tmp_path, end):
    """SIGKILL leaves no time to tell them: they watch. The run ends when no process has its output open any more."""
    code = f"""
import multiprocessing, os, signal, time
from concurrent.futures import ProcessPoolExecutor
from statecast.particles.sources.blocks import end_when_closed

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    stop, stopping = spawn.Pipe(duplex=False)
    pool = ProcessPoolExecutor(2, spawn, end_when_closed, (stop,))
    pool.submit(time.sleep, 0).result()
    busy = [pool.submit(time.sleep, 1000) for _ in range(2)]
    print(len(multiprocessing.active_children()), flush=True)
    {end}
    print(*(type(future.exception()).__name__ for future in busy))
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100)
    if "SIGKILL" in end:
        assert (done.returncode, done.stdout) == (-9, "2\n")
    else:
        assert (done.returncode, done.stdout) == (0, "2\nBrokenProcessPool BrokenProcessPool\n"), done.stderr


def test_workers_need_not_import_torch():
    code = "import sys, statecast.particles.sources.blocks; print({'torch', 'xarray', 'lightning'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
