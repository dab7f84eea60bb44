"""Outputs that appear at their place only once they are whole, and resumable runs."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from warnings import catch_warnings, filterwarnings

import xarray as xr

from statecast.training import is_first_process

START = "start"
"""The model directory of a run in training: what it started from, with the statistics of its streams."""


class OutputError(ValueError):
    """An output that exists already, or can't be written."""


@contextlib.contextmanager
def new_output(out: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A path to write a file or a directory to, which appears at `out` only once the block has succeeded.

    If the block fails, what stands at `out` stays as it was and what was written is removed; of runs that were trained on the way
    the finished ones are kept as `OUT.failed`. Raises OutputError if `out` exists and may not be overwritten.
    """
    out = Path(out)
    _refuse_what_exists(out, overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
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
    """The directory `OUT.unfinished` of a run in training, which becomes `out` once the block has succeeded.

    If the block fails, or the process is killed, it stays for `resume` as soon as it holds a checkpoint. Of several processes the
    first one makes and moves it. Raises OutputError if `out` exists, or an unfinished run and neither `resume` nor `overwrite` was given.
    """
    out = Path(out)
    unfinished = out.with_name(f"{out.name}.unfinished")
    if not is_first_process():
        yield unfinished
        return
    _refuse_what_exists(out, overwrite)
    if holds_checkpoint(unfinished) and not (resume or overwrite):
        raise OutputError(
            f"{unfinished} holds a run that was stopped. Pass --resume to go on with it, or --overwrite to start again."
        )
    try:
        if not (resume and holds_checkpoint(unfinished)):
            shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        yield unfinished
        _put_in_place(unfinished, out)
    finally:
        if unfinished.is_dir() and not holds_checkpoint(unfinished):
            shutil.rmtree(unfinished, ignore_errors=True)


def write_dataset(dataset: xr.Dataset, out: Path) -> None:
    """Write as Zarr, or as NetCDF if the name ends in .nc.

    A Zarr store has its metadata in one place too, which is where `xarray.open_zarr` looks first, and warns if it doesn't find them.
    """
    if out.suffix == ".nc":
        dataset.to_netcdf(out)
        return
    with catch_warnings():  # other readers ignore what is not part of the zarr specification yet
        filterwarnings("ignore", message="Consolidated metadata is currently not part")
        dataset.to_zarr(out, mode="w-", zarr_format=3, consolidated=True)


def holds_checkpoint(run: Path) -> bool:
    return any((run / "checkpoints").glob("*.ckpt"))


def is_finished(out: str | Path) -> bool:
    """Whether a run directory stands at `out`, whole."""
    return (Path(out) / "model" / "model.json").is_file()


def _refuse_what_exists(out: Path, overwrite: bool) -> None:
    if (out.exists() or out.is_symlink()) and not overwrite:
        raise OutputError(f"{out} exists already. Choose another place, or pass --overwrite to replace it.")


def _unwritable(out: Path, error: OSError) -> OutputError:
    return OutputError(f"{out} can't be written: {error.strerror}. Choose another place.")


def _put_in_place(written: Path, out: Path) -> None:
    """Move to `out`; what stood there goes only once the new one is in its place."""
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
        if out.exists() or out.is_symlink():
            out.rename(Path(aside) / out.name)
        written.rename(out)
