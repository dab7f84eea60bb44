"""Parquet files as tables, by pyarrow."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from statecast.particles.sources.packages import package
from statecast.particles.sources.tables import Block, Table, corrupt

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile


BUFFER_BYTES = 1 << 18  # of a column that is read at a time; pyarrow's pre-buffer would hold whole groups of rows


class ParquetTable:
    """The top-level columns of a Parquet file."""

    def __init__(self, path: Path, file: "ParquetFile") -> None:
        self.name = f"file {path}"
        self.columns = list(file.schema_arrow.names)
        self._file = file

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def bytes_per_entry(self, columns: Sequence[str]) -> float:
        metadata, chosen = self._file.metadata, set(columns)
        if not metadata.num_row_groups:
            return 0.0
        group = metadata.row_group(0)
        parts = [group.column(number) for number in range(group.num_columns)]
        size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] in chosen)
        return size / max(group.num_rows, 1)

    def blocks(self, columns: Sequence[str], first: int, last: int, entries: int) -> Iterator[Block]:
        awkward = package("awkward", "Parquet files")
        groups, start = self._row_groups(first, last)
        batches = self._file.iter_batches(
            batch_size=entries, row_groups=groups, columns=list(columns), use_threads=False
        )
        try:
            for batch in batches:
                low, high = max(first - start, 0), min(last - start, len(batch))
                start += len(batch)
                if low < high:
                    part = batch.slice(low, high - low)
                    yield {name: awkward.from_arrow(part.column(name)) for name in columns}
        except (OSError, ValueError) as error:
            raise corrupt(self.name, "Parquet", error) from error

    def _row_groups(self, first: int, last: int) -> tuple[list[int], int]:
        """The row groups that hold the entries, and the first entry of the first of them."""
        chosen, start, before = [], 0, 0
        for number in range(self._file.metadata.num_row_groups):
            rows = self._file.metadata.row_group(number).num_rows
            if before + rows <= first:
                start = before + rows
            elif before < last:
                chosen.append(number)
            before += rows
        return chosen, start


@contextmanager
def open_file(path: Path, tree: str | None = None) -> Iterator[list[Table]]:
    """The table of a Parquet file; `tree` has no meaning here. Raises JetError if the file is corrupt."""
    parquet = package("pyarrow.parquet", "Parquet files")
    try:
        file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES, page_checksum_verification=True)
    except (OSError, ValueError) as error:
        raise corrupt(f"file {path}", "Parquet", error) from error
    with file:
        yield [ParquetTable(path, file)]
