"""How fast are random windows read, beside a raw read of the same chunks, plain xarray and xbatcher?

    python benchmarks/loader.py [--gigabytes 0.5] [--chunk 18 27 54] [--windows 20] [--turns 5] [--folder DIR] [--smoke]

Makes a record as `data prepare` lays it out: hourly, 1 degree, two variables with five levels; the weather of a shard is repeated in
all, so that a long record costs a copy. Draws windows of 36 h x 54 x 108 points. The readers take turns over the same windows; before each
turn the kernel is told to forget the files (posix_fadvise), so that a record of any length is read from the disk. Prints medians of
windows/s and MB/s of the windows, milliseconds of CPU a window, and how many times as fast ours is as each other, by wall clock and by CPU.

raw       the compressed bytes of as many chunks as the window touches, contiguous on the disk, read and decompressed one after another
ours      `Record.read`, which a training calls
zarr-python  the same, with chunks read and decoded by zarr-python
zarrs     the same, with zarr-python's pipeline of codecs replaced by that of zarrs, if it is installed
xarray    `xr.open_zarr(chunks=None)`, isel, load
xbatcher  its windows of the same extent, dask below, if it is installed
"""

import argparse
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from numcodecs.blosc import decompress

from statecast.fields.prepare import store as stores
from statecast.fields.prepare.spec import Spec
from statecast.fields.sources import Record, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import Place, WindowSampler

WINDOW = (36, 54, 108)
GRID, SMALL = (181, 360), (60, 120)  # rows and columns; of a smoke run
LEVELS = (500.0, 600.0, 700.0, 850.0, 925.0)
VARIABLES = ("t", "u")
STEPS_PER_SHARD = 72
STRIDES = (7, 11, 13)  # of the windows of xbatcher, which knows no random ones: they begin anywhere in a chunk
NOISE, BLUR = 0.1, 6


