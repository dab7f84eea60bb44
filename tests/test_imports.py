"""The structure: imports run one way, along the path of the data."""

import subprocess
import sys
from pathlib import Path

from importlinter import cli

ROOT = Path(__file__).parent.parent


def test_imports_run_one_way(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == cli.EXIT_STATUS_SUCCESS


def test_the_help_does_not_wait_for_torch():
    """A command line that takes seconds to say how it is used is not used."""
    code = "import sys; sys.argv = ['statecast', '--help']; import statecast.cli; print('lightning' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
