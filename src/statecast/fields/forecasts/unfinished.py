"""A verification while it is made: `OUT.unfinished` holds what was scored, so that the same command goes on after an interruption."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from statecast.evaluation.kept import KeptCases
from statecast.fields.samples import SAMPLES, sample_path
from statecast.fields.sources.opening import open_raw
from statecast.fields.sources.units import tell
from statecast.outputs import OutputError, in_new_parents, require_place

JOURNAL, CASES, CLIMATOLOGY = "verification.json", "cases", "climatology"


@contextlib.contextmanager
def unfinished(
    out: Path, request: Mapping[str, Any], stores: Sequence[str], *, overwrite: bool
) -> Iterator[tuple[Path, KeptCases]]:
    """The directory of a verification, new or one that goes on, and its cases; it is removed when the block has succeeded.

    If the block fails, it stays if it holds a case. Raises OutputError if it holds another verification, or if inputs have changed.
    """
    require_place(out, overwrite)
    folder = out.with_name(f"{out.name}.unfinished")
    journal = {"request": dict(request), "inputs": {store: _identity(store) for store in stores}}
    with in_new_parents(out):
        _begin(folder, journal, overwrite=overwrite)
        kept = KeptCases(folder / CASES)
        if len(kept):
            tell(f"{folder} holds {len(kept)} initial times of this verification; it goes on from there.")
        try:
            yield folder, kept
        except BaseException:
            if len(kept) == 0:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                tell(f"{len(kept)} initial times are kept in {folder}; the same command goes on from there.")
            raise
    shutil.rmtree(folder, ignore_errors=True)


def _begin(folder: Path, journal: dict[str, Any], *, overwrite: bool) -> None:
    """The journal comes last: without it, nothing is there to go on with."""
    known = None if overwrite else _read(folder / JOURNAL)
    if known is not None:
        _require_same(folder, known, json.loads(json.dumps(journal)))
        return
    if folder.exists() and not overwrite and not _is_ours(folder):
        raise OutputError(f"{folder} is in the way, which is no verification. Move it, or choose another output.")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / CASES).mkdir(parents=True)
    aside = folder / f"{JOURNAL}.part"
    aside.write_text(json.dumps(journal), encoding="utf-8")
    aside.replace(folder / JOURNAL)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {f"{JOURNAL}.part", JOURNAL, CASES}


def _require_same(folder: Path, known: Mapping[str, Any], journal: Mapping[str, Any]) -> None:
    asked, before = journal["request"], known["request"]
    if differing := [key for key in asked if asked[key] != before.get(key)]:
        raise OutputError(
            f"{folder} holds another verification: its {differing[0].replace('_', ' ')} differs. Choose another output, or "
            "pass --overwrite to start again."
        )
    if changed := [store for store, identity in journal["inputs"].items() if known["inputs"].get(store) != identity]:
        raise OutputError(
            f"{folder} was begun before {changed[0]} changed, so that its scores are of other values. Pass --overwrite to start again."
        )


def _identity(store: str) -> str:
    """What changes with the contents of a store: names, sizes and times of its files; of a remote one its coordinates and metadata."""
    path = sample_path(store) if store in SAMPLES else Path(store)
    found = hashlib.sha256()
    if "://" in store:
        dataset = open_raw(store, keep_steps=True)
        found.update(str(dataset.to_dict(data=False, encoding=True)).encode())
        for coordinate in dataset.coords.values():
            found.update(np.ascontiguousarray(coordinate.values.astype(str)).tobytes())
        return found.hexdigest()
    path = next((place for place in (path, *path.parents) if place.exists()), path)  # a group in a file
    files = [path] if path.is_file() else sorted(Path(at) / name for at, _, names in os.walk(path) for name in names)
    for file in files:
        about = file.stat()
        found.update(f"{file.relative_to(path.parent)} {about.st_size} {about.st_mtime_ns}\n".encode())
    return found.hexdigest()
