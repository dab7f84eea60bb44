"""Small random jets of two kinds, one-pronged and two-pronged, in place of files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import statecast
from statecast.particles import record
from statecast.particles.jets import Jets, summed_momentum, wrapped
from statecast.particles.sources.rules import Rules

MakeJets = Callable[..., Jets]
STREAMS = {
    "particles": {"particles": ["delta_eta", "delta_phi", "log_pt_fraction", "log_pt", "charge"]},
    "jet": {"quantities": ["multiplicity", "pt_gev", "mass_gev"]},
    "codes": {"asks": "codebook", "size": 32},
}
TINY = {"width": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "members": 4}
TRAINING = {
    "steps": 6,
    "batch_size": 4,
    "validate_every": 3,
    "validation_samples": 4,
    "checkpoint_every": 2,
    "footprint": False,
}


def random_jets(jets: int = 300, seed: int = 0, labelled: bool = True) -> Jets:
    """Jets of 4 to 30 particles about one or two prongs; a jet with two is labelled `two`."""
    random = np.random.default_rng(seed)
    counts = random.integers(4, 31, jets)
    is_two = random.uniform(size=jets) < 0.5
    offsets = np.concatenate([[0], np.cumsum(counts)])
    jet_of = np.repeat(np.arange(jets), counts)
    total = int(offsets[-1])
    side = np.where(is_two[jet_of], random.choice([-0.3, 0.3], total), 0.0)
    angle = random.uniform(0, 2 * np.pi, jets)[jet_of]
    pt = random.exponential(10.0, total) + 0.5
    order = np.lexsort((-pt, jet_of))
    kind = random.integers(-1, 5, total)
    particles = {
        "pt_gev": pt[order],
        "eta": side * np.cos(angle) + 0.06 * random.standard_normal(total) + random.uniform(-1, 1, jets)[jet_of],
        "phi": wrapped(
            side * np.sin(angle) + 0.06 * random.standard_normal(total) + random.uniform(-4, 4, jets)[jet_of]
        ),
        "mass_gev": np.full(total, 0.139),
        "kind": kind,
        "charge": np.where(np.isin(kind, (0, 3, 4)), random.choice([-1.0, 1.0], total), 0.0),
        "d0_mm": np.where(np.isin(kind, (0, 3, 4)), 0.1 * random.standard_normal(total), np.nan),
    }
    bare = Jets(offsets, particles, {})
    of_jets = summed_momentum(bare)
    of_jets["generated_mass_gev"] = of_jets["mass_gev"] * random.normal(1, 0.05, jets)
    return Jets(offsets, particles, of_jets, np.where(is_two, "two", "one") if labelled else None)


@pytest.fixture
def make_jets() -> MakeJets:
    return random_jets


@pytest.fixture(scope="session", autouse=True)
def files_of_jets():
    """Files whose names end in .jets: `0.jets` holds 300 jets of the seed 0, `u.jets` jets without a label. Others are read as they are."""
    read = record.open_files

    def opened(files, most_constituents):
        return FilesInMemory(files) if files[0].endswith(".jets") else read(files, most_constituents)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "open_files", opened)
        yield


class FilesInMemory:
    """In place of `JetFiles`."""

    def __init__(self, files) -> None:
        self.rules = Rules()
        parts = []
        for name in files:
            seed = name.split(".")[0]
            parts.append(random_jets(seed=0 if seed == "u" else int(seed), labelled=seed != "u"))
        self.jets = Jets.joined(parts)

    def __len__(self) -> int:
        return len(self.jets)

    def chunks(self, jets, *, first=0, last=None):
        numbered = replace(self.jets, numbers=np.arange(len(self)))[first:last]
        step = min(jets, 70)
        for start in range(0, len(numbered), step):
            yield numbered[start : start + step]


def recipe(task: dict, **changes) -> dict:
    return {
        "data": {"domain": "particles", "files": "0.jets", "train": [0, 199], "validate": [200, 249]},
        "streams": STREAMS,
        "task": task,
        "model": TINY,
        "training": TRAINING,
    } | changes


MASKED = {"kind": "masked_particles", "ask": ["codes"], "show": ["jet"]}


@pytest.fixture
def make_recipe() -> Callable[..., dict]:
    """A recipe on `0.jets` of a tiny model; by default it asks for codes of hidden particles."""
    return lambda task=MASKED, **changes: recipe(task, **changes)


class Runs(NamedTuple):
    """A tiny model that was pre-trained on hidden particles, and others fine-tuned from it."""

    masked: Path
    tagged: Path
    generating: Path


LABELLED = {name: STREAMS[name] for name in ("particles", "jet")} | {"label": {"label": "class"}}
GENERATING = STREAMS | {
    "fine": {"asks": "residual", "of": "codes", "size": 16},
    "bins": {"asks": "bins", "size": 64},
    "label": {"label": "class"},
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory, files_of_jets) -> Runs:
    folder = tmp_path_factory.mktemp("jets")
    found = Runs(*(folder / name for name in Runs._fields))
    statecast.pretrain(recipe(MASKED), found.masked, progress=False)
    tag = {"streams": LABELLED, "task": {"kind": "translate", "to": ["label"]}, "training": TRAINING}
    statecast.finetune(tag, found.masked, found.tagged, progress=False)
    draw = {"kind": "next_particle", "ask": ["codes", "fine", "bins"], "show": ["jet", "label"]}
    generate = {"streams": GENERATING, "task": draw, "training": TRAINING}
    statecast.finetune(generate, found.masked, found.generating, progress=False)
    return found
