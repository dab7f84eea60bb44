"""The jets of one split as flat columns, in memory or memory-mapped from a cache.

Axes: J jet, N particle of all jets, F feature, Q number of the jet, L label that is a number.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from statecast.outputs import OutputError, in_new_parents
from statecast.particles.features import jet_quantities, particle_features, principal_turns, turned
from statecast.particles.jets import NO_LABEL, JetError, Jets

if TYPE_CHECKING:
    from statecast.particles.sources.files import JetFiles

CHUNK_JETS = 20_000  # read at once
IN_MEMORY_GIB = 8.0  # more than that needs a cache
CACHE_VERSION = 2  # of the layout of a cached record

Range = tuple[int, int | None]
"""First and last jet, inclusive; None: up to the end."""


@dataclass(frozen=True)
class Columns:
    """Which columns of which jets a record holds. `is_aligned`: each jet is turned to its principal axis."""

    files: tuple[str, ...]
    jets: Range
    most_constituents: int
    features: tuple[str, ...]
    quantities: tuple[str, ...]
    labels: tuple[str, ...]
    is_aligned: bool = False


@dataclass(frozen=True)
class JetRecord:
    """The jets of one split; the particles of jet j are those from `offsets[j]` to `offsets[j + 1]`.

    features    see `features.FEATURES`; NaN where unknown
    quantities  on the scale of `features.QUANTITIES`
    places      number of each jet in its files: a jet that a rule dropped is missing
    classes     code of each jet's class in `class_names`, -1 for none
    numbers     labels that are numbers, NaN for none
    """

    columns: Columns
    offsets: Int[np.ndarray, " J_plus_1"]
    features: Float[Tensor, "N F"]
    kinds: Int[Tensor, " N"]
    quantities: Float[Tensor, "J Q"]
    places: Int[np.ndarray, " J"]
    classes: Int[np.ndarray, " J"]
    class_names: tuple[str, ...]
    numbers: Float[np.ndarray, "J L"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def span(self, jet: int) -> slice:
        """Where the particles of a jet stand."""
        return slice(int(self.offsets[jet]), int(self.offsets[jet + 1]))

    def label(self, name: str, jet: int) -> Any:
        """A label of a jet, None if it has none."""
        if name == "class":
            code = int(self.classes[jet])
            return None if code < 0 else self.class_names[code]
        return float(self.numbers[jet, self.columns.labels.index(name)])

    def labels(self, name: str) -> list[Any]:
        """A label of every jet."""
        return [self.label(name, jet) for jet in range(len(self))]


def read_record(columns: Columns, cache: str | None = None) -> JetRecord:
    """The jets of a split, read in one pass.

    cache  a directory in which the columns are kept and memory-mapped; None: they are kept in memory

    Raises JetError for files that hold too few jets, lack a column, or are too large for memory.
    """
    if cache is not None:
        folder = _cached(columns, Path(cache))
        arrays, names = _mapped(folder)
    else:
        arrays, names = _in_memory(columns)
    return _as_record(columns, arrays, names)


def _as_record(columns: Columns, arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> JetRecord:
    offsets = np.concatenate([[0], np.cumsum(arrays["counts"], dtype=np.int64)])
    return JetRecord(
        columns,
        offsets,
        torch.from_numpy(arrays["features"]),
        torch.from_numpy(arrays["kinds"]),
        torch.from_numpy(arrays["quantities"]),
        arrays["places"],
        arrays["classes"],
        tuple(names),
        arrays["numbers"],
    )


def record_of(jets: Jets, columns: Columns) -> JetRecord:
    """A record of jets that are in memory already."""
    names: list[str] = []
    arrays = _arrays(jets, columns, names)
    return _as_record(columns, arrays, names)


def open_files(files: Sequence[str], most_constituents: int) -> "JetFiles":
    """Files of jets. Raises JetError as `open_jets`."""
    from statecast.particles.sources.files import open_jets

    return open_jets(list(files), most_constituents=most_constituents)


def chunks_of(files: Sequence[str], most_constituents: int, jets: int, span: Range = (0, None)) -> Iterator[Jets]:
    """The jets of a range, by their numbers in the files, so many at a time; then a line on standard error says what rules did to them.

    Raises JetError if there are not that many, or if rules leave none.
    """
    found, (first, last) = open_files(files, most_constituents), span
    if first >= len(found) or (last is not None and last >= len(found)):
        raise JetError(
            f"files {', '.join(files)}: have {len(found)} jets, expected jets {first} to {'the end' if last is None else last}. "
            "Name a range that is there."
        )
    is_empty = True
    for chunk in found.chunks(jets, first=first, last=None if last is None else last + 1):
        is_empty = False
        yield chunk
    applied = "; ".join(str(found.rules).splitlines())
    if is_empty:
        raise JetError(
            f"files {', '.join(files)}: no jet of the range is left ({applied}). Name another range, or mend the files."
        )
    if applied:
        print(f"{', '.join(files)}: {applied}", file=sys.stderr)


def chosen_chunks(columns: Columns) -> Iterator[Jets]:
    """The chosen jets of the files, in chunks. Raises JetError as `chunks_of`."""
    return chunks_of(columns.files, columns.most_constituents, CHUNK_JETS, columns.jets)


def _arrays(jets: Jets, columns: Columns, names: list[str]) -> dict[str, np.ndarray]:
    """The columns of a chunk; classes that are new are added to `names`."""
    numbers = np.full((len(jets), len(columns.labels)), np.nan, np.float64)
    for place, name in enumerate(columns.labels):
        if name == "class":
            continue
        if name not in jets.of_jets:
            raise JetError(
                f"label {name}: the jets have no such column. Columns: {', '.join(jets.of_jets)}. Name one of them, or class."
            )
        numbers[:, place] = jets.of_jets[name]
    features = particle_features(jets, columns.features)
    if columns.is_aligned:
        features = turned(features, columns.features, principal_turns(jets), jets.multiplicity)
    return {
        "counts": jets.multiplicity.astype(np.int32),
        "features": features,
        "kinds": np.asarray(jets.particles["kind"]).astype(np.int8),
        "quantities": jet_quantities(jets, columns.quantities),
        "places": np.arange(len(jets)) if jets.numbers is None else jets.numbers,
        "classes": _class_codes(jets, columns, names),
        "numbers": numbers,
    }


def _class_codes(jets: Jets, columns: Columns, names: list[str]) -> Int[np.ndarray, " J"]:
    if jets.labels is None:
        return np.full(len(jets), -1, np.int32)
    found, inverse = np.unique(np.asarray(jets.labels).astype(str), return_inverse=True)
    names += [str(name) for name in found if name not in (*names, NO_LABEL)]
    codes = [-1 if name == NO_LABEL else names.index(str(name)) for name in found]
    return np.array(codes, np.int32)[inverse]


def _in_memory(columns: Columns) -> tuple[dict[str, np.ndarray], list[str]]:
    names: list[str] = []
    parts: dict[str, list[np.ndarray]] = {}
    held = 0
    for chunk in chosen_chunks(columns):
        for key, array in _arrays(chunk, columns, names).items():
            parts.setdefault(key, []).append(array)
            held += array.nbytes
        if held > IN_MEMORY_GIB * 2**30:
            raise JetError(
                f"files {', '.join(columns.files)}: their jets take more than {IN_MEMORY_GIB:g} GiB of memory. "
                "Name a directory by data.cache: they are memory-mapped there."
            )
    return {key: np.concatenate(arrays) for key, arrays in parts.items()}, names


def _cached(columns: Columns, cache: Path) -> Path:
    """The directory in the cache that holds these columns, written if it is not there."""
    folder = cache / _key(columns)
    if folder.is_dir():
        return folder
    try:
        with in_new_parents(folder):
            part = Path(tempfile.mkdtemp(prefix=".part-", dir=cache))
            try:
                _write(columns, part)
                if not folder.is_dir():  # another process may have been faster
                    part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OutputError as error:
        raise JetError(f"data.cache: {error}") from None
    return folder


def _key(columns: Columns) -> str:
    """A name for the columns of files as they are now."""
    states = []
    for name in columns.files:
        path = Path(name)
        state = path.stat() if path.exists() else None
        states.append([str(path.resolve()), state.st_size, state.st_mtime_ns] if state else [name])
    facts = json.dumps([CACHE_VERSION, asdict(columns), states])
    return hashlib.sha256(facts.encode()).hexdigest()[:24]


def _write(columns: Columns, folder: Path) -> None:
    names: list[str] = []
    layout: dict[str, Any] = {}
    for chunk in chosen_chunks(columns):
        for key, array in _arrays(chunk, columns, names).items():
            with (folder / key).open("ab") as file:
                array.tofile(file)
            rows = layout[key]["shape"][0] if key in layout else 0
            layout[key] = {"dtype": str(array.dtype), "shape": [rows + len(array), *array.shape[1:]]}
    (folder / "layout.json").write_text(json.dumps({"columns": layout, "classes": names}), encoding="utf-8")


def _mapped(folder: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    layout: Mapping[str, Any] = json.loads((folder / "layout.json").read_text(encoding="utf-8"))
    arrays = {}
    for key, facts in layout["columns"].items():
        shape = tuple(facts["shape"])
        if 0 in shape:
            arrays[key] = np.zeros(shape, facts["dtype"])
        else:  # copy on write: torch takes no read-only arrays
            arrays[key] = np.memmap(folder / key, facts["dtype"], mode="c", shape=shape)
    return arrays, layout["classes"]
