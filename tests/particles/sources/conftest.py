"""Jets whose values are known, written as the public datasets are, and tables in memory for what uproot can't write."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

DATA = Path(__file__).parent.parent / "data"
FLAGS = ("part_isChargedHadron", "part_isNeutralHadron", "part_isPhoton", "part_isElectron", "part_isMuon")


@dataclass
class MemoryTable:
    """A `Table` of columns in memory; `read` counts the entries that were asked for."""

    columns_by_name: dict[str, Any]
    name: str = "table in memory"
    read: int = 0

    @property
    def columns(self) -> list[str]:
        return list(self.columns_by_name)

    def __len__(self) -> int:
        return len(next(iter(self.columns_by_name.values())))

    def bytes_per_entry(self, columns: Sequence[str]) -> float:
        return 8.0 * len(columns)

    def blocks(self, columns: Sequence[str], first: int, last: int, entries: int) -> Iterator[dict[str, Any]]:
        for start in range(first, last, entries):
            stop = min(start + entries, last)
            self.read += stop - start
            yield {name: self.columns_by_name[name][start:stop] for name in columns}


def make_jetclass(jets: int = 20, seed: int = 0, **changes: Any) -> ak.Array:
    """Jets in the columns of JetClass, sorted by pT, with a jet axis that is the sum of the particles; `changes` replace columns."""
    random = np.random.default_rng(seed)
    counts = random.integers(1, 30, jets)
    total = counts.sum()
    owner = np.repeat(np.arange(jets), counts)
    pt = random.exponential(20, total) + 0.5
    pt = pt[np.lexsort((-pt, owner))]
    eta, phi = random.normal(0, 0.3, total) + 1.0, random.normal(0, 0.3, total) + 3.0  # across φ = π
    kind = random.integers(0, 5, total)
    charge = np.where(np.isin(kind, (1, 2)), 0, random.choice([-1, 1], total))
    columns = {
        "part_px": pt * np.cos(phi),
        "part_py": pt * np.sin(phi),
        "part_pz": pt * np.sinh(eta),
        "part_energy": np.sqrt((pt * np.cosh(eta)) ** 2 + 0.1396**2),
        "part_d0val": np.where(charge == 0, 0, random.normal(0, 0.1, total)),
        "part_d0err": np.where(charge == 0, 0, 0.01),
        "part_dzval": np.where(charge == 0, 0, random.normal(0, 0.2, total)),
        "part_dzerr": np.where(charge == 0, 0, 0.03),
    }
    columns = {name: column.astype(np.float32) for name, column in columns.items()} | {
        "part_charge": charge.astype(np.int32)
    }
    columns |= {name: kind == place for place, name in enumerate(FLAGS)}
    lists = {name: ak.unflatten(column, counts) for name, column in columns.items()}
    px, py, pz, energy = (ak.to_numpy(ak.sum(lists[f"part_{name}"], axis=1)) for name in ("px", "py", "pz", "energy"))
    own = {
        "jet_pt": np.hypot(px, py),
        "jet_eta": np.arcsinh(pz / np.hypot(px, py)),
        "jet_phi": np.arctan2(py, px),
        "jet_energy": energy,
        "jet_sdmass": random.uniform(0, 200, jets),
    }
    lists |= {name: column.astype(np.float32) for name, column in own.items()}
    label = random.integers(0, 3, jets)
    lists |= {f"label_{name}": (label == place).astype(np.int32) for place, name in enumerate(("QCD", "Hbb", "Tbqq"))}
    return ak.Array(lists | changes)


def without(jets: ak.Array, names: Sequence[str]) -> ak.Array:
    """The jets without some of their columns."""
    return jets[[name for name in jets.fields if name not in names]]


def write_parquet(path: Path, jets: ak.Array, **options: Any) -> Path:
    pq.write_table(ak.to_arrow_table(jets, extensionarray=False), path, **options)
    return path


def write_root(path: Path, jets: ak.Array, tree: str = "tree") -> Path:
    with uproot.recreate(path) as file:
        file.mktree(tree, {name: jets[name].type.content for name in jets.fields})
        file[tree].extend({name: jets[name] for name in jets.fields})
    return path


@pytest.fixture
def jetclass() -> Callable[..., ak.Array]:
    return make_jetclass


@pytest.fixture
def parquet(tmp_path) -> Callable[..., Path]:
    """Writes jets to a Parquet file with this name."""
    return lambda jets, name="jets.parquet", **options: write_parquet(tmp_path / name, jets, **options)


@pytest.fixture
def root(tmp_path) -> Callable[..., Path]:
    """Writes jets to a ROOT file with this name."""
    return lambda jets, name="jets.root", tree="tree": write_root(tmp_path / name, jets, tree)


@pytest.fixture
def drop() -> Callable[[ak.Array, Sequence[str]], ak.Array]:
    return without


@pytest.fixture
def memory_table() -> type[MemoryTable]:
    return MemoryTable


@pytest.fixture
def real() -> Path:
    """The directory with parts of real files."""
    return DATA
