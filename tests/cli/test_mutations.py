"""Whatever a recipe, a model directory, a store or a command holds: it is done or refused in one line, and a refusal changes nothing.

`MUTATIONS=1000 pytest tests/cli/test_mutations.py` draws so many of each kind at random; without it a few are drawn, always the same.
"""

import contextlib
import copy
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import xarray as xr
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import statecast
from statecast import cli
from statecast.config import read_recipe
from statecast.particles.inference.write import write_jets
from statecast.particles.sources.files import open_jets

MANY = int(os.environ.get("MUTATIONS", "0"))
LONGEST_LINE = 300  # letters
LONGEST_S = 60.0  # of a command; a machine that others use too is slow
pytestmark = pytest.mark.timeout(900)
mutations = settings(
    max_examples=MANY or 10,
    derandomize=not MANY,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

ODD = [
    0,
    -1,
    1,
    2,
    7,
    10**9,
    10**30,
    2**63,
    -(2**63) - 1,
    0.5,
    1e300,
    -1e300,
    1e-300,
    float("inf"),
    float("nan"),
    True,
    False,
    None,
]
ODD += [
    "",
    " ",
    "x",
    "0",
    "1e3",
    "é",
    "a" * 300,
    "a" * 9000,
    "a\nb",
    "\x07",
    "/",
    ".",
    "..",
    "/dev/zero",
    "/dev/null/x",
    "nowhere",
    "none.zarr",
]
ODD += [[], [0], [[]], [1, 2], [2, 1], ["x", "x"], [-1, 10**30], [1e300, 0.5], ["2000-01-03", "2000-01-04"], {}, {"x": 1}, {"kind": "x"}]  # fmt: skip
odd = st.sampled_from(ODD)


class Files(NamedTuple):
    """A folder with what commands read, and the resolved recipes of the models in it."""

    folder: Path
    recipes: dict[str, dict[str, Any]]


def tree(folder: Path) -> dict[str, Any]:
    """Every name under a folder, with the state of each file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        found[str(path.relative_to(folder))] = (
            None if path.is_dir() else (state.st_size, state.st_mtime_ns, state.st_ino)
        )
    return found


def run(folder: Path, *arguments: Any) -> tuple[int, str]:
    """A command's exit code and its last line; it obeys the rules for a mistake."""
    written, before, began = io.StringIO(), tree(folder), time.monotonic()
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["statecast", *map(str, arguments)])
        with (
            contextlib.redirect_stderr(written),
            contextlib.redirect_stdout(io.StringIO()),
            pytest.raises(SystemExit) as stopped,
        ):
            cli.main()
    code, lines = stopped.value.code or 0, written.getvalue().splitlines()
    assert code in (0, 2), lines
    assert time.monotonic() - began < LONGEST_S
    if code == 2:
        said = [line for line in lines if line.startswith("statecast: ")]
        assert len(said) == 1 and said[0] == lines[-1] and len(said[0]) <= LONGEST_LINE, lines
        assert said[0].isprintable() and tree(folder) == before
    return code, lines[-1] if lines else ""


