"""Blocks of simulated jets or events as Parquet tables, and one file of them all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from statecast.particles.jets import JetError
from statecast.particles.sources.pythia import require_packages

BLOCKS_PER_ROW_GROUP = 8
METADATA_KEY = "statecast.simulation"
LICENCE = "Apache-2.0"


class InParquet:
    """What jets and events have in common as `blocks.Options`. A subclass says what a block holds.

    interleaved  so many blocks lie in a row group, and their rows take turns; 0: blocks follow one another
    """

    noun: ClassVar[str]

    @property
    def interleaved(self) -> int:
        return 0

    def table(self, block: Any) -> Any:
        """A pyarrow table of a block."""
        raise NotImplementedError

    def require_packages(self) -> dict[str, str]:
        return require_packages()

    def write(self, block: Any, path: Path) -> None:
        import pyarrow.parquet

        pyarrow.parquet.write_table(self.table(block), path, compression="zstd")

    def recorded(self, file: Path) -> dict[str, Any]:
        return recorded_options(file, self.noun)

    def join(self, files: Sequence[Path], out: Path, record: Mapping[str, Any]) -> None:
        import pyarrow
        import pyarrow.parquet

        metadata = {METADATA_KEY: json.dumps(record), "license": LICENCE}
        schema = pyarrow.parquet.read_schema(files[0]).with_metadata(metadata)
        of_group = self.interleaved or BLOCKS_PER_ROW_GROUP
        with pyarrow.parquet.ParquetWriter(out, schema, compression="zstd") as writer:
            for start in range(0, len(files), of_group):
                group = [pyarrow.parquet.read_table(file) for file in files[start : start + of_group]]
                whole = pyarrow.concat_tables(group).cast(schema).combine_chunks()
                if self.interleaved:
                    place = np.concatenate([np.arange(len(table)) for table in group])
                    whole = whole.take(np.argsort(place, kind="stable"))
                writer.write_table(whole)


def recorded_options(file: Path, noun: str = "jets") -> dict[str, Any]:
    """The options and versions that a file of simulated jets or events was made with. Raises JetError if it is none."""
    import pyarrow
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_schema(file).metadata or {}
        return json.loads(metadata[METADATA_KEY.encode()])
    except (OSError, KeyError, ValueError, pyarrow.ArrowException):
        raise JetError(f"file {file}: exists but does not contain simulated {noun}. Give another path.") from None
