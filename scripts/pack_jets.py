"""Pack simulated jets into the sample that ships with statecast: without generated particles, in as few bits as their measurement is worth.

    statecast data simulate jets --out jets.parquet --jets 18000 --kind qcd --kind top --seed 0
    python scripts/pack_jets.py jets.parquet src/statecast/particles/samples/jets.parquet

Floats are rounded and then compressed: η and φ to multiples of 2^-10 (a track's direction is known to about 0.001), pT to 10 significant
bits (0.1 %, a tenth of the best resolution), impact parameters to 6 and their errors to 5. Columns of the jets are computed again from
the rounded particles, so that the sample is consistent in itself; those of generated jets are kept as they are. Jets are shuffled.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from statecast.particles.jets import PARTICLE_KINDS, Jets
from statecast.particles.sources.jet_columns import (
    KIND_COLUMNS,
    PARTICLE_COLUMNS,
    as_lists,
    as_stored,
    jet_columns,
)

LARGEST_BYTES = 10_000_000
ANGLE_STEP = 2.0**-10
SIGNIFICANT_BITS = {"pt": 10, "d0val": 6, "d0err": 5, "dzval": 6, "dzerr": 5}
SEED = 0
ROW_GROUP_JETS = 8000  # larger groups hardly compress better, and take longer until the first jet is read


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """The nearest floats with this number of significant bits: a relative error of at most 2^-bits."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits).astype(np.float32)


def packed(short: str, values: np.ndarray) -> np.ndarray:
    if short in ("eta", "phi"):
        return (np.rint(values / ANGLE_STEP) * ANGLE_STEP).astype(np.float32)
    return rounded(values, SIGNIFICANT_BITS[short]) if short in SIGNIFICANT_BITS else values


def measured(table: pyarrow.Table) -> Jets:
    """The measured particles, rounded, again in order of decreasing pT: rounding keeps it up to equal ones."""
    lists = {
        name: table[f"part_{name}"].combine_chunks()
        for name in (*PARTICLE_COLUMNS, *KIND_COLUMNS)
        if f"part_{name}" in table.column_names
    }
    offsets = np.concatenate([[0], np.cumsum(table["jet_nparticles"].to_numpy())])
    columns = {
        name: packed(short, lists[short].flatten().to_numpy())
        for short, name in PARTICLE_COLUMNS.items()
        if short in lists
    }
    flags = np.stack([lists[short].flatten().to_numpy(zero_copy_only=False) for short in KIND_COLUMNS])
    codes = np.array([PARTICLE_KINDS.index(kind) for kind in KIND_COLUMNS.values()], np.int8)
    return as_stored(Jets(offsets, {**columns, "kind": codes[flags.argmax(axis=0)]}, {}))


def pack(source: Path, target: Path) -> None:
    table = pyarrow.parquet.read_table(source)
    table = table.take(np.random.default_rng(SEED).permutation(len(table)))  # any range of jets holds all classes
    jets = measured(table)
    columns = {name: table[name] for name in table.column_names if not name.startswith(("part_", "genpart_", "jet_"))}
    columns |= jet_columns(jets, "jet")
    for short, name in PARTICLE_COLUMNS.items():
        if name in jets.particles:
            columns[f"part_{short}"] = as_lists(jets, jets.particles[name])
    for short in KIND_COLUMNS:
        columns[f"part_{short}"] = table[f"part_{short}"]
    split = [f"part_{short}.list.element" for short in ("eta", "phi", *SIGNIFICANT_BITS)]
    pyarrow.parquet.write_table(
        pyarrow.table(columns).replace_schema_metadata(table.schema.metadata),
        target,
        compression="zstd",
        compression_level=22,
        row_group_size=ROW_GROUP_JETS,
        use_dictionary=[f"part_{short}.list.element" for short in ("mass", "charge", *KIND_COLUMNS)],
        column_encoding=dict.fromkeys(split, "BYTE_STREAM_SPLIT"),  # sign and exponent apart from the digits
    )
    size = target.stat().st_size
    print(f"{target}: {len(jets)} jets, {jets.offsets[-1]} particles, {size} bytes, {size / len(jets):.0f} a jet")
    if size > LARGEST_BYTES:
        raise SystemExit(f"{target}: is larger than {LARGEST_BYTES} bytes. Give fewer jets.")


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
