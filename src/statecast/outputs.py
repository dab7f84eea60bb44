"""Outputs that appear under their final name only when complete, and resumable runs."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from warnings import catch_warnings, filterwarnings

import xarray as xr

from statecast.documents import is_file
from statecast.training import is_first_process

START = "start"
"""Directory, within a run in training, of the model that the run started from, with the statistics of its streams."""


class OutputError(ValueError):
    """An output already exists or can't be written."""


@contextlib.contextmanager
def new_output(out: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A path for a file or a directory, which is moved to `out` only when the block has succeeded.

    If the block fails, `out` is left unchanged and what was written is removed, except that an output which already contains trained
    models is kept as `OUT.failed`. Raises OutputError if `out` exists and may not be overwritten.
    """
    out = require_place(out, overwrite)
    with in_new_parents(out):
        try:
            aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        except OSError as error:
            raise _unwritable(out, error) from error
        written = aside / out.name
        try:
            yield written
            _put_in_place(written, out)
        except BaseException:
            failed = out.with_name(f"{out.name}.failed")
            if any(aside.rglob("*.safetensors")) and not failed.exists():
                written.rename(failed)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def training_output(out: str | Path, *, overwrite: bool = False, resume: bool = False) -> Iterator[Path]:
    """The directory `OUT.unfinished` of a run in training, which is renamed to `out` when the block has succeeded.

    If the block fails or the process is killed, the directory remains for `resume`, provided that it contains a checkpoint. With several
    processes, the first one creates and renames it. Raises OutputError if `out` exists, or if an unfinished run exists and neither
    `resume` nor `overwrite` was given.
    """
    if not is_first_process():
        yield _unfinished(Path(out))
        return
    out = require_place(out, overwrite)
    unfinished = _unfinished(out)
    goes_on = resume and holds_checkpoint(unfinished)
    if holds_checkpoint(unfinished) and not (resume or overwrite):
        raise OutputError(
            f"{unfinished} contains an interrupted run, but neither --resume nor --overwrite was given. "
            "Pass --resume to continue it, or --overwrite to start again."
        )
    with in_new_parents(out), contextlib.nullcontext() if goes_on else _aside(unfinished):
        try:
            unfinished.mkdir(exist_ok=goes_on)
        except OSError as error:
            raise _unwritable(out, error) from error
        try:
            yield unfinished
            _put_in_place(unfinished, out)
        finally:
            if unfinished.is_dir() and not holds_checkpoint(unfinished):
                shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(out: Path) -> Path:
    return out.with_name(f"{out.name}.unfinished")


@contextlib.contextmanager
def in_new_parents(out: Path) -> Iterator[None]:
    """Makes the directories that `out` lies in; removes those that are new and empty if the block fails."""
    try:
        missing = [parent for parent in out.parents if not parent.exists()]
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        yield
    except BaseException:
        for parent in missing:  # the innermost first
            with contextlib.suppress(OSError):  # it is not empty
                parent.rmdir()
        raise


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[None]:
    """Puts what stands at `path` aside: back if the block fails and leaves nothing there, deleted otherwise."""
    if not path.exists():
        yield
        return
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as aside:
        kept = path.rename(Path(aside) / path.name)
        try:
            yield
        except BaseException:
            if not path.exists():
                kept.rename(path)
            raise


def write_dataset(dataset: xr.Dataset, out: Path) -> None:
    """Write a Zarr store, or a NetCDF file if the name ends in .nc.

    The metadata of a Zarr store are also consolidated: `xarray.open_zarr` looks for consolidated metadata, and warns if there are none.
    """
    if out.suffix == ".nc":
        dataset.to_netcdf(out)
        return
    with catch_warnings():  # readers that follow the Zarr specification ignore consolidated metadata
        filterwarnings("ignore", message="Consolidated metadata is currently not part")
        dataset.to_zarr(out, mode="w-", zarr_format=3, consolidated=True)


def holds_checkpoint(run: Path) -> bool:
    return any((run / "checkpoints").glob("*.ckpt"))


def is_finished(out: str | Path) -> bool:
    """Whether there is a finished run at `out`."""
    return is_file(Path(out) / "model" / "model.json")


def require_place(out: str | Path, overwrite: bool) -> Path:
    """The path of an output. Raises OutputError if something is there, or if what is there must never be replaced."""
    out = Path(out)
    if out.name in ("", ".."):
        raise OutputError(f"{out} is a directory to work in, expected the name of a new output. Choose another path.")
    try:
        mode = out.lstat().st_mode
    except FileNotFoundError:
        return out
    except OSError as error:
        raise _unwritable(out, error) from error
    if not overwrite:
        raise OutputError(f"{out} already exists. Choose another path, or pass --overwrite to replace it.")
    real = str(Path(os.path.realpath(out.parent)) / out.name)
    used = [os.path.realpath(place) for place in (".", Path("~").expanduser())]
    holds = next((place for place in used if os.path.commonpath([place, real]) == real), None)
    if holds is not None or os.path.ismount(out) or not (S_ISREG(mode) or S_ISDIR(mode) or S_ISLNK(mode)):
        what = f"holds {holds}" if holds else "is a device or a mounted disk"
        raise OutputError(f"{out} {what}, so it is not replaced. Choose another path.")
    return out


def _unwritable(out: Path, error: OSError) -> OutputError:
    return OutputError(f"{out} can't be written: {error.strerror}. Choose another path.")


def _put_in_place(written: Path, out: Path) -> None:
    """Move to `out`; an earlier output is deleted only after the new one is in place."""
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
        if out.exists() or out.is_symlink():
            out.rename(Path(aside) / out.name)
        written.rename(out)
