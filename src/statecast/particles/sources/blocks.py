"""Blocks of simulated jets or events: what determines a file, and its parts, each with random numbers of its own.

Worker processes import this module, so it imports neither torch nor xarray.
"""

import os
import signal
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from statecast.particles.jets import JetError, Jets
from statecast.particles.sources.jet_columns import table_of
from statecast.particles.sources.parquet_blocks import InParquet
from statecast.particles.sources.pythia import KINDS, SEEDS, GeneratedJets, generate

BLOCK_JETS = 250
"""Ten to thirty seconds of work: little is lost when a run is killed, and Pythia's start of 1 s hardly counts."""
MIN_JETS_PER_BATCH = 0.05
"""A kind that gives fewer jets, of 50 collisions, is refused after `PATIENCE` batches: its decay does not fit into a jet of this pT."""
PATIENCE = 100


class Block(NamedTuple):
    """The `number`-th block of a kind, of so many jets, events or showers."""

    kind: str
    number: int
    size: int

    @property
    def file(self) -> str:
        return f"{self.number:06d}-{self.kind}"


class Options(Protocol):
    """What determines a file: a frozen dataclass, which is recorded in the file.

    noun   what is counted: jets, events or showers
    total  how many of them
    """

    @property
    def noun(self) -> str: ...

    @property
    def total(self) -> int: ...

    def blocks(self) -> list[Block]:
        """All blocks, in the order of the file."""
        ...

    def require_packages(self) -> dict[str, str]:
        """The versions of what the file depends on. Raises JetError if a package is missing."""
        ...

    def write(self, block: Block, path: Path) -> None:
        """Make a block and write it to a file."""
        ...

    def join(self, files: Sequence[Path], out: Path, record: Mapping[str, Any]) -> None:
        """Write one file of all blocks, with the record of how they were made."""
        ...

    def recorded(self, file: Path) -> dict[str, Any]:
        """The record in a file that `join` wrote. Raises JetError if it is none."""
        ...


def blocks_of(kinds: tuple[str, ...], total: int, of_block: int) -> list[Block]:
    """Blocks of at most `of_block`, of which the kinds take turns."""
    of_each = total // len(kinds)
    starts = range(0, of_each, of_block)
    return [Block(kind, start // of_block, min(of_block, of_each - start)) for start in starts for kind in kinds]


def require_parts(noun: str, total: int, kinds: tuple[str, ...], known: Collection[str], seed: int) -> None:
    """Raises JetError for an unknown kind, one that is named twice, a total that has no equal parts, or a seed out of range."""
    if unknown := [kind for kind in kinds if kind not in known]:
        raise JetError(f"kind {unknown[0]} is not a kind of {noun.removesuffix('s')}. Kinds: {', '.join(known)}.")
    if not kinds or len(set(kinds)) < len(kinds):
        raise JetError(f"kinds are {', '.join(kinds) or 'none'}, expected each once and at least one.")
    if total < len(kinds) or total % len(kinds):
        raise JetError(f"{noun} is {total}, expected a positive multiple of the number of kinds, {len(kinds)}.")
    if not 0 <= seed < 2**31:
        raise JetError(f"seed is {seed}, expected 0 to {2**31 - 1}.")


def seeds_of(seed: int, kinds: Collection[str], block: Block) -> tuple[int, np.random.Generator]:
    """Pythia's seed and the generator of the measurement of a block.

    Pythia's seeds of all blocks of a run differ, because they count upwards from a number that the seed determines.
    """
    kind_number = list(kinds).index(block.kind)
    first = int(np.random.SeedSequence(seed).generate_state(1)[0])
    pythia_seed = 1 + (first + len(kinds) * block.number + kind_number) % SEEDS
    return pythia_seed, np.random.default_rng((seed, kind_number, block.number))


@dataclass(frozen=True)
class JetOptions(InParquet):
    """What determines a file of jets."""

    noun: ClassVar[str] = "jets"
    jets: int
    kinds: tuple[str, ...]
    seed: int
    pt_range_gev: tuple[float, float]

    def __post_init__(self) -> None:
        """Raises JetError for a value out of range."""
        require_parts(self.noun, self.jets, self.kinds, KINDS, self.seed)
        low, high = self.pt_range_gev
        if not (100 <= low < high <= 3000 and high - low >= 10):
            raise JetError(f"pT range is {low:g} to {high:g} GeV, expected at least 10 GeV within 100 to 3000 GeV.")

    @property
    def total(self) -> int:
        return self.jets

    def blocks(self) -> list[Block]:
        return blocks_of(self.kinds, self.jets, BLOCK_JETS)

    def table(self, block: Block) -> Any:
        return table_of(simulate_block(self, block), KINDS[block.kind].label)


def simulate_block(options: JetOptions, block: Block) -> GeneratedJets:
    """The jets of a block, a pure function of the seed, the kind and the number of the block.

    Raises JetError if there are hardly any such jets.
    """
    pythia_seed, random = seeds_of(options.seed, KINDS, block)
    measured, generated, count = [], [], 0
    for batches, part in enumerate(generate(KINDS[block.kind], options.pt_range_gev, pythia_seed, random), start=1):
        measured.append(part.measured)
        generated.append(part.generated)
        count += len(part.measured)
        if count >= block.size:
            break
        if batches >= PATIENCE and count < MIN_JETS_PER_BATCH * batches:
            low, high = options.pt_range_gev
            raise JetError(
                f"kind {block.kind}: {count} jets in {batches} batches of collisions have a pT of {low:g} to {high:g} GeV and contain the "
                "whole decay, expected more. Choose a wider range or higher pT."
            )
    return GeneratedJets(Jets.joined(measured), Jets.joined(generated)).first(block.size)


def write_block(parts: Path, options: Options, block: Block) -> Block:
    """Write the block to its file in the directory `parts`, which appears when it is complete."""
    written = parts / f".{block.file}.{os.getpid()}"
    options.write(block, written)
    written.replace(parts / block.file)
    return block


def end_when_closed(stop: Connection) -> None:
    """Start of a worker: it ends silently on Ctrl-C, and when the other end of `stop` is closed, if only because its process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def watch() -> None:
        wait([stop])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
