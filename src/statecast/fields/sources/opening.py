"""Where a store lies and what kind it is: Zarr, NetCDF, HDF5 or GRIB, one file, a group in it, a zip, a bucket, a sample.

What can't be opened as one record is refused by its name and kind, with the way to make one of it.
"""

import glob
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import fsspec
import xarray as xr
import zarr

from statecast.fields.samples import SAMPLES, sample_path
from statecast.fields.sources.cache import CacheOptions, ChunkCache
from statecast.fields.sources.cached import CachedStore
from statecast.fields.sources.errors import MissingStoreError, StoreError
from statecast.fields.sources.fill_values import MISSING_VALUE, PACKING, AbsentChunks, KnownFills
from statecast.fields.sources.grib import open_grib
from statecast.fields.sources.remote import PatientStore

MAGIC = {
    b"\x89HDF": "NetCDF file",
    b"CDF": "NetCDF file",
    b"GRIB": "GRIB file",
    b"PK\x03\x04": "zip",
}
NEVER_WRITTEN = {
    "f4": 9.969209968386869e36,
    "f8": 9.969209968386869e36,
    "i2": -32767,
    "u2": 65535,
    "i4": -2147483647,
    "u4": 4294967295,
}
"""What NetCDF fills an array with that was never written: NC_FILL_FLOAT and so on. Bytes have no such number."""
FILE_ENDINGS = (".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".he5", ".grib", ".grb", ".grib2", ".grb2")
ZARR_METADATA = ("zarr.json", ".zgroup", ".zmetadata", ".zarray")
ABSENT = "absent_chunks"
"""In the encoding of a variable: the arrays of its store of which a chunk that is not there was read."""
GOOD_STORES = "Give a Zarr store, a NetCDF file, a GRIB file"


def open_raw(
    store: str, absent: AbsentChunks | None = None, cache: CacheOptions | None = None, *, keep_steps: bool = False
) -> xr.Dataset:
    """The dataset of a store under its own names, lazily.

    store       a path, a path of a group in a file (`imerg.HDF5/Grid`) or a Zarr store, a URL, or a sample
    absent      what chunks stand for that a Zarr store lacks, see `fill_values`
    cache       where chunks of a store behind a URL are kept, see `cached`; none: they are fetched whenever they are read
    keep_steps  True: a single lead time of a GRIB file stays beside its initial time; otherwise the two become the valid time

    Raises MissingStoreError if it does not exist, StoreError if it is not a readable store, in one line.
    """
    if store in SAMPLES:
        return _opened(store, str(sample_path(store)), absent, keep_steps=keep_steps)
    if store.startswith("sample:"):
        raise StoreError(f"store {store}: no such sample. Samples: {', '.join(SAMPLES)}.")
    if "://" in store:
        return _opened(store, store, absent, cache=ChunkCache.open(cache) if cache else None, keep_steps=keep_steps)
    try:
        file, group = _local(store)
    except OSError as error:
        raise StoreError(f"store {store[:100]}: can't be opened ({error.strerror}). {GOOD_STORES}.") from error
    return _opened(store, str(file), absent, group, keep_steps=keep_steps)


def _local(store: str) -> tuple[Path, str | None]:
    """The file or directory at a path, and the group in it. Raises StoreError for none, or several."""
    if not Path(store).exists() and glob.has_magic(store):
        raise _several(store)
    if Path(store).is_dir() and not any((Path(store) / name).exists() for name in ZARR_METADATA):
        _refuse_directory(store)
    file, group = _file_and_group(Path(store))
    if not file.exists():
        raise MissingStoreError(f"store {store}: does not exist. {GOOD_STORES} or a sample ({', '.join(SAMPLES)}).")
    return file, group


def _file_and_group(path: Path) -> tuple[Path, str | None]:
    """A file, and the group in it that the rest of the path names."""
    for parent in path.parents:
        if parent.is_file():
            return parent, str(path.relative_to(parent))
    return path, None


def kind_of(path: str) -> str:
    """What lies at a path or URL, by its first bytes; a directory, or what can't be read, may be a Zarr store."""
    try:
        with fsspec.open(path, "rb") as file:
            first = file.read(4)
    except Exception:  # noqa: BLE001  each file system has errors of its own; reading it as a store tells them
        return "Zarr store"
    return next((kind for magic, kind in MAGIC.items() if first.startswith(magic)), "file")


def _opened(
    store: str,
    path: str,
    absent: AbsentChunks | None,
    group: str | None = None,
    cache: ChunkCache | None = None,
    *,
    keep_steps: bool,
) -> xr.Dataset:
    is_remote = "://" in path
    kind = "Zarr store" if is_remote or Path(path).is_dir() else kind_of(path)
    try:
        opened = _of_url(path, absent, cache) if is_remote else _read(path, kind, absent, group, keep_steps)
        dataset = _with_coordinates_read(opened)
    except StoreError as error:
        raise StoreError(f"store {store}: {error}") from error
    except Exception as error:
        raise _unreadable(store, path, kind, error) from error
    if not dataset.data_vars:
        _refuse_groups(store, path, kind, dataset)
    for variable in dataset.variables.values():
        variable.encoding["source"] = store  # where it was read, for what is said of a part that is damaged
    return dataset


def _with_coordinates_read(dataset: xr.Dataset) -> xr.Dataset:
    """Raises StoreError for a coordinate that is damaged."""
    for name, coordinate in dataset.coords.items():
        try:
            if coordinate.ndim < 2:
                coordinate.load()
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(
                f"coordinate '{name}' can't be read ({' '.join(str(error).split())[:120]}). Replace it."
            ) from error
    return dataset


def _read(path: str, kind: str, absent: AbsentChunks | None, group: str | None, keep_steps: bool) -> xr.Dataset:
    if kind == "GRIB file":
        return open_grib(path, keep_steps=keep_steps)
    if kind == "zip":
        return _zarr(zarr.storage.ZipStore(path, mode="r", read_only=True), absent)
    if kind != "Zarr store":
        return open_netcdf(path, group)
    is_consolidated = _has_consolidated_metadata(Path(path))
    return _zarr(zarr.storage.LocalStore(path, read_only=True), absent, consolidated=is_consolidated)


def open_zarr(path: str, absent: AbsentChunks | None, storage_options: Mapping[str, Any], **options: Any) -> xr.Dataset:
    """A Zarr store in a directory, a zip or behind a URL as it is, with `options` of xarray; for what it lacks see `KnownFills`."""
    if "://" in path:
        return _remote(path, storage_options, absent, **options)
    if not Path(path).is_dir():
        return _zarr(zarr.storage.ZipStore(path, mode="r", read_only=True), absent, **options)
    is_consolidated = _has_consolidated_metadata(Path(path))
    return _zarr(zarr.storage.LocalStore(path, read_only=True), absent, is_consolidated, **options)


def open_netcdf(path: str, group: str | None, engine: str | None = None, **options: Any) -> xr.Dataset:
    """A NetCDF or HDF5 file as it is, with `options` of xarray's decoding.

    What was never written into it reads as a number that the format keeps for it, said by an attribute or not.
    """
    dataset = xr.open_dataset(path, chunks=None, group=group, decode_cf=False, engine=engine)
    for variable in dataset.variables.values():
        fill = NEVER_WRITTEN.get(variable.dtype.str[1:])
        is_packed = bool(set(PACKING) & set(variable.attrs))
        if (
            fill is not None
            and (variable.dtype.kind == "f" or is_packed)
            and not set(MISSING_VALUE) & set(variable.attrs)
        ):
            variable.attrs["_FillValue"] = variable.dtype.type(fill)
    return xr.decode_cf(dataset, **options)


def _of_url(url: str, absent: AbsentChunks | None, cache: ChunkCache | None) -> xr.Dataset:
    try:
        return _remote(url, {}, absent, cache)
    except Exception as error:
        if url.startswith("s3://") and "credentials" in str(error).lower():
            return _remote(url, {"anon": True}, absent, cache)  # a public bucket is read without them
        raise


def _remote(
    url: str,
    storage_options: Mapping[str, Any],
    absent: AbsentChunks | None,
    cache: ChunkCache | None = None,
    **options: Any,
) -> xr.Dataset:
    files = zarr.storage.FsspecStore.from_url(url, storage_options=dict(storage_options), read_only=True)
    store = PatientStore(files, url)
    return _zarr(CachedStore(store, cache) if cache else store, absent, **options)


def _zarr(store: Any, absent: AbsentChunks | None, consolidated: bool | None = None, **options: Any) -> xr.Dataset:
    """Consolidated metadata are looked for if nothing is said; that there are none is no fault of the reader's."""
    known = KnownFills(store, absent)
    if options.get("group"):
        with catch_warnings():  # of a group, xarray has to try
            filterwarnings("ignore", message="Failed to open Zarr store with consolidated metadata")
            return xr.open_zarr(known, chunks=None, **options)
    if consolidated is None:
        group = zarr.open_group(known, mode="r")
        consolidated = group.metadata.consolidated_metadata is not None
    dataset = xr.open_zarr(known, chunks=None, consolidated=consolidated, **options)
    for variable in dataset.variables.values():
        variable.encoding[ABSENT] = known.absent
    return dataset


def _has_consolidated_metadata(store: Path) -> bool:
    """Whether the root tells the metadata of all arrays. While `data append` ends, it is the root that is right."""
    root = store / "zarr.json"
    if not root.is_file():
        return (store / ".zmetadata").exists()
    return bool(json.loads(root.read_text(encoding="utf-8")).get("consolidated_metadata"))


def _unreadable(store: str, path: str, kind: str, error: Exception) -> StoreError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if kind == "file":
        reason = "it begins as no NetCDF, HDF5 or GRIB file does"
    if isinstance(error, zarr.errors.GroupNotFoundError):
        reason = "no Zarr group is there"
    if isinstance(error, ImportError) and "://" in path:
        return StoreError(f"store {store}: needs the extra `cloud` ({reason}): pip install 'statecast[cloud]'.")
    if "://" in path:
        found = kind_of(path)
        if found not in ("Zarr store", "file"):
            return StoreError(
                f"store {store}: is a {found} behind a URL, expected a Zarr store there. Download the file and give its path."
            )
        if any(
            word in reason.lower() for word in ("credential", "forbidden", "access denied", "accessdenied", "anonymous")
        ):
            return StoreError(
                f"store {store}: access is denied ({reason}), with the credentials found or anonymously. Set those of the store, "
                "for example AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket."
            )
    kind = "NetCDF file" if kind == "file" else kind
    return StoreError(f"store {store}: cannot be read as a {kind} ({reason}). {GOOD_STORES}.")


def _several(store: str) -> StoreError:
    return StoreError(
        f"store {store}: is several files, expected one. Make one by `statecast data prepare`, or by xarray's open_mfdataset and to_zarr."
    )


def _refuse_directory(store: str) -> None:
    """Raises StoreError for a directory of files, or of Zarr stores."""
    inside = sorted(Path(store).iterdir())
    endings = [path.suffix.lower() for path in inside if path.suffix.lower() in FILE_ENDINGS]
    if endings:
        raise _several(store)
    stores = [path for path in inside if any((path / name).exists() for name in ZARR_METADATA)]
    if stores:
        raise StoreError(
            f"store {store}: is a directory of stores, expected one. Give one of them, such as {stores[0]}."
        )


def _refuse_groups(store: str, path: str, kind: str, dataset: xr.Dataset) -> None:
    """Raises StoreError for a file whose variables lie in groups."""
    if kind not in ("NetCDF file", "Zarr store") or "://" in path:
        return
    dataset.close()
    options: dict[str, Any] = {"engine": "zarr", "consolidated": False} if kind == "Zarr store" else {}
    groups = [name for name, group in xr.open_groups(path, chunks=None, **options).items() if group.data_vars]
    if groups:
        raise StoreError(
            f"store {store}: has no variable outside its groups ({', '.join(groups)}), expected some. "
            f"Name a group: {store.rstrip('/')}{groups[0]}."
        )
