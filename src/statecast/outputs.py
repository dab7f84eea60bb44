"""Outputs that appear under their final name only when complete, and resumable runs."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from warnings import catch_warnings, filterwarnings

import xarray as xr

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
    """The directory `OUT.unfinished` of a run in training, which is renamed to `out` when the block has succeeded.

    If the block fails or the process is killed, the directory remains for `resume`, provided that it contains a checkpoint. With several
    processes, the first one creates and renames it. Raises OutputError if `out` exists, or if an unfinished run exists and neither
    `resume` nor `overwrite` was given.
    """
    out = Path(out)
    unfinished = out.with_name(f"{out.name}.unfinished")
    if not is_first_process():
        yield unfinished
        return
    _refuse_what_exists(out, overwrite)
    if holds_checkpoint(unfinished) and not (resume or overwrite):
        raise OutputError(
            f"{unfinished} contains an interrupted run, but neither --resume nor --overwrite was given. "
            "Pass --resume to continue it, or --overwrite to start again."
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
    return (Path(out) / "model" / "model.json").is_file()


def _refuse_what_exists(out: Path, overwrite: bool) -> None:
    if (out.exists() or out.is_symlink()) and not overwrite:
        raise OutputError(f"{out} already exists. Choose another path, or pass --overwrite to replace it.")


def _unwritable(out: Path, error: OSError) -> OutputError:
    return OutputError(f"{out} can't be written: {error.strerror}. Choose another path.")


def _put_in_place(written: Path, out: Path) -> None:
    """Move to `out`; an earlier output is deleted only after the new one is in place."""
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
        if out.exists() or out.is_symlink():
            out.rename(Path(aside) / out.name)
        written.rename(out)
