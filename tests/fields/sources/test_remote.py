"""Stores behind a URL: kept in a local cache, read in spite of failing requests, and a server that dies is told."""

import json
import os
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import statecast as sc
from statecast.fields.sources import Record, StoreError, open_fields, record, remote
from statecast.fields.sources.cache import CacheOptions
from statecast.fields.streams import Stream
from statecast.trained import load

T = Stream(variables=("t",), levels=(500, 850))
QUICK = remote.Patience(tries=3, tries_of_metadata=3, first_pause_s=0.001, rest_s=60.0)


class Server(ThreadingHTTPServer):
    """The files below a folder, behind http with ranges. It counts requests, waits before each answer, and fails where it is told to.

    fails  says of each request, by its number, whether it fails
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.asked, self.wait_s = folder, [], 0.0
        self.fails = lambda number: False
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/store.zarr"

    @property
    def chunks_asked(self) -> list[str]:
        return [path for path in self.asked if not remote.is_metadata(path)]

    def handle_error(self, request, client_address) -> None:
        """A client that left is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.path)
        time.sleep(server.wait_s)
        file = server.folder / self.path.lstrip("/")
        if server.fails(len(server.asked)):
            return self._answer(503, b"")
        if not file.is_file():
            return self._answer(404, b"")
        content, status = file.read_bytes(), 200
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            content = content[int(first) : int(last) + 1 if last else None] if first else content[-int(last) :]
            status = 206
        return self._answer(status, content, {"Last-Modified": self.date_time_string(file.stat().st_mtime)})

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "IN_MEMORY_GIB", 0.0)
    monkeypatch.setattr(remote, "PATIENCE", QUICK)
    started = Server(tmp_path)
    yield started
    started.shutdown()
    started.server_close()


def write(store: xr.Dataset, folder: Path, zarr_format: int, **encoding) -> None:
    """A store in chunks of 6 time steps; of format 3 in shards of 12."""
    sizes = {"time": 6} | encoding
    chunks = {name: [sizes.get(d, store.sizes[d]) for d in store[name].dims] for name in ("t", "msl")}
    encodings = {name: {"chunks": part} for name, part in chunks.items()}
    if zarr_format == 3:
        for name, part in chunks.items():
            encodings[name]["shards"] = [2 * part[0], *part[1:]]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        store[["t", "msl"]].to_zarr(folder / "store.zarr", mode="w", zarr_format=zarr_format, encoding=encodings)


def cache_of(tmp_path, size_gb=0.1) -> CacheOptions:
    return CacheOptions(path=str(tmp_path / "cache"), size_gb=size_gb)


def read(url: str, cache: CacheOptions | None = None) -> np.ndarray:
    return Record.open(open_fields(url, cache=cache), T).read(slice(3, 15))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_second_epoch_reads_nothing_from_the_network(make_store, tmp_path, server, zarr_format):
    write(make_store(), tmp_path, zarr_format)
    server.wait_s = 0.005
    opened = Record.open(open_fields(server.url, cache=cache_of(tmp_path)), T)
    first = opened.read(slice(3, 15))
    asked = len(server.asked)
    np.testing.assert_array_equal(opened.read(slice(3, 15)), first)
    assert len(server.asked) == asked
    np.testing.assert_array_equal(first, Record.open(open_fields(tmp_path / "store.zarr"), T).read(slice(3, 15)))


def test_another_run_reads_metadata_alone(make_store, tmp_path, server):
    write(make_store(), tmp_path, 2)
    values = read(server.url, cache_of(tmp_path))
    server.asked.clear()
    np.testing.assert_array_equal(read(server.url, cache_of(tmp_path)), values)
    assert server.asked and not server.chunks_asked


