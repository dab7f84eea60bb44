"""The texts that ship with statecast; their licence and provenance are in the README.md next to them."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from statecast.numbered import real_places

SAMPLES = {"sample:docs": "docs.jsonl.gz", "sample:names": "names.jsonl.gz"}


def sample_path(name: str) -> Path:
    """Path of the sample `name` (one of `SAMPLES`). Raises KeyError for any other name."""
    return Path(str(files(__name__).joinpath(SAMPLES[name])))


def real_files(names: Sequence[str]) -> set[Path]:
    """The files that names stand for."""
    return real_places([sample_path(name) if name in SAMPLES else name for name in names])
