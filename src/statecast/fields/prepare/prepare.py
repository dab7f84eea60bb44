"""`statecast data prepare`: inputs of any layout to one store, block by block; an interrupted preparation goes on where it was.

While it is made, the store lies in `OUT.unfinished`, beside a journal of the blocks that are complete. Each block is a shard in time.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr
import zarr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from statecast.fields.prepare import store as stores
from statecast.fields.prepare.errors import PrepareError, first_line
from statecast.fields.prepare.fields import fields_of
from statecast.fields.prepare.inputs import Input, open_inputs
from statecast.fields.prepare.layouts import standard
from statecast.fields.prepare.spec import Spec
from statecast.fields.prepare.statistics import (
    MonthlySums,
    Sums,
    Times,
    cell_areas,
    statistics_dataset,
    write_climatology,
)
from statecast.fields.prepare.times import seconds_of
from statecast.fields.sources.fill_values import METADATA
from statecast.outputs import require_place

STORE, JOURNAL, SUMS = "store", "journal.json", "sums"


def prepare(
    spec: Spec, out: str | Path, *, cluster: str | None = None, overwrite: bool = False, progress: bool = False
) -> Path:
    """Make the store that `spec` describes at `out`, and return its path.

    cluster    address of a `dask.distributed` scheduler that does the work; None: threads of this process
    overwrite  replace what stands at `out`, and start again

    Called again after an interruption with the same spec and inputs, it goes on after the last complete block. `out` appears only
    when it is complete. Raises PrepareError and SpecError in one line; what was complete by then stays.
    """
    out = require_place(out, overwrite)
    inputs = open_inputs(spec.source, spec.period)
    dataset = fields_of(inputs, spec)
    Times.of(dataset, spec.statistics)  # a period without data is refused before anything is written
    unfinished = out.with_name(f"{out.name}.unfinished")
    try:
        with workers(cluster):
            work = _Work.begin(unfinished, dataset, spec, inputs, fresh=overwrite)
            work.run(progress=progress)
            work.finish()
        _put_in_place(unfinished, out)
    except OSError as error:
        raise stores.unwritable(out, error) from error
    return out


def fingerprint(spec: Spec, inputs: list[Input], dataset: xr.Dataset) -> str:
    """Of the spec, the names of the inputs, and variables and coordinates of the result: another one can't go on with the same store."""
    coordinates = [dataset[name].values.tolist() for name in ("lat", "lon", "level") if name in dataset.coords]
    variables = {str(name): array.dims for name, array in dataset.data_vars.items()}
    about = [spec.model_dump(mode="json", by_alias=True), [given.name for given in inputs], variables, coordinates]
    about.append(seconds_of(dataset["time"]).tolist())
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def stamps(inputs: list[Input]) -> dict[str, list[Any]]:
    """Of each input, the sizes and times of the files that are written anew with it."""
    files = {given.name: [file.stat() for file in _telling(Path(given.name))] for given in inputs}
    return {name: [[about.st_size, about.st_mtime_ns] for about in of] for name, of in files.items()}


def _telling(path: Path) -> list[Path]:
    """Files that are written anew with an input: itself, or the metadata of a Zarr store and of its arrays. None behind a URL."""
    if path.is_file():
        return [path]
    return sorted(file for name in METADATA for file in (*path.glob(name), *path.glob(f"*/{name}")))


