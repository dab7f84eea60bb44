"""A simulated record: packing, pressure levels, and above all that a run that was killed ends like one that was not."""

import ast
import inspect
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
import zarr

from statecast.fields.sources import open_fields, simulator
from statecast.fields.sources import simulate as simulation
from statecast.fields.sources.pressure_levels import GAS_CONSTANT
from statecast.fields.sources.simulate import PACKING, SimulationError

SHORT = {"days": 2, "interval_h": 6, "spin_up_days": 1, "chunk_frames": 3, "progress": False}


@pytest.mark.parametrize("name", PACKING)
def test_packed_values_round_trip_within_half_a_step(name):
    packing = PACKING[name]
    values = np.linspace(packing.lowest, packing.highest, 100_003)
    codes = simulation.pack(values, packing)
    assert codes.dtype == np.int16 and codes.min() == -32767 and codes.max() == 32767  # never the fill value
    assert np.abs(codes * packing.scale + packing.offset - values).max() <= packing.scale * (0.5 + 1e-6)


@pytest.mark.parametrize("name", ["q", "tprate"])
def test_no_water_is_exactly_no_water_after_packing(name):
    packing = PACKING[name]
    assert simulation.pack(np.zeros(1), packing) * packing.scale + packing.offset == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf, 129.9, 360.1])
def test_packing_refuses_what_it_would_have_to_clip(value):
    with pytest.raises(SimulationError, match="temperature has left 130 to 360 K"):
        simulation.pack(np.array([250.0, value]), PACKING["t"])


class FakeAtmosphere:
    """Weather without jcm: a logistic map, so that the future hangs on every digit of the saved state."""

    killed_after: int | None = None
    killed_while_saving_at: int | None = None
    version, lat, lon = "fake", np.array([-45.0, 45.0]), np.array([0.0, 120.0, 240.0])
    phis, lsm = np.zeros((2, 3)), np.ones((2, 3))

    def __init__(self, options):
        self.intervals, self.x = 0, 0.1 + options.seed / 100
        self.growth = options.physics.get("growth", 3.9)

    def advance(self):
        if self.intervals == FakeAtmosphere.killed_after:
            raise KeyboardInterrupt
        self.intervals, self.x = self.intervals + 1, logistic(self.growth, self.x)

    def go_on_from(self, other):
        self.intervals, self.x = other.intervals, other.x

    def fields(self, levels_hpa):
        shapes = {name: (len(levels_hpa), 2, 3) if packing.on_levels else (2, 3) for name, packing in PACKING.items()}
        return {name: np.full(shape, PACKING[name].lowest + self.x * 1e-2) for name, shape in shapes.items()}

    def save(self, path):
        if self.intervals == FakeAtmosphere.killed_while_saving_at:
            raise KeyboardInterrupt
        path.write_text(json.dumps([self.intervals, self.x]))

    def load(self, path):
        self.intervals, self.x = json.loads(path.read_text())


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(simulation, "Atmosphere", FakeAtmosphere)
    monkeypatch.setattr(FakeAtmosphere, "killed_after", None)
    monkeypatch.setattr(FakeAtmosphere, "killed_while_saving_at", None)
    return FakeAtmosphere


