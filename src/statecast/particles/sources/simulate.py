"""A file of simulated jets, events or showers, made block by block on several cores.

A block is a fixed number of them of one kind with random numbers of its own, so that the file does not depend on the number of
cores or on interruptions. Finished blocks lie in the directory `OUT.unfinished` until all are joined.
"""

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from statecast.outputs import new_output
from statecast.particles.jets import JetError
from statecast.particles.sources.blocks import Block, JetOptions, Options, end_when_closed, write_block
from statecast.particles.sources.event_blocks import EventOptions

OPTIONS_FILE = "options.json"


class SimulationStopped(InterruptedError):
    """Ctrl-C stopped the simulation; the finished blocks are kept."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


def simulate_jets(
    out: str | Path,
    *,
    jets: int,
    kinds: Sequence[str] = ("qcd", "top"),
    seed: int = 0,
    pt_range_gev: tuple[float, float] = (500.0, 650.0),
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Simulate `jets` jets, in equal parts of each of `kinds`, write them to a Parquet file at `out`, and return its path.

    Proton-proton collisions at 13 TeV by Pythia 8 (leading order, its own showers, hadrons and multiparton interactions; Monash tune)
    and the detector of `sources.detector`. Jets are anti-kT jets with R = 0.8, |eta| < 2 and pT in `pt_range_gev`, of measured
    particles; beside them, the nearest jet of generated particles, within ΔR = 0.4. Jets are of the kinds of `pythia.KINDS`; those of
    heavy particles contain all quarks of its hadronic decay (ΔR < 0.8 to the axis). The steep spectrum of pT is flattened for all kinds
    alike; `event_weight` restores it. Columns: see `sources.jet_columns`.

    `workers` processes (by default one per core) share the blocks. The file depends neither on their number nor on interruptions, and
    each kind's first jets do not depend on `jets`. A killed run that is called again with the same options resumes. A finished file is
    left unchanged. `overwrite` starts again. With several workers, a script needs the usual `if __name__ == "__main__":`.

    Raises JetError for an option out of range, a missing package, if `out` holds something else or jets with other options, or if
    there is an unfinished run with other options; SimulationStopped after Ctrl-C.
    """
    options = JetOptions(jets, tuple(kinds), seed, (float(pt_range_gev[0]), float(pt_range_gev[1])))
    return simulate(out, options, workers, overwrite=overwrite, progress=progress)


def simulate_events(
    out: str | Path,
    *,
    events: int,
    kinds: Sequence[str] = ("zprime", "qcd", "ttbar"),
    seed: int = 0,
    min_pt_gev: float = 450.0,
    mass_gev: float = 1500.0,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Simulate `events` whole events, in equal parts of each of `kinds`, write them to a Parquet file at `out`, and return its path.

    Collisions, detector and clustering are those of `simulate_jets`. The kinds are those of `collisions.PROCESSES`, with a resonance of
    `mass_gev`. The two jets of largest pT of an event have more than `min_pt_gev` and |eta| < 2; further ones are kept from 200 GeV on.
    Columns: see `sources.event_columns`; `event_weight` and `cross_section_fb` give the expected number of events.

    Workers, seeds, resuming and exceptions are those of `simulate_jets`.
    """
    options = EventOptions(events, tuple(kinds), seed, float(min_pt_gev), float(mass_gev))
    return simulate(out, options, workers, overwrite=overwrite, progress=progress)


def simulate(out: str | Path, options: Options, workers: int | None, *, overwrite: bool, progress: bool) -> Path:
    """The file that `options` determine, in blocks shared by `workers` processes; see `simulate_jets`."""
    out, workers = Path(out), _workers(workers)
    console = Console(stderr=True, quiet=not progress)
    facts = asdict(options)  # type: ignore[call-overload]
    if out.exists() and not overwrite:
        _refuse_other_options(out, options.recorded(out), facts)
        console.print(f"file {out}: is already finished, nothing to do.", soft_wrap=True, highlight=False)
        return out
    record = {**facts, **options.require_packages()}
    parts = out.with_name(f"{out.name}.unfinished")
    _start(parts, record, overwrite)
    missing = [block for block in options.blocks() if not (parts / block.file).exists()]
    _run(parts, options, missing, min(workers, len(missing)), console)
    with new_output(out, overwrite=overwrite) as written:
        files = [parts / block.file for block in options.blocks()]
        options.join(files, written, record)
    shutil.rmtree(parts)
    return out


def _workers(workers: int | None) -> int:
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 1:
        raise JetError(f"workers is {workers}, expected at least 1.")
    return workers


def _start(parts: Path, record: Mapping[str, Any], overwrite: bool) -> None:
    if overwrite and parts.exists():
        shutil.rmtree(parts)
    if (parts / OPTIONS_FILE).exists():
        _refuse_other_options(parts, json.loads((parts / OPTIONS_FILE).read_text(encoding="utf-8")), record)
        return
    with new_output(parts, overwrite=True) as written:
        written.mkdir()
        (written / OPTIONS_FILE).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _refuse_other_options(place: Path, recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    asked = json.loads(json.dumps(asked))
    differ = [name for name, value in asked.items() if recorded.get(name) != value]
    if differ:
        options = ", ".join(f"{name} {recorded.get(name)} (requested: {asked[name]})" for name in differ)
        raise JetError(f"{place}: was made with {options}. Request these options, give another path, or overwrite.")


def _run(parts: Path, options: Options, blocks: Sequence[Block], workers: int, console: Console) -> None:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{options.noun},"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    done = options.total - sum(block.size for block in blocks)
    try:
        with Progress(*columns, console=console, disable=console.quiet) as bar:
            task = bar.add_task(options.noun, total=options.total, completed=done)
            for block in _finished(parts, options, blocks, workers):
                done += block.size
                bar.update(task, completed=done)
    except KeyboardInterrupt:
        raise SimulationStopped(
            f"Ctrl-C stopped the simulation after {done} of {options.total} {options.noun}. The same command resumes it."
        ) from None
    except BrokenProcessPool:
        raise JetError(
            f"{parts}: a worker process was killed after {done} of {options.total} {options.noun}, perhaps for want of memory. "
            "The same command resumes the simulation; fewer workers need less memory."
        ) from None


def _finished(parts: Path, options: Options, blocks: Sequence[Block], workers: int) -> Iterator[Block]:
    """Each block after its file has been written, in any order."""
    if workers <= 1:
        for block in blocks:
            yield write_block(parts, options, block)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork would copy the threads of rich and torch in any state
    stop, stopping = spawn.Pipe(duplex=False)
    with ProcessPoolExecutor(workers, spawn, end_when_closed, (stop,)) as pool:
        futures: list[Future[Block]] = [pool.submit(write_block, parts, options, block) for block in blocks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stopping.close()
            raise
