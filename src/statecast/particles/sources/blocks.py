"""Blocks of simulated jets: what determines a file of jets, and its parts, each with random numbers of its own.

Worker processes import this module, so it imports neither torch nor xarray.
"""

import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import numpy as np

from statecast.particles.jets import JetError, Jets
from statecast.particles.sources.layout import table_of
from statecast.particles.sources.pythia import KINDS, SEEDS, GeneratedJets, generate

BLOCK_JETS = 250
"""Ten to thirty seconds of work: little is lost when a run is killed, and Pythia's start of 1 s hardly counts."""
MIN_JETS_PER_BATCH = 0.05
"""A kind that gives fewer jets, of 50 collisions, is refused after `PATIENCE` batches: its decay does not fit into a jet of this pT."""
PATIENCE = 100


class Block(NamedTuple):
    """The `number`-th block of jets of a kind."""

    kind: str
    number: int
    jets: int

    @property
    def file(self) -> str:
        return f"{self.number:06d}-{self.kind}.parquet"


@dataclass(frozen=True)
class JetOptions:
    """What determines a file of jets."""

    jets: int
    kinds: tuple[str, ...]
    seed: int
    pt_range_gev: tuple[float, float]

    def __post_init__(self) -> None:
        """Raises JetError for a value out of range."""
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise JetError(f"kind {unknown[0]} is not a kind of jet. Kinds: {', '.join(KINDS)}.")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise JetError(f"kinds are {', '.join(self.kinds) or 'none'}, expected each once and at least one.")
        if self.jets < len(self.kinds) or self.jets % len(self.kinds):
            raise JetError(
                f"jets is {self.jets}, expected a positive multiple of the number of kinds, {len(self.kinds)}."
            )
        if not 0 <= self.seed < 2**31:
            raise JetError(f"seed is {self.seed}, expected 0 to {2**31 - 1}.")
        low, high = self.pt_range_gev
        if not (100 <= low < high <= 3000 and high - low >= 10):
            raise JetError(f"pT range is {low:g} to {high:g} GeV, expected at least 10 GeV within 100 to 3000 GeV.")

    def blocks(self) -> list[Block]:
        """All blocks, in the order of the file: the kinds take turns."""
        of_each = self.jets // len(self.kinds)
        starts = range(0, of_each, BLOCK_JETS)
        return [
            Block(kind, start // BLOCK_JETS, min(BLOCK_JETS, of_each - start))
            for start in starts
            for kind in self.kinds
        ]


def simulate_block(options: JetOptions, block: Block) -> GeneratedJets:
    """The jets of a block, a pure function of the seed, the kind and the number of the block.

    Pythia's seeds of all blocks of a run differ, because they count upwards from a number that the seed determines. Raises JetError if
    there are hardly any such jets.
    """
    kind_number = list(KINDS).index(block.kind)
    first = int(np.random.SeedSequence(options.seed).generate_state(1)[0])
    pythia_seed = 1 + (first + len(KINDS) * block.number + kind_number) % SEEDS
    random = np.random.default_rng((options.seed, kind_number, block.number))
    measured, generated, count = [], [], 0
    for batches, part in enumerate(generate(KINDS[block.kind], options.pt_range_gev, pythia_seed, random), start=1):
        measured.append(part.measured)
        generated.append(part.generated)
        count += len(part.measured)
        if count >= block.jets:
            break
        if batches >= PATIENCE and count < MIN_JETS_PER_BATCH * batches:
            low, high = options.pt_range_gev
            raise JetError(
                f"kind {block.kind}: {count} jets in {batches} batches of collisions have a pT of {low:g} to {high:g} GeV and contain the "
                "whole decay, expected more. Choose a wider range or higher pT."
            )
    return GeneratedJets(Jets.joined(measured), Jets.joined(generated)).first(block.jets)


def write_block(parts: Path, options: JetOptions, block: Block) -> Block:
    """Write the block to its file in the directory `parts`, which appears when it is complete."""
    import pyarrow.parquet

    table = table_of(simulate_block(options, block), KINDS[block.kind].label)
    written = parts / f".{block.file}.{os.getpid()}"
    pyarrow.parquet.write_table(table, written, compression="zstd")
    written.replace(parts / block.file)
    return block


def end_when_closed(stop: Connection) -> None:
    """Start of a worker: it ends silently on Ctrl-C, and when the other end of `stop` is closed, if only because its process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def watch() -> None:
        wait([stop])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