def contents(store):
    return {path.relative_to(store): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "kill", [("killed_after", n) for n in (0, 2, 3, 4, 6, 7, 11)] + [("killed_while_saving_at", n) for n in (4, 7, 12)]
)
def test_a_run_that_was_killed_ends_like_one_that_was_not(fake, tmp_path, kill):
    whole = simulation.simulate(tmp_path / "whole.zarr", **SHORT)
    setattr(fake, *kill)
    with pytest.raises(KeyboardInterrupt):
        simulation.simulate(tmp_path / "killed.zarr", **SHORT)
    setattr(fake, kill[0], None)
    resumed = simulation.simulate(tmp_path / "killed.zarr", **SHORT)
    assert contents(whole) == contents(resumed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.zarr", "whole.zarr"]


def logistic(growth, x):
    return growth * x * (1 - x)


TWIN = SHORT | {"physics": {"growth": 3.7}, "restart_days": 0.75}


def test_another_model_starts_again_from_the_usual_one(fake, tmp_path):
    usual, twin = (
        open_fields(simulation.simulate(tmp_path / name, **options)).t2m.values[:, 0, 0]
        for name, options in (("usual.zarr", SHORT), ("twin.zarr", TWIN))
    )
    lowest, scale = PACKING["t2m"].lowest, PACKING["t2m"].scale
    truth = [0.1]
    while len(truth) <= 4 + 8:  # a day of spin-up, two of weather
        truth.append(logistic(3.9, truth[-1]))
    truth, expected = truth[4:], []
    for frame in range(8):
        expected.append(logistic(3.7, truth[frame] if frame % 3 == 0 else expected[-1]))
    np.testing.assert_allclose(usual, lowest + 1e-2 * np.array(truth[1:]), atol=scale)
    np.testing.assert_allclose(twin, lowest + 1e-2 * np.array(expected), atol=scale)


def test_a_restarted_record_tells_how_long_ago_and_what_was_changed(fake, tmp_path):
    fields = open_fields(simulation.simulate(tmp_path / "twin.zarr", **TWIN))
    assert fields.forecast_period.values.tolist() == [6, 12, 18, 6, 12, 18, 6, 12]
    assert fields.forecast_period.attrs["standard_name"] == "forecast_period"
    assert "growth 3.7, started again every 0.75 days" in fields.attrs["title"]


@pytest.mark.parametrize("killed_after", [2, 6, 7, 8, 11])
def test_a_restarted_run_that_was_killed_ends_like_one_that_was_not(fake, tmp_path, killed_after):
    whole = simulation.simulate(tmp_path / "whole.zarr", **TWIN)
    fake.killed_after = killed_after
    with pytest.raises(KeyboardInterrupt):
        simulation.simulate(tmp_path / "killed.zarr", **TWIN)
    fake.killed_after = None
    assert contents(whole) == contents(simulation.simulate(tmp_path / "killed.zarr", **TWIN))


def test_a_chunk_ends_at_a_restart(fake, tmp_path):
    options = {name: value for name, value in TWIN.items() if name != "chunk_frames"}
    store = simulation.simulate(tmp_path / "twin.zarr", **options)
    assert json.loads(zarr.open_group(store).attrs["simulation"])["chunk_frames"] == 57


def test_a_record_of_before_physics_could_change_is_still_known(fake, tmp_path):
    store = simulation.simulate(tmp_path / "run.zarr", **SHORT)
    group = zarr.open_group(store)
    told = json.loads(group.attrs["simulation"])
    del told["physics"], told["restart_days"]
    group.attrs["simulation"] = json.dumps(told)
    assert simulation.simulate(store, **SHORT) == store
    with pytest.raises(SimulationError, match="physics"):
        simulation.simulate(store, **SHORT, physics={"growth": 3.8})


def test_a_run_goes_on_from_its_last_full_chunk(fake, tmp_path, monkeypatch):
    fake.killed_after = 4 + 5  # spin-up, one chunk of 3 frames, two of the next
    with pytest.raises(KeyboardInterrupt):
        simulation.simulate(tmp_path / "run.zarr", **SHORT)
    assert open_fields(tmp_path / "run.zarr").sizes["time"] == 3
    fake.killed_after, started_at = None, []
    monkeypatch.setattr(
        fake, "advance", lambda self, advance=fake.advance: (started_at.append(self.intervals), advance(self))
    )
    simulation.simulate(tmp_path / "run.zarr", **SHORT)
    assert started_at == [7, 8, 9, 10, 11]


def test_the_store_reads_as_fields_with_their_times_levels_and_origin(fake, tmp_path):
    store = simulation.simulate(tmp_path / "run.zarr", start="2001-06-30", levels_hpa=(850, 300), **SHORT)
    fields = open_fields(store)
    assert dict(fields.sizes) == {"time": 8, "level": 2, "lat": 2, "lon": 3}
    assert fields.time.values[0] == np.datetime64("2001-06-30T00") and fields.time.values[-1] == np.datetime64(
        "2001-07-01T18"
    )
    assert fields.level.values.tolist() == [300.0, 850.0]
    for name, packing in PACKING.items():
        assert (
            fields[name].attrs["units"] == packing.units
            and fields[name].attrs["standard_name"] == packing.standard_name
        )
        assert fields[name].notnull().all()
    assert fields.attrs["Conventions"] == "CF-1.11" and json.loads(fields.attrs["simulation"])["seed"] == 0
    assert zarr.open_group(store)["t"].fill_value == -32768 == zarr.open_group(store)["t"].attrs["_FillValue"]


def test_a_finished_run_says_so_and_does_nothing(fake, tmp_path, capsys):
    store = simulation.simulate(tmp_path / "run.zarr", **SHORT)
    before, fake.killed_after = contents(store), 0
    assert simulation.simulate(store, **SHORT | {"progress": True}) == store
    assert "is already finished" in capsys.readouterr().err and contents(store) == before


def test_overwrite_starts_anew(fake, tmp_path):
    first = contents(simulation.simulate(tmp_path / "run.zarr", **SHORT))
    second = contents(simulation.simulate(tmp_path / "run.zarr", seed=1, overwrite=True, **SHORT))
    assert first != second and [path.name for path in tmp_path.iterdir()] == ["run.zarr"]


def test_an_overwrite_that_was_killed_while_it_removed_the_old_store_is_gone_on_with(fake, tmp_path, monkeypatch):
    simulation.simulate(tmp_path / "run.zarr", **SHORT)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(simulation.shutil, "rmtree", killed)
        simulation.simulate(tmp_path / "run.zarr", seed=1, overwrite=True, **SHORT)
    assert not (tmp_path / "run.zarr").exists()
    simulation.simulate(tmp_path / "run.zarr", seed=1, **SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["run.zarr"]


def killed(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("finished", [True, False])
def test_other_options_are_refused_and_named(fake, tmp_path, finished):
    fake.killed_after = None if finished else 8
    try:
        simulation.simulate(tmp_path / "run.zarr", **SHORT)
    except KeyboardInterrupt:
        assert not finished
    with pytest.raises(SimulationError) as refusal:
        simulation.simulate(tmp_path / "run.zarr", seed=7, **SHORT | {"days": 3})
    message = str(refusal.value)
    assert "days 2.0 (requested: 3.0)" in message and "seed 0 (requested: 7)" in message
    assert "truncation" not in message and "\n" not in message


def test_an_unfinished_run_is_not_continued_by_another_version_of_the_model(fake, tmp_path, monkeypatch):
    fake.killed_after = 8
    with pytest.raises(KeyboardInterrupt):
        simulation.simulate(tmp_path / "run.zarr", **SHORT)
    monkeypatch.setattr(fake, "version", "newer")
    with pytest.raises(SimulationError, match=r"jcm fake \(requested: newer\)"):
        simulation.simulate(tmp_path / "run.zarr", **SHORT)


def test_what_is_no_simulated_record_is_never_overwritten(fake, tmp_path):
    (tmp_path / "thesis").mkdir()
    xr.Dataset({"x": ("time", [1.0])}).to_zarr(tmp_path / "other.zarr", consolidated=False)
    (tmp_path / "file.nc").write_bytes(b"CDF")
    for name in ("thesis", "other.zarr", "file.nc"):
        with pytest.raises(SimulationError, match="is not a simulated record"):
            simulation.simulate(tmp_path / name, overwrite=True, **SHORT)
        assert (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("physics", "remedy"),
    [({}, r"Use another seed\."), ({"growth": 3.8}, r"Use values closer to jcm's own, or another seed\.")],
)
def test_a_model_that_leaves_plausible_weather_stops_the_run(fake, tmp_path, monkeypatch, physics, remedy):
    fields = fake.fields

    def blown_up(self, levels_hpa):
        return fields(self, levels_hpa) | ({"msl": np.full((2, 3), np.nan)} if self.intervals > 9 else {})

    monkeypatch.setattr(fake, "fields", blown_up)
    with pytest.raises(SimulationError, match=rf"unstable on day 1\.25: mean sea-level pressure has left .* {remedy}"):
        simulation.simulate(tmp_path / "run.zarr", **SHORT, physics=physics)
    assert open_fields(tmp_path / "run.zarr").sizes["time"] == 3


@pytest.mark.parametrize(
    "option",
    [
        {"truncation": 30},
        {"days": 0},
        {"days": 0.1},
        {"days": float("inf")},
        {"seed": -1},
        {"interval_h": 5},
        {"interval_h": 0},
        {"levels_hpa": (500, 500)},
        {"levels_hpa": ()},
        {"levels_hpa": (10,)},
        {"levels_hpa": (50000,)},
        {"spin_up_days": -1},
        {"chunk_frames": -1},
        {"chunk_frames": 0},
        {"restart_days": float("inf"), "physics": {"growth": 3.8}, "chunk_frames": None},
        {"restart_days": float("nan"), "physics": {"growth": 3.8}, "chunk_frames": None},
        {"physics": {"growth": float("nan")}},
        {"physics": {"growth": float("inf")}},
        {"restart_days": 0.1, "physics": {"growth": 3.8}},
        {"restart_days": -1, "physics": {"growth": 3.8}},
        {"physics": {}, "restart_days": 0.75},
        {"chunk_frames": 4, "restart_days": 0.75, "physics": {"growth": 3.8}},
        {"start": "yesterday"},
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(fake, tmp_path, option):
    with pytest.raises(SimulationError, match=f"{next(iter(option))} is .*, expected"):
        simulation.simulate(tmp_path / "run.zarr", **SHORT | option)
    assert not list(tmp_path.iterdir())


def test_without_jcm_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jcm", None)
    with pytest.raises(SimulationError, match=r"pip install 'statecast\[sim\]'"):
        simulation.simulate(tmp_path / "run.zarr", **SHORT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", [simulation, simulator])
def test_importing_the_module_imports_no_jax(module):
    top_level = [
        node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {alias.name for node in top_level for alias in node.names} | {
        getattr(node, "module", None) for node in top_level
    }
    assert "statecast.fields.sources.pressure_levels" in names and not names & {"jax", "jcm", "dinosaur"}


T21_OPTIONS = simulation.SimulationOptions(21, 1.0, "2000-01-01T00:00:00", 0, (500.0, 850.0), 6, 0, 2)
T21 = {"truncation": 21, "days": 1, "spin_up_days": 0, "chunk_frames": 2, "progress": False}


@pytest.fixture(scope="module")
def t21():
    """One compiled model for all tests: compiling takes most of the time."""
    pytest.importorskip("jcm", reason="the extra `sim` is not installed")
    return simulation.Atmosphere(T21_OPTIONS)


@pytest.fixture
def simulated(t21, monkeypatch):
    made = simulation.Atmosphere

    def at_rest(options):
        if options.physics:  # its start is that of `t21`, whose state it may take over
            return made(replace(T21_OPTIONS, physics=options.physics))
        t21._model.bootstrap_state(t21._at_rest(options.seed))
        t21.intervals = 0
        return t21

    monkeypatch.setattr(simulation, "Atmosphere", at_rest)
    return simulation.simulate


def test_the_model_killed_in_its_second_chunk_ends_identical(simulated, t21, tmp_path, monkeypatch):
    whole = simulated(tmp_path / "whole.zarr", **T21)

    def advance_or_die():
        if t21.intervals == 3:
            raise KeyboardInterrupt
        type(t21).advance(t21)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(t21, "advance", advance_or_die)
        simulated(tmp_path / "killed.zarr", **T21)
    assert open_fields(tmp_path / "killed.zarr").sizes["time"] == 2
    assert contents(simulated(tmp_path / "killed.zarr", **T21)) == contents(whole)


def test_a_lost_or_broken_state_is_refused(t21, tmp_path):
    with pytest.raises(SimulationError, match=r"run\.zarr\.state: is missing"):
        t21.load(tmp_path / "run.zarr.state")
    (tmp_path / "run.zarr.state").write_bytes(b"half")
    with pytest.raises(SimulationError, match=r"run\.zarr\.state: is not the state of this run"):
        t21.load(tmp_path / "run.zarr.state")


def test_a_parameter_that_there_is_not_is_refused_with_those_there_are(t21):
    with pytest.raises(SimulationError, match=r"convection\.depth: is not a parameter of SPEEDY.*convection\.trcnv"):
        simulation.Atmosphere(replace(T21_OPTIONS, physics={"convection.depth": 1.0}))


@pytest.mark.timeout(400)  # compiles a model of its own
def test_changed_convection_makes_an_error_that_grows_and_starts_again(simulated, tmp_path):
    shared = T21 | {"days": 2, "spin_up_days": 10, "chunk_frames": 4}
    usual, twin = (
        open_fields(simulated(tmp_path / name, **shared, **changes))
        for name, changes in (
            ("usual.zarr", {}),
            ("twin.zarr", {"physics": {"convection.trcnv": 24.0}, "restart_days": 1}),
        )
    )
    error = np.sqrt(((twin.t - usual.t) ** 2).mean(("level", "lat", "lon"))).values
    assert (error > 0).all() and error[3] > error[0] > error[4] * 0.3 and error[4] < error[3]


def test_other_seeds_are_other_weather(simulated, tmp_path):
    first, second = (
        open_fields(simulated(tmp_path / f"{seed}.zarr", seed=seed, **T21 | {"days": 0.25})) for seed in (0, 1)
    )
    assert float(np.abs(first.msl - second.msl).max()) > 10.0


def test_the_atmosphere_at_rest_is_balanced_over_the_mountains(simulated, tmp_path):
    fields = open_fields(simulated(tmp_path / "run.zarr", **T21 | {"days": 0.25}))
    assert (
        float(fields.orog.max()) > 3000.0
        and 0.25 < float(fields.lsm.weighted(np.cos(np.deg2rad(fields.lat))).mean()) < 0.35
    )
    assert float(fields.msl.std() / fields.msl.mean()) < 0.005  # mountains would show by tens of percent
    assert float(np.abs(fields.u).max()) < 10.0 and float(fields.t2m.min()) > 250.0 and float(fields.t2m.max()) < 320.0
    thickness = (fields.z.sel(level=500) - fields.z.sel(level=850)) / (
        GAS_CONSTANT * np.log(850 / 500)
    )  # mean temperature, hydrostatic
    np.testing.assert_allclose(thickness, fields.t.mean("level"), rtol=0.02)