def make_record(path: Path, gigabytes: float, chunk: Sequence[int], grid: tuple[int, int]) -> None:
    per_step = 4 * len(VARIABLES) * len(LEVELS) * grid[0] * grid[1]
    shards = max(1, round(gigabytes * 1e9 / per_step / STEPS_PER_SHARD))
    spec = Spec.model_validate(
        {
            "source": {"paths": ["none"]},
            "store": {"window": list(chunk), "steps_per_shard": STEPS_PER_SHARD},
        }
    )
    steps = STEPS_PER_SHARD * shards
    coords = {
        "time": pd.date_range("2000-01-01", periods=steps, freq="h"),
        "level": ("level", list(LEVELS), {"units": "hPa", "standard_name": "air_pressure"}),
        "lat": ("lat", np.linspace(-90, 90, grid[0]), {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", np.arange(grid[1]) * 360 / grid[1], {"units": "degrees_east", "standard_name": "longitude"}),
    }
    shape = (steps, len(LEVELS), *grid)
    blank = xr.DataArray(np.broadcast_to(np.float32(0), shape), dims=tuple(coords), attrs={"units": "1"})
    stores.create(path, xr.Dataset(dict.fromkeys(VARIABLES, blank), coords), spec, {})
    group, random = zarr.open_group(path, mode="r+"), np.random.default_rng(0)
    for name in VARIABLES:
        array = group[name]
        first = array.shards[0]
        array[:first] = weather(random, (first, *shape[1:]))
        made = path / name / "c" / "0"
        for number in range(1, -(-steps // first)):
            shutil.copytree(made, made.with_name(str(number)))
    stores.consolidate(path)


def weather(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth fields that move slowly, with some noise: they compress as analyses do, to about two thirds."""
    values = random.standard_normal(shape, np.float32)
    for axis in (0, 2, 3):
        for _ in range(BLUR):
            values = (values + np.roll(values, 1, axis) + np.roll(values, 2, axis)) / 3
    values /= values.std()
    return (280 + 10 * values + NOISE * random.standard_normal(shape, np.float32)).astype(np.float32)


@dataclass(frozen=True)
class Raw:
    """Chunks of the shards of an array, by place in the file: read and decompressed by hand."""

    files: list[Path]
    chunks_per_shard: int

    @classmethod
    def of(cls, path: Path, name: str) -> "Raw":
        array = zarr.open_group(path, mode="r")[name]
        files = sorted(file for file in (path / name / "c").rglob("*") if file.is_file())
        return cls(files, int(np.prod([s // c for s, c in zip(array.shards, array.chunks, strict=True)])))

    def read(self, first: int, count: int) -> int:
        """Bytes of so many chunks, contiguous on the disk from the chunk `first` on."""
        total = 0
        while count > 0:
            file = self.files[first // self.chunks_per_shard % len(self.files)]
            here = first % self.chunks_per_shard
            some = min(count, self.chunks_per_shard - here)
            with file.open("rb") as opened:
                size = 16 * self.chunks_per_shard
                opened.seek(-size - 4, os.SEEK_END)
                index = np.frombuffer(opened.read(size), "<u8").reshape(-1, 2)
                in_order = index[index[:, 0].argsort(kind="stable")][here : here + some]
                opened.seek(int(in_order[0, 0]))
                content = memoryview(opened.read(int(in_order[:, 1].sum())))
            for offset, length in in_order - np.array([in_order[0, 0], 0], "u8"):
                total += len(decompress(content[int(offset) : int(offset + length)]))
            first, count = first + some, count - some
        return total


def touched(place: Place, chunk: Sequence[int]) -> int:
    """Chunks of an array that hold a part of the window."""
    spans = [(place.start, place.start + place.steps), (place.rows.start, place.rows.stop)]
    counts = [(last - 1) // size - first // size + 1 for (first, last), size in zip(spans, chunk, strict=False)]
    return int(np.prod(counts)) * len(np.unique(place.columns // chunk[2]))


def forget(path: Path) -> None:
    """Let the kernel drop what it keeps of the files."""
    for file in (file for file in path.rglob("*") if file.is_file()):
        opened = os.open(file, os.O_RDONLY)
        os.fsync(opened)
        os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(opened)


def readers(path: Path, places: Sequence[Place], chunk: Sequence[int]) -> dict[str, Callable[[int], object]]:
    ours = opened(path)
    raw = {name: Raw.of(path, name) for name in VARIABLES}
    firsts = np.random.default_rng(2).integers(0, 10**9, len(places))
    plain = xr.open_zarr(path, chunks=None)[list(VARIABLES)]

    def read(record: Record) -> Callable[[int], object]:
        return lambda n: record.read(places[n].time_steps, places[n].rows, places[n].columns)

    def by_xarray(n: int) -> object:
        place = places[n]
        window = plain.isel(time=place.time_steps, lat=place.rows)
        parts = np.split(place.columns, np.flatnonzero(np.diff(place.columns) < 0) + 1)  # across the date line: two
        return [window.isel(lon=slice(part[0], part[-1] + 1)).load() for part in parts]

    found: dict[str, Callable[[int], object]] = {
        "raw": lambda n: [r.read(int(firsts[n]), touched(places[n], chunk)) for r in raw.values()],
        "ours": read(ours),
        "xarray": by_xarray,
    }
    found["zarr-python"] = read(without_own_chunks(path, "zarr.core.codec_pipeline.BatchedCodecPipeline"))
    if find_spec("zarrs") is not None:
        found["zarrs"] = read(without_own_chunks(path, "zarrs.ZarrsCodecPipeline"))
    if find_spec("xbatcher") is not None:
        found["xbatcher"] = by_xbatcher(path, len(places))
    return found


def opened(path: Path) -> Record:
    """The record, however small it is, read window by window."""
    return Record.open(open_fields(path), Stream(variables=VARIABLES, levels=LEVELS), in_memory_gib=0.0)


def without_own_chunks(path: Path, pipeline: str) -> Record:
    """The record, whose chunks a pipeline of codecs reads and decodes; zarrs knows plain local stores alone."""
    other = opened(path)
    place = zarr.storage.LocalStore(path, read_only=True)
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        group = zarr.open_group(place, mode="r")
        for name, stored in other._stored.items():
            assert stored is not None
            other._stored[name] = replace(stored, array=group[name].async_array, local=None)
    return other


def by_xbatcher(path: Path, windows: int) -> Callable[[int], object]:
    from xbatcher import BatchGenerator

    sizes = dict(zip(("time", "lat", "lon"), WINDOW, strict=True))
    overlap = {name: size - stride for (name, size), stride in zip(sizes.items(), STRIDES, strict=True)}
    dataset = xr.open_zarr(path)[list(VARIABLES)]
    batches = BatchGenerator(dataset, input_dims=sizes, input_overlap=overlap, preload_batch=False)
    numbers = np.random.default_rng(3).integers(0, len(batches), windows)
    return lambda n: batches[int(numbers[n])].load()


def measure(path: Path, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Seconds a window by wall clock and of CPU, of each reader in each turn: [turn, 2]."""
    whole = opened(path)
    sampler = WindowSampler(whole.grid, whole.starts(WINDOW[0]), WINDOW[0], WINDOW[1:])
    random = np.random.default_rng(1)
    places = [sampler.draw(random) for _ in range(arguments.windows)]
    everyone = readers(path, places, arguments.chunk)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in everyone}
    for reader in everyone.values():
        reader(0)  # what is opened once
    for _, (name, reader) in product(range(arguments.turns), everyone.items()):
        forget(path)
        began = time.perf_counter(), time.process_time()
        for number in range(len(places)):
            reader(number)
        times[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    chunks = np.mean([touched(place, arguments.chunk) for place in places])
    share = chunks * np.prod(arguments.chunk) / np.prod(WINDOW)
    print(f"a window touches {chunks:.1f} chunks of each variable, {share:.2f} times as many values as it holds")
    return {name: np.array(seconds) / len(places) for name, seconds in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=0.5, help="of the record before compression")
    parser.add_argument("--chunk", type=int, nargs=3, default=[18, 27, 54], help="steps, rows and columns of a chunk")
    parser.add_argument("--windows", type=int, default=20, help="read in each turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: a temporary one")
    parser.add_argument("--smoke", action="store_true", help="a moment")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.gigabytes, arguments.windows, arguments.turns = 0.0, 2, 1
    warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "record.zarr"
        make_record(path, arguments.gigabytes, arguments.chunk, SMALL if arguments.smoke else GRID)
        kept = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e9
        print(f"record of {open_fields(path).sizes['time']} hours, {kept:.2f} GB on disk, chunks of {arguments.chunk}")
        times = measure(path, arguments)
    megabytes = 4e-6 * len(VARIABLES) * len(LEVELS) * np.prod(WINDOW)
    print(
        f"{'':12s} windows/s    MB/s  CPU ms a window  ours is faster: wall, CPU (medians of {arguments.turns} turns)"
    )
    for name, seconds in times.items():
        wall, cpu = np.median(seconds, axis=0)
        by_wall, by_cpu = np.median(seconds / times["ours"], axis=0)
        print(f"{name:12s} {1 / wall:9.1f} {megabytes / wall:7.0f} {1e3 * cpu:16.1f} {by_wall:16.2f} {by_cpu:10.2f}")


if __name__ == "__main__":
    main()
