"""The benchmarks run with --smoke: what it calls is still there, and its tables still print."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LEFT_OUT = {
    "unet",  # what others import
    "throughput",  # takes both cores, which these tests share
    "resume",  # tests/training/test_processes.py does the same
}
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in LEFT_OUT)
SMOKE_APART = {"finer", "model_error", "questions", "skill"}  # what lies at --out is used again by real runs
THREADS = {"step": ["--threads", "1"]}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs(name, tmp_path):
    text = (BENCHMARKS / f"{name}.py").read_text()
    out = ["--out", str(tmp_path / "out")] if 'add_argument("--out"' in text else []
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(BENCHMARKS / f"{name}.py"), "--smoke", *out, *THREADS.get(name, [])],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) > 1
    assert "nan" not in done.stdout.split()
    if name in SMOKE_APART:
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["smoke"]


def test_scores_of_another_store_patch_or_scale_lie_apart(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from skill import folder_of

    stores = [tmp_path / "a" / "era5.zarr", tmp_path / "b" / "era5.zarr"]
    for store in stores:
        store.mkdir(parents=True)
    options = [("sample:atmosphere", 4, 1.0), ("sample:atmosphere", 3, 1.0), ("sample:atmosphere", 4, 0.5)]
    options += [(str(store), 4, 1.0) for store in stores]
    folders = [folder_of(*each, tmp_path) for each in options]
    assert len(set(folders)) == len(options) and all(folder.parent == tmp_path for folder in folders)
    monkeypatch.chdir(tmp_path)
    assert folder_of("a/era5.zarr", 4, 1.0, tmp_path) == folders[3]