@contextlib.contextmanager
def workers(cluster: str | None) -> Iterator[None]:
    """Dask works on the threads of this process, or on the cluster at an address. Raises PrepareError if it can't be reached."""
    import dask

    if cluster is None:
        with dask.config.set(scheduler="threads"):
            yield
        return
    if find_spec("distributed") is None:
        raise PrepareError(
            "--cluster: needs dask.distributed. Install statecast with the extra `cluster`, or leave it out."
        )
    from distributed import Client

    try:
        client = Client(cluster, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        raise PrepareError(
            f"--cluster {cluster}: does not answer ({first_line(error)}). Check the address of the scheduler."
        ) from None
    with client:
        yield


@dataclass(frozen=True)
class _Work:
    """An unfinished preparation: what is to be written, and what is added up on the way."""

    folder: Path
    dataset: xr.Dataset
    spec: Spec
    journal: dict[str, Any]
    sums: dict[str, Sums]
    monthly: dict[str, list[MonthlySums]]

    @classmethod
    def begin(cls, folder: Path, dataset: xr.Dataset, spec: Spec, inputs: list[Input], *, fresh: bool) -> "_Work":
        """A new work, or one that goes on. Raises PrepareError if `folder` holds that of another spec or other inputs."""
        identity, written = fingerprint(spec, inputs, dataset), stamps(inputs)
        journal = None if fresh else _read_journal(folder / JOURNAL)
        if journal is None:
            journal = {"fingerprint": identity, "inputs": written, "done": 0, "sums": {}}
            _start(folder, dataset, spec, journal)
        if journal["fingerprint"] != identity or _was_changed(journal, written, inputs, dataset, spec):
            raise PrepareError(
                f"{folder}: was begun with another spec or other inputs. Pass --overwrite to start again, or another --out."
            )
        journal["inputs"] = written
        kept = journal["sums"]
        levels = {name: array.sizes.get("level", 1) for name, array in _in_time(dataset).items()}
        sums = {name: Sums(n, kept.get(name)) for name, n in levels.items()}
        monthly = _monthly(folder / SUMS, dataset, spec) if spec.statistics.climatology else {}
        for part in (part for parts in monthly.values() for part in parts):
            part.settle(journal["done"])
        return cls(folder, dataset, spec, journal, sums, monthly)

    def run(self, *, progress: bool) -> None:
        blocks = self.blocks
        columns = TextColumn("prepare"), BarColumn(), MofNCompleteColumn(), TextColumn("blocks,"), TimeRemainingColumn()
        with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
            task = bar.add_task("prepare", total=len(blocks), completed=self.journal["done"])
            for number in range(self.journal["done"], len(blocks)):
                try:
                    self._write(number, blocks[number])
                except PrepareError as error:
                    kept = f" The {blocks[number].start} steps before are kept in {self.folder}; the same command goes on from there."
                    raise PrepareError(f"{error}{kept if number else ''}") from error
                bar.update(task, completed=number + 1)

    @property
    def blocks(self) -> list[slice]:
        size, steps = stores.steps_of_shard(self.spec.store), self.dataset.sizes["time"]
        return [slice(first, min(first + size, steps)) for first in range(0, steps, size)]

    def _write(self, number: int, steps: slice) -> None:
        group = zarr.open_group(self.folder / STORE, mode="r+")
        times, area = Times.of(self.dataset, self.spec.statistics), cell_areas(self.dataset)
        for name, array in _in_time(self.dataset).items():
            for part, levels in enumerate(_parts(array, self.spec)):
                values = write_part(cast(zarr.Array, group[name]), array, steps, levels, self.spec)
                self.sums[name].add(values[times.learned[steps]], area, levels)
                if name in self.monthly:
                    self.monthly[name][part].prepare(values, times, steps, number)
        self.journal.update(done=number + 1, sums={name: sums.as_lists() for name, sums in self.sums.items()})
        stores.write_json(self.folder / JOURNAL, self.journal)
        for parts in self.monthly.values():
            for monthly in parts:
                monthly.settle(number + 1)

    def finish(self) -> None:
        """Write what does not depend on time, and the statistics."""
        group = zarr.open_group(self.folder / STORE, mode="r+")
        for name, array in self.dataset.data_vars.items():
            if "time" not in array.dims:
                cast(zarr.Array, group[str(name)])[...] = stores.rounded(_computed(array), _bits(str(name), self.spec))
        times = Times.of(self.dataset, self.spec.statistics)
        found = statistics_dataset(self.sums, self.dataset, times, self.spec.statistics.period)
        found.to_zarr(self.folder / STORE, group="statistics", mode="w", zarr_format=3, consolidated=False)
        for name, parts in self.monthly.items():
            write_climatology(cast(zarr.Group, group["statistics"]), self.dataset[name], parts)
        stores.consolidate(self.folder / STORE)


def write_part(
    target: zarr.Array, array: xr.DataArray, steps: slice, levels: slice, spec: Spec, first: int = 0
) -> np.ndarray:
    """Compute some steps and levels of a variable, write them `first` steps further on, and return them as [T L H W]."""
    part = array.isel(time=steps)
    on_levels = "level" in array.dims
    values = stores.rounded(_computed(part.isel(level=levels) if on_levels else part), _bits(str(array.name), spec))
    place = slice(first + steps.start, first + steps.stop)
    target[(place, levels) if on_levels else (place,)] = values
    return values if on_levels else values[:, None]


def _computed(array: xr.DataArray) -> np.ndarray:
    return np.asarray(array.values, np.float32)


def _bits(name: str, spec: Spec) -> int:
    options = spec.variables.get(name)
    return (options.keep_bits if options else None) or spec.store.keep_bits


def _parts(array: xr.DataArray, spec: Spec) -> list[slice]:
    return stores.levels_together(array, spec.store, stores.steps_of_shard(spec.store))


def _in_time(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    return {str(name): array for name, array in dataset.data_vars.items() if "time" in array.dims}


def _monthly(folder: Path, dataset: xr.Dataset, spec: Spec) -> dict[str, list[MonthlySums]]:
    hours, grid = len(Times.of(dataset, spec.statistics).hours_utc), (dataset.sizes["lat"], dataset.sizes["lon"])
    return {
        name: [MonthlySums(folder, f"{name}.{s.start}", (hours, s.stop - s.start, *grid)) for s in _parts(array, spec)]
        for name, array in _in_time(dataset).items()
    }


def _was_changed(
    journal: dict[str, Any], written: dict[str, list[Any]], inputs: list[Input], dataset: xr.Dataset, spec: Spec
) -> bool:
    """Whether an input was written again whose times are already in the store; one that was broken may be mended."""
    steps = min(journal["done"] * stores.steps_of_shard(spec.store), dataset.sizes["time"])
    last = seconds_of(dataset["time"][:steps])[-1] if steps else -np.inf
    changed = [given for given in inputs if journal["inputs"].get(given.name) != written[given.name]]
    times = [standard(given, spec).get("time") for given in changed if steps]
    return any(of is None or seconds_of(of).min() <= last for of in times)


def _read_journal(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _start(folder: Path, dataset: xr.Dataset, spec: Spec, journal: dict[str, Any]) -> None:
    """The journal comes last: without it, nothing is there to go on with."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / SUMS).mkdir(parents=True)
    stores.create(folder / STORE, dataset, spec, about(spec))
    stores.write_json(folder / JOURNAL, journal)


def about(spec: Spec) -> dict[str, Any]:
    """Attributes of the store."""
    return {
        "Conventions": "CF-1.11",
        "title": spec.about or "Prepared fields",
        "source": f"statecast {version('statecast')}: {', '.join(spec.source.paths)[:500]}",
        "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} statecast {version('statecast')} data prepare",
        "comment": "Values that the inputs lack are missing (NaN); nothing is filled in.",
        stores.PREPARATION: spec.model_dump_json(by_alias=True),
    }


def _put_in_place(unfinished: Path, out: Path) -> None:
    replaced = out.with_name(f".{out.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if out.exists() or out.is_symlink():
        out.rename(replaced)
    (unfinished / STORE).rename(out)
    shutil.rmtree(replaced, ignore_errors=True)
    shutil.rmtree(unfinished, ignore_errors=True)
