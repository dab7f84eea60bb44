"""What a Zarr store says by its fill values: which numbers mean that nothing was measured, and which are measurements.

Zarr's `fill_value` is what a chunk that was never written reads as. Readers take it for CF's `_FillValue` in format 2, where zarr-python
writes 0 if it is told nothing: every dry hour of a record of rain would be missing, and every chunk would read 0 that a download left out.
Here 0 is a number like others, and a chunk that is not there has no values: NaN if the store says so, and otherwise an error. A chunk that
is cut off is an error too: Blosc would read what happens to lie behind it in memory.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from statecast.fields.sources.errors import StoreError

AbsentChunks = Literal["missing", "fill_value"]
METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
MISSING_VALUE = ("_FillValue", "missing_value")  # CF's attributes for the number that means that nothing was measured
KINDS = {"f": "float", "float": "float", "i": "int", "u": "int", "int": "int", "uint": "int"}
BLOSC_HEADER = 16  # bytes, the last four of them the length of the chunk
PACKING = ("scale_factor", "add_offset")


@dataclass(frozen=True)
class Fill:
    """What an array is filled with where no chunk was written.

    value     as the metadata are to have it; None: the reader masks nothing
    mask      number that means missing without being said so by an attribute
    is_known  True if chunks that are not there are known to be missing, or known to hold this value
    is_blosc  True if the array's chunks are Blosc's, whose first bytes tell their length
    holds_nan  True if missing values can be told from others
    """

    value: Any
    mask: float | None = None
    is_known: bool = True
    is_blosc: bool = False
    holds_nan: bool = True


def fill_of(metadata: dict[str, Any], attributes: dict[str, Any], absent: AbsentChunks | None) -> Fill:
    """What the metadata of a Zarr array of format 2 or 3 mean, and what `absent` says of chunks that are not there."""
    value, is_old = metadata.get("fill_value"), metadata["zarr_format"] == 2
    kind = _kind(metadata["dtype"] if is_old else metadata["data_type"])
    if kind == "other":
        return Fill(value)
    means_missing = isinstance(value, str) or value not in (0, None)  # a string is NaN or infinite
    if len(metadata["shape"]) < 2:  # of a coordinate, zarr-python leaves out a chunk of zeros
        return Fill(value if means_missing or not is_old else None)
    declared = next((attributes[key] for key in MISSING_VALUE if key in attributes), None)
    mask = value if means_missing and declared is None and not is_old and not isinstance(value, str) else None
    if kind == "int":
        return _of_integers(value, is_old, means_missing, declared, attributes, mask, absent)
    is_sharded = any(codec.get("name") == "sharding_indexed" for codec in metadata.get("codecs", ()))
    if means_missing or declared is not None:
        return Fill(value if is_old or is_sharded else "NaN", mask)
    if value is None:
        return Fill("NaN")
    if absent == "fill_value" or is_sharded:  # zarr-python leaves out what is empty inside a shard
        return Fill(None if is_old else value, is_known=absent == "fill_value")
    return Fill("NaN", is_known=absent == "missing")


def _of_integers(
    value: Any,
    is_old: bool,
    means_missing: bool,
    declared: Any,
    attributes: dict[str, Any],
    mask: float | None,
    absent: AbsentChunks | None,
) -> Fill:
    """Packed integers of format 2 mean by 0 what CF means by it; no other integer is missing by itself."""
    if not is_old and isinstance(declared, int):
        return Fill(declared)
    if means_missing or (is_old and value == 0 and any(key in attributes for key in PACKING)):
        return Fill(value, mask)
    return Fill(None if is_old else value, is_known=absent == "fill_value", holds_nan=False)


def _kind(dtype: Any) -> str:
    """float, int, or other: what an array of the type <f4 or float32, say, holds."""
    name = dtype.lstrip("<>|=") if isinstance(dtype, str) else ""
    return KINDS.get(name.rstrip("0123456789"), "other")


def _is_blosc(metadata: dict[str, Any]) -> bool:
    codecs = [metadata.get("compressor") or {}, *(metadata.get("filters") or ()), *metadata.get("codecs", ())]
    names = [codec.get("id", codec.get("name")) for codec in codecs if isinstance(codec, dict)]
    return "blosc" in names and "sharding_indexed" not in names


class KnownFills(WrapperStore[Store]):
    """A Zarr store whose metadata say what its fill values mean, see `fill_of`, and that tells a chunk that is not there from a value.

    Raises StoreError when such a chunk is read from an array that does not say what it stands for. `absent` are the arrays of which one was
    read.
    """

    def __init__(self, store: Store, absent: AbsentChunks | None = None) -> None:
        super().__init__(store)
        self._absent = absent
        self._fills: dict[str, Fill] = {}
        self.absent: set[str] = set()

    def _with_store(self, store: Store) -> "KnownFills":
        other = type(self)(store, self._absent)
        other._fills, other.absent = self._fills, self.absent
        return other

    @property
    def local_root(self) -> Path | None:
        """The directory of the store; None if it is not one on a local disk."""
        return self._store.root if isinstance(self._store, LocalStore) else None

    def knows_fill(self, path: str) -> bool:
        """Whether chunks that the array lacks are known to be its fill value."""
        return path in self._fills and self._fills[path].is_known

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        buffer = await self._store.get(key, prototype, byte_range)
        path, _, name = key.rpartition("/")
        if name not in METADATA:
            if buffer is None:
                self._require_known(key)
            elif byte_range is None:
                self._require_whole(key, buffer)
            return buffer
        if buffer is None or name in (".zattrs", ".zgroup"):
            return buffer
        try:
            document = json.loads(buffer.to_bytes())
        except ValueError:  # zarr says what is wrong with it
            return buffer
        if name == ".zarray":
            beside = await self._store.get(f"{path}/.zattrs" if path else ".zattrs", prototype)
            self._mend(path, document, json.loads(beside.to_bytes()) if beside is not None else {})
        elif name == ".zmetadata":
            self._mend_all(document.get("metadata", {}))
        else:
            self._mend_node(path, document)
        return prototype.buffer.from_bytes(json.dumps(document).encode())

    def _mend_all(self, documents: dict[str, Any]) -> None:
        """The consolidated metadata of format 2."""
        for key, document in documents.items():
            path = PurePosixPath(key)
            if path.name == ".zarray":
                attributes = documents.get(str(path.with_name(".zattrs")), {})
                self._mend(str(path.parent), document, attributes)

    def _mend_node(self, path: str, document: dict[str, Any]) -> None:
        """An array of format 3, or the arrays in the consolidated metadata of a group."""
        if document.get("node_type") == "array":
            attributes = document.setdefault("attributes", {})
            fill = self._mend(path, document, attributes)
            if fill.mask is not None:
                attributes["missing_value"] = fill.mask
        for name, node in ((document.get("consolidated_metadata") or {}).get("metadata") or {}).items():
            self._mend_node(f"{path}/{name}" if path else name, node)

    def _mend(self, path: str, metadata: dict[str, Any], attributes: dict[str, Any]) -> Fill:
        said = metadata.get("fill_value")
        fill = fill_of(metadata, attributes, self._absent)
        metadata["fill_value"] = fill.value
        self._fills[path] = replace(fill, value=fill.value if fill.is_known else said, is_blosc=_is_blosc(metadata))
        return fill

    def _require_whole(self, key: str, chunk: Buffer) -> None:
        path = next((path for path, fill in self._fills.items() if fill.is_blosc and key.startswith(f"{path}/")), None)
        if path is None:
            return
        length = int.from_bytes(chunk[12:16].to_bytes(), "little") if len(chunk) >= BLOSC_HEADER else BLOSC_HEADER
        if len(chunk) < length:
            raise StoreError(
                f"variable '{path}': chunk {key[len(path) + 1 :]} is cut off: it has {len(chunk)} of {length} bytes. Replace it, or name a "
                "period without it."
            )

    def _require_known(self, key: str) -> None:
        for path, fill in self._fills.items():
            if not key.startswith(f"{path}/"):
                continue
            self.absent.add(path)
            if not fill.is_known:
                meanings = "missing, or fill_value" if fill.holds_nan else "fill_value (integers can't be missing)"
                raise StoreError(
                    f"variable '{path}': chunk {key[len(path) + 1 :]} is not in the store and would read as its fill_value "
                    f"{fill.value or 0}: values that were left out, or a download that stopped. Complete the store, or say what such "
                    f"a chunk means by data.absent_chunks (of a spec: source.absent_chunks): {meanings}."
                )
