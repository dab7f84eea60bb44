"""Small synthetic records, tokens of two streams of fields, and a small model that knows them."""

import gc
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr
from elsewhere import NAME, emulated
from forked import pretrain_until_killed, start

import statecast
from statecast import cli, trained
from statecast.axes import SURFACE_PRESSURE_HPA, Axis, column_names
from statecast.fields.anchors import field_spec
from statecast.fields.prepare.inputs import load_projections
from statecast.fields.sources import Record, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.fields.tokenizers.fields import solar_time_rad
from statecast.models import ModelOptions, StateModel
from statecast.streams import Question, Tokens, TokenSpec, Window

load_projections()  # before a test lets xarray load ecCodes

MakeStore = Callable[..., xr.Dataset]
MakeTokens = Callable[..., Tokens]
MakeModel = Callable[..., StateModel]

PLACE_AND_TIME = (Axis("place", "sphere", "degree", 30.0), Axis("time", "time", "h"))
FIVE_VALUES = TokenSpec(size=5, axes=PLACE_AND_TIME, order="time")
STEP_H, DEPTH = 6.0, 2
LEVELS = {"air": (500.0, 850.0), "surface": (SURFACE_PRESSURE_HPA,)}
SPECS = {
    "air": field_spec(2, (DEPTH, 1, 2), STEP_H, token_deg=30.0),
    "surface": field_spec(1, (DEPTH, 1, 1), STEP_H, token_deg=30.0),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--answers-on",
        default="cpu",
        choices=["cpu", "cuda", NAME],
        help="device of the models that a test loads or trains",
    )