def test_a_chunk_that_is_not_there_is_asked_for_once(make_store, tmp_path, server):
    write(make_store(), tmp_path, 2)
    (tmp_path / "store.zarr" / "t" / "1.0.0.0").unlink()
    opened = Record.open(open_fields(server.url, cache=cache_of(tmp_path)), T)
    values = opened.read(slice(0, 12))
    assert np.isnan(values[6:]).all() and np.isfinite(values[:6]).all()
    server.asked.clear()
    opened.read(slice(0, 12))
    assert not server.asked


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_store_that_was_written_again_is_not_served_from_old_chunks(make_store, tmp_path, server, zarr_format):
    """Its metadata are the same to the letter; the time at which they were written is not."""
    write(make_store(seed=0), tmp_path, zarr_format)
    old = read(server.url, cache_of(tmp_path))
    write(make_store(seed=1), tmp_path, zarr_format)
    later = time.time() + 1  # HTTP tells seconds
    for name in ("zarr.json", ".zmetadata", "t/.zarray", "t/zarr.json"):
        if (file := tmp_path / "store.zarr" / name).exists():
            os.utime(file, (later, later))
    new = read(server.url, cache_of(tmp_path))
    assert (new != old).all()
    np.testing.assert_array_equal(new, read(str(tmp_path / "store.zarr")))


def test_every_tenth_request_fails_and_all_is_read(make_store, tmp_path, server):
    write(make_store(), tmp_path, 3)
    server.fails = lambda number: number % 10 == 0
    np.testing.assert_array_equal(read(server.url, cache_of(tmp_path)), read(str(tmp_path / "store.zarr")))
    assert len(server.asked) >= 10


def test_a_server_that_dies_is_told_by_variable_time_and_chunk(make_store, tmp_path, server):
    write(make_store(), tmp_path, 2)
    opened = Record.open(open_fields(server.url, cache=cache_of(tmp_path)), T)
    opened.read(slice(0, 6))
    server.fails = lambda number: True
    opened.read(slice(0, 6))  # is in the cache
    with pytest.raises(StoreError) as error:
        opened.read(slice(3, 15))
    said = str(error.value)
    assert said.startswith(f"variable 't': chunk 1.0.0.0 can't be fetched from {server.url} (") and "3 tries" in said
    assert said.endswith("It is needed at 2001-01-31T12:00:00.") and "\n" not in said and len(said) <= 280


RECIPE = {
    "streams": {"s": {"variables": ["t"], "levels": [500], "patch": [2, 6, 6]}},
    "task": {"kind": "masked", "slabs": 2},
    "model": {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 2},
    "training": {"steps": 3, "batch_size": 1, "checkpoint_every": 1, "footprint": False, "loggers": []},
}


