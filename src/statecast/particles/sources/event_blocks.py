"""Blocks of simulated events. Worker processes import this module, so it imports neither torch nor xarray."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from statecast.particles.events import Events
from statecast.particles.jets import JetError
from statecast.particles.sources.blocks import (
    MIN_JETS_PER_BATCH,
    PATIENCE,
    Block,
    blocks_of,
    require_parts,
    seeds_of,
)
from statecast.particles.sources.collisions import PROCESSES, generate_events
from statecast.particles.sources.event_columns import table_of
from statecast.particles.sources.parquet_blocks import InParquet

BLOCK_EVENTS = 250
PT_GEV, MASS_GEV = (200.0, 2000.0), (500.0, 6000.0)
"""Ranges of the options: below, jets of the decay do not merge; beyond, 13 TeV make hardly any event."""


@dataclass(frozen=True)
class EventOptions(InParquet):
    """What determines a file of events."""

    noun: ClassVar[str] = "events"
    events: int
    kinds: tuple[str, ...]
    seed: int
    min_pt_gev: float
    mass_gev: float

    def __post_init__(self) -> None:
        """Raises JetError for a value out of range."""
        require_parts(self.noun, self.events, self.kinds, PROCESSES, self.seed)
        for name, value, (low, high) in (
            ("lowest pT", self.min_pt_gev, PT_GEV),
            ("mass", self.mass_gev, MASS_GEV),
        ):
            if not low <= value <= high:
                raise JetError(f"{name} is {value:g} GeV, expected {low:g} to {high:g} GeV.")

    @property
    def total(self) -> int:
        return self.events

    @property
    def interleaved(self) -> int:
        """One block of each kind: any range of the file holds all kinds in equal parts."""
        return len(self.kinds)

    def blocks(self) -> list[Block]:
        return blocks_of(self.kinds, self.events, BLOCK_EVENTS)

    def table(self, block: Block) -> Any:
        return table_of(simulate_block(self, block))


def simulate_block(options: EventOptions, block: Block) -> Events:
    """The events of a block, a pure function of the options and the block. Raises JetError if hardly any event is accepted."""
    pythia_seed, random = seeds_of(options.seed, PROCESSES, block)
    process = PROCESSES[block.kind]
    parts: list[Events] = []
    count = 0
    batches = generate_events(process, options.min_pt_gev, options.mass_gev, pythia_seed, random)
    for number, part in enumerate(batches, start=1):
        parts.append(part)
        count += len(part)
        if count >= block.size:
            break
        if number >= PATIENCE and count < MIN_JETS_PER_BATCH * number:
            raise JetError(
                f"kind {block.kind}: {count} events in {number} batches of collisions have two jets above {options.min_pt_gev:g} GeV, "
                "expected more. Choose a lower pT or a higher mass."
            )
    whole = Events.joined(parts)[: block.size]
    sections = np.full(len(whole), whole.of_events["cross_section_fb"][-1])  # the estimate from all batches
    return replace(whole, of_events={**whole.of_events, "cross_section_fb": sections})
