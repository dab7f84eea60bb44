"""The structure: imports run one way, along the path of the data."""

import subprocess
import sys
from pathlib import Path

import pytest
from importlinter import cli

ROOT = Path(__file__).parent.parent
HEAVY = (
    "torch",
    "lightning",
    "xarray",
    "awkward",
    "fastjet",
    "pythia8mc",
    "pyarrow",
)  # each takes a good part of a second, torch more than one


def test_imports_run_one_way(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == cli.EXIT_STATUS_SUCCESS


@pytest.mark.parametrize(
    "statement",
    [
        "import statecast",
        "from statecast.cli import main; sys.argv[1:] = ['--help']; main()",
        "from statecast.cli import main; sys.argv[1:] = ['pretrain', '--help']; main()",
        "from statecast.cli import main; sys.argv[1:] = ['data', 'simulate', '--help']; main()",
        "from statecast.cli import main; sys.argv[1:] = ['data', 'simulate', 'jets', '--help']; main()",
    ],
)
def test_the_help_does_not_wait_for_torch(statement):
    """A command line that takes seconds to say how it is used is not used."""
    code = f"""
import sys
try:
    {statement}
except SystemExit as stopped:
    assert not stopped.code
print("imported:", *(name for name in {HEAVY} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported:"
    assert "Usage:" in done.stdout or statement == "import statecast"