@pytest.fixture(scope="session", autouse=True)
def shared_models_are_here() -> Iterator[None]:
    """Models that tests share are on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "best_device", lambda: "cpu")
        yield


@pytest.fixture(autouse=True)
def answers_on(request, monkeypatch, shared_models_are_here) -> Iterator[None]:
    """Models that a test loads or trains answer where the command line says: every answer of every domain can be tried on a device."""
    name = request.config.getoption("--answers-on")
    monkeypatch.setattr(trained, "best_device", lambda: name)
    with emulated() if name == NAME else nullcontext():
        yield


def pytest_collection_finish() -> None:
    """Objects of imported modules are never garbage; each training collects garbage, which took 0.6 s with them and takes 0.05 s."""
    gc.collect()
    gc.freeze()


def _coordinate(values, standard_name, units):
    return values, {"standard_name": standard_name, "units": units}


@pytest.fixture(scope="session")
def make_store() -> MakeStore:
    """A store with t and u on three levels, msl and t2m at the surface, and a static mask lsm."""

    def make(
        *,
        steps: int = 24,
        start: str = "2001-01-30",
        step_h: int = 6,
        calendar: str = "standard",
        lat: np.ndarray | None = None,
        lon: np.ndarray | None = None,
        missing: float = 0.0,
        seed: int = 0,
    ) -> xr.Dataset:
        random = np.random.default_rng(seed)
        lat = np.linspace(-82.5, 82.5, 12) if lat is None else lat
        lon = np.arange(24) * 15.0 if lon is None else lon
        level = np.array([500.0, 700.0, 850.0])
        time = xr.date_range(
            start, periods=steps, freq=f"{step_h}h", calendar=calendar, use_cftime=calendar != "standard"
        )

        def field(*shape: int, mean: float, std: float, units: str) -> tuple[np.ndarray, dict[str, str]]:
            values = mean + std * random.standard_normal(shape)
            values[random.uniform(size=shape) < missing] = np.nan
            return values.astype(np.float32), {"units": units}

        with_levels, surface = (steps, 3, len(lat), len(lon)), (steps, len(lat), len(lon))
        return xr.Dataset(
            {
                "t": (("time", "level", "lat", "lon"), *field(*with_levels, mean=270, std=10, units="K")),
                "u": (("time", "level", "lat", "lon"), *field(*with_levels, mean=5, std=8, units="m s-1")),
                "msl": (("time", "lat", "lon"), *field(*surface, mean=1.0e5, std=900, units="Pa")),
                "t2m": (("time", "lat", "lon"), *field(*surface, mean=285, std=12, units="K")),
                "lsm": (("lat", "lon"), random.integers(2, size=surface[1:]).astype(np.float32), {"units": "1"}),
            },
            coords={
                "time": time,
                "level": ("level", *_coordinate(level, "air_pressure", "hPa")),
                "lat": ("lat", *_coordinate(lat, "latitude", "degrees_north")),
                "lon": ("lon", *_coordinate(lon, "longitude", "degrees_east")),
            },
        )

    return make


@pytest.fixture
def global_store(make_store: MakeStore) -> xr.Dataset:
    """Ten days from the end of January, every six hours, a tenth of the values missing."""
    return open_fields(make_store(steps=40, missing=0.1))


@pytest.fixture
def regional_store(make_store: MakeStore) -> xr.Dataset:
    """6 x 9 points from 30 to 42.5 degrees north and 100 to 120 degrees east."""
    return open_fields(make_store(lat=30 + 2.5 * np.arange(6), lon=100 + 2.5 * np.arange(9)))


@pytest.fixture
def layered_stream() -> Stream:
    """Two variables on two levels and one at the surface; all share a token."""
    return Stream(variables=("t", "msl", "u"), levels=(850.0, 500.0), patch=(2, 3, 4))


@pytest.fixture
def global_record(global_store: xr.Dataset, layered_stream: Stream) -> Record:
    return Record.open(global_store, layered_stream)


@pytest.fixture
def global_tokenizer(global_record: Record, layered_stream: Stream) -> FieldTokenizer:
    return FieldTokenizer(layered_stream, fit_climatology(global_record))


@pytest.fixture
def make_tokens() -> MakeTokens:
    """Tokens of a stream, two samples at the given slabs in time, on three rows of four columns at each of its levels."""

    def make(stream: str, slabs: tuple[int, ...] = (0, 1, 2), seed: int = 0) -> Tokens:
        random, spec = torch.Generator().manual_seed(seed), SPECS[stream]
        lat, lon = torch.tensor([-60.0, 5.0, 70.0]), torch.arange(4) * 90.0
        offset = torch.tensor(slabs) * DEPTH * STEP_H + (DEPTH - 1) / 2 * STEP_H
        place = torch.cartesian_prod(torch.tensor(LEVELS[stream]), offset, lat, lon)
        found = dict(zip(("pressure_hpa", "offset_h", "latitude_deg", "longitude_deg"), place.T, strict=True))
        found["hour_utc"] = found["offset_h"] % 24
        found["solar_time_rad"] = solar_time_rad(found["hour_utc"], found["longitude_deg"])
        found |= {"year_fraction": torch.full((len(place),), 0.3), "spacing_deg": torch.full((len(place),), 15.0)}
        coords = torch.stack([found[column] for column in column_names(spec.axes)], dim=-1)
        observed = torch.rand(2, len(coords), spec.size, generator=random) > 0.1
        values = torch.randn(2, len(coords), spec.size, generator=random) * observed
        area = torch.cos(torch.deg2rad(found["latitude_deg"])).expand(2, -1)
        return Tokens(values, coords.expand(2, -1, -1).clone(), observed, spec, weight=area)

    return make


@pytest.fixture
def question(make_tokens: MakeTokens) -> Question:
    """Slabs 0 and 2 of both streams are shown, slab 1 is asked."""
    return Question(
        {name: make_tokens(name, (0, 2), seed=1) for name in SPECS},
        {name: make_tokens(name, (1,), seed=2) for name in SPECS},
    )


@pytest.fixture
def make_model() -> MakeModel:
    """A small model of both streams whose weights are drawn from a seed; the global random state is left as it was."""

    def make(seed: int = 0, **options) -> StateModel:
        small = {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 4}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return StateModel(ModelOptions(**(small | options)), SPECS)

    return make


def stream_of(slabs: int, rows: int, columns: int, hours: float) -> Tokens:
    """Tokens of `slabs` x `rows` x `columns`, one a slab of `hours`; every fifth value is not observed."""
    lat, lon = np.linspace(-75, 75, rows), np.arange(columns) * 360 / columns
    offset = np.arange(slabs) * hours + hours / 2
    axes = np.meshgrid(offset, lat, lon, indexing="ij")
    names = column_names(PLACE_AND_TIME)
    coords = np.zeros((slabs * rows * columns, len(names)), np.float32)
    for name, axis in zip(("offset_h", "latitude_deg", "longitude_deg"), axes, strict=True):
        coords[:, names.index(name)] = axis.reshape(-1)
    values = torch.arange(1.0, len(coords) + 1)[:, None] + torch.zeros(1, 5)
    observed = torch.ones_like(values, dtype=torch.bool)
    observed[:, 4] = False
    return Tokens(values * observed, torch.from_numpy(coords), observed, FIVE_VALUES)


@pytest.fixture
def window() -> Window:
    """Two streams whose tokens can be told apart: the first value is the token's number.

    Four slabs of 18 h: stream a has tokens as deep, those of b are half as deep.
    """
    return {"a": stream_of(4, 6, 10, 18.0), "b": stream_of(8, 3, 5, 9.0)}


class Runs(NamedTuple):
    """A tiny store with a pre-trained and a fine-tuned run on it, made once by a session."""

    store: str
    held_out: tuple[str, str]
    recipe: dict[str, Any]
    tuning: dict[str, Any]
    pretrained: Path
    forecast: Path


def weather(days: int = 55) -> xr.Dataset:
    """Waves that travel eastwards on an 8 × 16 grid, 6-hourly from 2000-01-01, with noise; `nothing` is missing everywhere."""
    lat, lon, levels = np.linspace(-78.75, 78.75, 8), np.arange(16) * 22.5, np.array([500.0, 850.0])
    time = np.datetime64("2000-01-01", "ns") + np.arange(4 * days) * np.timedelta64(6, "h")
    hours = np.arange(4 * days)[:, None, None, None] * 6.0
    wave = np.sin(np.deg2rad(2 * lon)[None, None, None] - hours / 20) * np.cos(np.deg2rad(lat))[None, None, :, None]
    noise = 0.1 * np.random.default_rng(0).standard_normal((4 * days, 2, 8, 16))
    t = (250 + 10 * wave + levels[None, :, None, None] / 50 + noise).astype(np.float32)
    dims = ("time", "level", "lat", "lon")
    flat = (dims[0], *dims[2:])
    return xr.Dataset(
        {
            "t": (dims, t, {"units": "K", "standard_name": "air_temperature"}),
            "msl": (flat, (1e5 + 10 * t[:, 1]).astype(np.float32), {"units": "Pa"}),
            "nothing": (flat, np.full((4 * days, 8, 16), np.nan, np.float32)),
        },
        coords={
            "time": time,
            "level": ("level", levels, {"units": "hPa", "standard_name": "air_pressure"}),
            "lat": lat,
            "lon": lon,
        },
    )


@pytest.fixture
def make_weather() -> MakeStore:
    """Travelling waves over so many days, see `weather`."""
    return weather


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    weather().to_zarr(folder / "store.zarr", zarr_format=3, consolidated=False)
    store = str(folder / "store.zarr")
    recipe = {
        "data": {"store": store, "train": ["2000-01-01", "2000-01-31"], "validate": ["2000-02-01", "2000-02-05"]},
        "streams": {"fields": {"variables": ["t", "msl"], "levels": [500, 850], "patch": [2, 2, 2]}},
        "task": {"kind": "masked", "slabs": 2},
        "model": {"width": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "members": 4},
        "training": {"steps": 4, "batch_size": 2, "validate_every": 2, "validation_samples": 2, "footprint": False},
    }
    tuning = {
        "task": {"kind": "forecast", "history": 1, "leads": 1},
        "training": {"steps": 3, "batch_size": 2, "validation_samples": 2, "footprint": False},
    }
    statecast.pretrain(recipe, folder / "pretrained", progress=False)
    statecast.finetune(tuning, folder / "pretrained", folder / "forecast", progress=False)
    return Runs(store, ("2000-02-10", "2000-02-24"), recipe, tuning, folder / "pretrained", folder / "forecast")


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.gpu), "elsewhere"])
def device(request) -> Iterator[str]:
    """A GPU, if there is one, and a device on the CPU that refuses what a GPU would refuse (`elsewhere`)."""
    if request.param == "elsewhere":
        if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
            pytest.skip("this torch has no backends in Python")
        with emulated() as name:
            yield name
        return
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    yield request.param


@pytest.fixture
def scores_of() -> Callable[[Iterable[dict]], dict[str, dict[tuple, float]]]:
    """The values of the scores of each forecast, from the records of `scores.json`."""

    def scores(records):
        found = {}
        for r in records:
            what = (r["task"], r["metric"], r["variable"], r["level_hpa"], r["lead_time_h"])
            found.setdefault(r["forecast"], {})[what] = r["value"]
        return found

    return scores


@pytest.fixture(name="statecast")
def run_statecast(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder, in this process; returns its exit code and what it wrote to standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["statecast", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code or 0, capsys.readouterr().err

    return run


@pytest.fixture
def require_same_bits_after_a_kill(tmp_path) -> Callable[[dict, type, int], None]:
    """Checks that a pre-training whose process was killed by SIGKILL when it had drawn so many samples of a class of sources, and that was
    resumed, leaves the same model, to the bit, as one that was not."""

    def check(recipe: dict, source: type, samples: int) -> None:
        whole, run, output = tmp_path / "whole", tmp_path / "run", tmp_path / "output"
        killed = start(pretrain_until_killed, recipe, run, source, samples, output=output)
        statecast.pretrain(recipe, whole, progress=False)
        killed.join()
        assert killed.exitcode == -signal.SIGKILL, output.read_text()
        assert (tmp_path / "run.unfinished" / "checkpoints").is_dir()
        statecast.pretrain(recipe, run, resume=True, progress=False)
        files = sorted((whole / "model").rglob("*.safetensors"))
        assert files
        for file in files:
            assert file.read_bytes() == (run / file.relative_to(whole)).read_bytes(), file.name

    return check