@pytest.fixture(scope="module")
def files(runs, tmp_path_factory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    shutil.copytree(runs.store, folder / "store.zarr")
    xr.open_zarr(runs.store, consolidated=False).isel(time=slice(80)).to_netcdf(folder / "store.nc")
    write_jets(open_jets("sample:jets").read(0, 120), folder / "jets.parquet")
    short = runs.recipe["training"] | {"steps": 1, "validate_every": 1, "loggers": ["csv"]}
    weather = runs.recipe | {"training": short, "data": runs.recipe["data"] | {"store": "store.zarr"}}
    streams = {
        "particles": {},
        "jet": {"quantities": ["multiplicity", "pt_gev"]},
        "codes": {"asks": "codebook", "size": 8},
    }
    jets = {
        "data": {"domain": "particles", "files": "jets.parquet", "train": [0, 79], "validate": [80, 99]},
        "streams": streams,
        "task": {"kind": "masked_particles", "ask": ["codes"], "show": ["jet"]},
        "model": weather["model"],
        "training": short,
    }
    forecast = weather | {"task": {"kind": "forecast", "history": 1, "leads": 1}}
    recipes = {"weather": weather, "jets": jets, "forecast": forecast}
    with contextlib.chdir(folder):
        for name in recipes:
            statecast.pretrain(recipes[name], name, progress=False)
    return Files(folder, {name: read_recipe(recipe).as_dict() for name, recipe in recipes.items()})


@contextlib.contextmanager
def working_copy(files: Files) -> Iterator[Path]:
    """A folder of an example, in which the files may be changed."""
    folder = Path(files.folder.parent) / "example"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(files.folder, folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in nested lists and sections."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [place for key, part in items for place in [(*path, key), *places(part, (*path, key))]]


@st.composite
def mutated(draw: Callable[..., Any], values: Any) -> Any:
    """The values with one, or two, of them replaced, left out, misspelt, wrapped or swapped."""
    values = copy.deepcopy(values)
    for _ in range(draw(st.integers(1, 2))):
        found = places(values)
        assume(found)
        *path, last = draw(st.sampled_from(found))
        section = values
        for key in path:
            section = section[key]
        change = draw(st.sampled_from(["odd"] * 6 + ["drop", "misspell", "wrap", "reverse", "deep"]))
        if change == "drop":
            del section[last]
        elif change == "misspell" and isinstance(section, dict):
            section[f"{last}s"] = section.pop(last)
        elif change == "wrap":
            section[last] = [section[last]]
        elif change == "reverse" and isinstance(section[last], list):
            section[last] = section[last][::-1]
        elif change == "deep":
            for _ in range(draw(st.sampled_from([3, 30]))):
                section[last] = [section[last]]
        else:
            section[last] = draw(odd)
    return values


PIECES = [
    "",
    '"',
    "{",
    "}",
    "[",
    "[" * 3000,
    "- " * 3000,
    "&a ",
    "*a",
    "<<: *a",
    "!!python/object:os.x ",
    "!!binary ",
    "!!int x",
    "!!set {a}",
]
PIECES += ["\t", "\0", "\udcff", ": ", "%", "|", "'", "é", "9" * 5000]
PIECES += ["\na0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))]


@st.composite
def mutated_text(draw: Callable[..., Any], values: Any) -> bytes:
    """Mutated values as a YAML document, in one of five cases with something in it that is none."""
    text = json.dumps(draw(mutated(values))).replace("Infinity", ".inf").replace("NaN", ".nan")
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from(PIECES)) + text[place + draw(st.integers(0, 3)) :]
    return text.encode("utf-8", "surrogateescape")


@mutations
@given(data=st.data())
def test_a_mutated_recipe_is_trained_or_refused(files, data):
    name = data.draw(st.sampled_from(sorted(files.recipes)))
    recipe = data.draw(mutated_text(files.recipes[name]))
    command = data.draw(st.sampled_from(["pretrain", "pretrain", "cost", "finetune"]))
    options = {
        "pretrain": ["--out", "run", "--quiet"],
        "cost": [],
        "finetune": ["--from", name, "--out", "run", "--quiet"],
    }
    with working_copy(files) as folder:
        (folder / "recipe.yaml").write_bytes(recipe)
        run(folder, command, "recipe.yaml", *options[command])


def questions(name: str) -> list[list[str]]:
    """Commands that ask the model `name` of a working copy."""
    if name == "jets":
        return [["tag", name, "jets.parquet", "--out", "out.parquet"], ["evaluate", name, "--out", "out", "--quiet"], ["generate", name, "--jets", "2", "--out", "out.parquet"]]  # fmt: skip
    period = ["--data", "store.zarr", "--period", "2000-02-10", "2000-02-12", "--quiet"]
    return [
        ["predict", name, "--data", "store.zarr", "--init", "2000-02-10T00", "--steps", "2", "--out", "out.nc"],
        ["evaluate", name, *period, "--no-report", "--out", "out"],
        ["embed", name, *period, "--out", "out.nc"],
        ["samples", name, "--step", "0"],
        ["finetune", "recipe.yaml", "--from", name, "--out", "out", "--quiet"],
    ]


CHANGES = ("text", "text", "text", "cut", "empty", "bytes", "gone", "directory")


def damaged(draw: Callable[..., Any], path: Path, others: Sequence[str] = ("loop", "device", "pipe")) -> None:
    """Change what stands at a path: its text if it is a document, else its bytes, or what kind of file it is."""
    change = draw(st.sampled_from([*CHANGES, *others]))
    if change == "text" and path.suffix in (".json", ".yaml"):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_bytes(draw(mutated_text(values)))
        return
    content = path.read_bytes()
    if change in ("cut", "text"):
        path.write_bytes(content[: draw(st.integers(0, len(content)))])
    elif change in ("empty", "bytes"):
        path.write_bytes(b"" if change == "empty" else draw(st.binary(min_size=1, max_size=100)))
    else:
        path.unlink()
    if change == "directory":
        path.mkdir()
    elif change in ("loop", "device"):
        path.symlink_to(path if change == "loop" else "/dev/zero")
    elif change == "pipe":
        os.mkfifo(path)


def meaning(model: Path) -> dict[str, Any]:
    """What a model directory says, however it is formatted."""
    found: dict[str, Any] = {}
    for path in sorted(model.rglob("*")):
        if path.suffix in (".json", ".yaml"):
            found[path.name] = yaml.safe_load(path.read_text(encoding="utf-8"))
        elif path.name != "README.md":
            found[path.name] = path.read_bytes() if path.is_file() else None
    return found


@mutations
@given(data=st.data())
def test_a_mutated_model_directory_is_refused(files, data):
    name = data.draw(st.sampled_from(sorted(files.recipes)))
    with working_copy(files) as folder:
        (folder / "recipe.yaml").write_text(
            yaml.safe_dump({"task": {"kind": "masked", "slabs": 1}, "training": {"steps": 1}})
        )
        model = folder / name / "model"
        before = meaning(model)
        paths = [path for path in sorted(model.rglob("*")) if path.is_file() and path.name != "README.md"]
        damaged(data.draw, data.draw(st.sampled_from(paths)))
        code, _ = run(folder, *data.draw(st.sampled_from(questions(name))))
        assert code == 2 or meaning(model) == before


@mutations
@given(data=st.data())
def test_a_mutated_store_or_file_of_jets_is_read_or_refused(files, data):
    name = data.draw(st.sampled_from(sorted(files.recipes)))
    with working_copy(files) as folder:
        stores = [folder / "jets.parquet"] if name == "jets" else [folder / "store.zarr", folder / "store.nc"]
        store = data.draw(st.sampled_from(stores))
        paths = [path for path in sorted(store.rglob("*")) if path.is_file()] or [store]
        damaged(data.draw, data.draw(st.sampled_from(paths)), () if store.is_dir() else ("loop", "device", "pipe"))
        described = ["data", "describe", str(store.name)]
        retrained = ["pretrain", "recipe.yaml", "--out", "run", "--quiet"]
        recipe = {key: value for key, value in files.recipes[name].items() if value is not None}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        command = data.draw(st.sampled_from([described, retrained, *questions(name)[:2]]))
        run(folder, *[store.name if part == "store.zarr" else part for part in command])


COMMANDS = [
    ["pretrain", "recipe.yaml", "--out", "run", "--every", "1", "--keep", "1", "--devices", "1", "--nodes", "1"],
    ["finetune", "recipe.yaml", "training.steps=1", "--from", "weather", "--out", "run", "--quiet"],
    ["update", "weather", "--data", "store.zarr", "--since", "2000-02-06", "--replay", "0.5", "--out", "run"],
    ["cost", "recipe.yaml", "--device", "h100", "--devices", "8", "--samples", "10", "--price", "2", "--json"],
    ["cost", "--params", "1e9", "--tokens", "1e9", "--power", "100", "--pue", "1.2", "--peak", "100", "--intensity", "100"],
    ["data", "describe", "store.zarr"],
    ["data", "describe", "jets.parquet"],
    ["data", "simulate", "jets", "--out", "out.parquet", "--jets", "7", "--seed", "1", "--pt", "500", "600", "--workers", "1"],
    ["data", "simulate", "atmosphere", "--out", "out.zarr", "--days", "-1", "--truncation", "21", "--interval-h", "6"],
    ["explain", "forecast", "--data", "store.zarr", "--at", "2000-02-10T00", "--query", "10", "10", "t@500", "--out", "out"],
    ["complete", "weather", "--data", "store.zarr", "--period", "2000-02-10", "2000-02-11", "--members", "2", "--out", "out.nc"],
    ["data", "prepare", "cf", "every_h=6", "--from", "store.zarr", "--out", "out.zarr", "--quiet"],
    ["data", "append", "store.zarr", "store.nc"],
    ["unfold", "jets", "jets.parquet", "--members", "2", "--steps", "2", "--seed", "1", "--batch", "8", "--out", "out.parquet"],
    ["evaluate", "forecast", "--data", "store.zarr", "--period", "2000-02-10", "2000-02-12", "--members", "2", "--lattices", "2", "--no-report", "--quiet", "--out", "out"],
    *[command for name in ("forecast", "jets") for command in questions(name)],
]  # fmt: skip
WORDS = [
    "0",
    "-1",
    "1e300",
    "inf",
    "nan",
    "9" * 30,
    "1000000000",
    "2.5",
    "",
    " ",
    "x",
    "é",
    "a" * 300,
    "a" * 5000,
    "\udcff",
    "a\nb",
    "/",
    ".",
    "..",
    "~",
]
WORDS += [
    "/dev/zero",
    "/dev/null",
    "/proc/self/mem",
    "loop",
    "pipe",
    "empty",
    "a/loop/b",
    "recipe.yaml",
    "recipe.yaml/x",
    "store.zarr",
    "jets.parquet",
]
WORDS += ["weather", "jets", "forecast/model", "--out", "--overwrite", "--help", "--resume", "x=1", "training.steps=1", "seed=", "=", "s3://x/y", "sample:x"]  # fmt: skip


@mutations
@given(data=st.data())
def test_a_mutated_command_is_done_or_refused(files, data):
    command = list(data.draw(st.sampled_from(COMMANDS)))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(1, len(command) - 1))
        change = data.draw(st.sampled_from(["word", "word", "word", "drop", "twice", "more"]))
        word = [command[place]] * 2 if change == "twice" else [data.draw(st.sampled_from(WORDS))]
        command[place : place + (change != "more")] = [] if change == "drop" and len(command) > 2 else word
    with working_copy(files) as folder:
        recipe = {key: value for key, value in files.recipes["weather"].items() if value is not None}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        (folder / "loop").symlink_to("loop")
        (folder / "empty").touch()
        os.mkfifo(folder / "pipe")
        run(folder, *command)