def test_a_training_that_a_dead_server_stopped_resumes_to_the_same_weights(make_store, tmp_path, server):
    write(make_store(), tmp_path, 2)
    cache = {"path": str(tmp_path / "cache"), "size_gb": 2e-5}  # less than one chunk: each is fetched again
    data = {"store": str(tmp_path / "store.zarr"), "train": ["2001-01-30", "2001-02-01"]}
    sc.pretrain(RECIPE | {"data": data}, tmp_path / "whole", progress=False)
    recipe, run = RECIPE | {"data": data | {"store": server.url, "cache": cache}}, tmp_path / "stopped"
    server.fails = lambda number: bool(list(tmp_path.glob("stopped*/checkpoints/*.ckpt")))
    with pytest.raises(StoreError, match=r"variable 't': chunk \d.0.0.0 can't be fetched"):
        sc.pretrain(recipe, run, progress=False)
    server.fails = lambda number: False
    sc.pretrain(recipe, run, progress=False, resume=True)
    whole, stopped = (load(tmp_path / run).model.state_dict() for run in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_a_bucket_is_read_from_the_cache(make_store, tmp_path, monkeypatch):
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    bucket = moto.ThreadedMotoServer(port=0, verbose=False)
    bucket.start()
    host, port = bucket.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    import s3fs

    s3fs.S3FileSystem().mkdir("weather")
    make_store().to_zarr("s3://weather/store.zarr", zarr_format=2)
    opened = Record.open(open_fields("s3://weather/store.zarr", cache=cache_of(tmp_path)), T)
    first = opened.read(slice(3, 15))
    make_store(seed=1).to_zarr("s3://weather/store.zarr", zarr_format=2, mode="w")
    other = Record.open(open_fields("s3://weather/store.zarr", cache=cache_of(tmp_path)), T).read(slice(3, 15))
    bucket.stop()
    np.testing.assert_array_equal(opened.read(slice(3, 15)), first)
    assert (other != first).all()


def test_the_recipe_of_weatherbench_trains_on_a_store_of_its_layout(tmp_path, server):
    """Format 2, dimensions (time, level, longitude, latitude), the names and levels of the public store."""
    levels = [50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000]
    coords = {
        "time": pd.date_range("2017-12-28", "2018-01-02T18", freq="6h"),
        "level": ("level", levels),
        "longitude": ("longitude", np.arange(64) * 5.625, {"standard_name": "longitude", "units": "degrees_east"}),
        "latitude": ("latitude", np.linspace(-87.1875, 87.1875, 32), {"standard_name": "latitude"}),
    }
    random, fields = np.random.default_rng(0), {}
    names = {"geopotential": "m**2 s**-2", "temperature": "K", "u_component_of_wind": "m s**-1"}
    names |= {"v_component_of_wind": "m s**-1", "2m_temperature": "K", "mean_sea_level_pressure": "Pa"}
    for name, units in names.items():
        dims = ("time", "longitude", "latitude") if name.startswith(("2m", "mean")) else tuple(coords)
        shape = [len(coords["time"]) if d == "time" else len(coords[d][1]) for d in dims]
        fields[name] = (dims, random.normal(size=shape).astype(np.float32), {"units": units})
    store = xr.Dataset(fields, coords)
    encoding = {name: {"chunks": [9, *array.shape[1:]]} for name, array in store.data_vars.items()}
    store.to_zarr(tmp_path / "store.zarr", zarr_format=2, encoding=encoding)
    small = {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 2}
    overrides = [f"data.store={server.url}", f"data.cache.path={tmp_path / 'cache'}", "data.cache.size_gb=0.1"]
    overrides += [f"model.{key}={value}" for key, value in small.items()]
    overrides += ["training.steps=1", "training.batch_size=1", "training.workers=0", "training.footprint=false"]
    overrides += ["training.validation_samples=1", "training.loggers=[]"]
    trained = sc.pretrain("weatherbench2", tmp_path / "run", overrides=overrides, progress=False)
    assert [str(c) for c in trained.codecs["surface"].climatology.channels] == list(names)[-2:]
    assert trained.codecs["atmosphere"].climatology.grid.shape == (32, 64)
    chunks = [path for path in server.chunks_asked if path.split("/")[2] in names]
    assert len(chunks) == len(set(chunks))


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        ("{path: file, size_gb: 1}", "data.cache.path file: is a file, expected a directory. Name another."),
        ("{path: file/below, size_gb: 1}", "data.cache.path file/below: can't be written (Not a directory)."),
        ("{path: cache, size_gb: 0}", "data.cache.size_gb"),
        ("{path: cache, size_gb: 900000}", "is more than the disk of cache has room for"),
        ("{path: cache}", "data.cache.size_gb"),
        ("cache", "data.cache"),
    ],
)
def test_a_cache_that_can_not_be_stops_the_command_with_one_line(tmp_path, server, statecast, cache, said):
    Path("file").touch()
    (tmp_path / "r.yaml").write_text(json.dumps(RECIPE | {"data": {"store": server.url, "train": ["2001", "2001"]}}))
    code, error = statecast("pretrain", "r.yaml", "--out", "run", f"data.cache={cache}")
    assert code == 2 and said in error and error.count("\n") == 1 and len(error) <= 300
    assert not Path("run").exists() and not server.asked
