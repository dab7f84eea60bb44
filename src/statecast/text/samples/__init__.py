"""The texts that ship with statecast; their licence and provenance are in the README.md next to them."""

from importlib.resources import files
from pathlib import Path

SAMPLES = {"sample:docs": "docs.jsonl.gz", "sample:names": "names.jsonl.gz"}


def sample_path(name: str) -> Path:
    """Path of the sample `name` (one of `SAMPLES`). Raises KeyError for any other name."""
    return Path(str(files(__name__).joinpath(SAMPLES[name])))
