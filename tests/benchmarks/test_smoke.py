"""The benchmarks run with --smoke: what it calls is still there, and its tables still print."""

import importlib
import json
import operator
import os
import pickle
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LEFT_OUT = {
    "shared",  # what the scripts import
    "unet",
    "throughput",  # takes both cores, which these tests share
    "resume",  # tests/training/test_processes.py does the same
}
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in LEFT_OUT)
SMOKE_APART = {"finer", "model_error", "questions", "skill"}  # what lies at --out is used again by real runs
OPTIONS = {name: ["--jobs", "1"] for name in ("scaling", "transfer")}
OPTIONS |= {"step": ["--threads", "1"], "peers": ["--figure", "peers.png"]}


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs(name, tmp_path, monkeypatch, capsys):
    """In this process: a new one would take longer to import than many of them to run."""
    text = (BENCHMARKS / f"{name}.py").read_text()
    out = ["--out", str(tmp_path / "out")] if 'add_argument("--out"' in text else []
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", [name, "--smoke", *out, *OPTIONS.get(name, [])])
    threads = torch.get_num_threads()
    try:
        importlib.import_module(name).main()
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) > 1
    assert "nan" not in printed.split()
    if name in SMOKE_APART:
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["smoke"]


def test_runs_go_to_processes_of_their_own_and_come_back_in_order(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # it sets it, for good
    import scaling
    import shared
    import transfer

    assert shared.in_parallel(partial(pow, 2), range(5), 2) == [1, 2, 4, 8, 16]
    assert os.getpid() not in shared.in_parallel(operator.call, [os.getpid] * 2, 2)
    sweep, study = transfer.Sweep(tmp_path, 2, 2), scaling.small_study(tmp_path)
    for work in (partial(transfer.result_of, sweep), partial(scaling.result_of, study)):
        assert pickle.loads(pickle.dumps(work)).args == work.args


def test_a_study_of_other_axes_and_seeds_leaves_the_runs_of_the_same_settings_in_the_file(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from scaling import others_kept

    def results(teraflop: float, *runs: tuple[str, int, float]) -> dict:
        rows = [
            {"seed": seed, "learning_rate": 1e-3, "size": size, "forecast": score, "cpu_s": 1.0}
            for size, seed, score in runs
        ]
        return {"settings": {"teraflop": teraflop, "default": {"size": "M"}}, "runs": rows}

    file = tmp_path / "scaling.json"
    found = results(0.5, ("M", 0, 0.3), ("S", 1, 0.5))
    assert others_kept(file, found) == []
    file.write_text(json.dumps(results(0.5, ("M", 0, 0.2), ("S", 0, 0.4))))
    assert [(row["size"], row["seed"], row["forecast"]) for row in others_kept(file, found)] == [("S", 0, 0.4)]
    file.write_text(json.dumps(results(2.0, ("S", 0, 0.4))))
    assert others_kept(file, found) == []


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
