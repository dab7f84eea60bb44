"""Jets of the top-tagging dataset: a frame with E_0, PX_0, PY_0, PZ_0 to 199, in GeV, padded by zeros. Axes: J jet, P place of a particle.

Source: A. Butter et al., arXiv 1902.09914; G. Kasieczka et al., Top Quark Tagging Reference Dataset (Zenodo 2603256).
"""

import numpy as np

from statecast.particles.jets import UNKNOWN_KIND, Jets, summed_momentum
from statecast.particles.sources.layouts.labels import LabelColumns, label_columns
from statecast.particles.sources.layouts.layout import Reading, Selection, refuse_collection, require
from statecast.particles.sources.layouts.momentum import from_components, light
from statecast.particles.sources.rules import Rules
from statecast.particles.sources.tables import Block, Table

LABEL, CLASSES = "is_signal_new", ("QCD", "top")
COMPONENTS = ("PX", "PY", "PZ", "E")


def layout(table: Table, selection: Selection) -> Reading | None:
    """Recognised by the columns E_0 and PX_0."""
    if not {"E_0", "PX_0"} <= set(table.columns):
        return None
    refuse_collection(table, selection)
    places = sum(1 for name in table.columns if name.startswith("E_"))
    names = [f"{component}_{place}" for component in COMPONENTS for place in range(places)]
    require(table, names, "top tagging")
    labels = _labels(table, selection)

    def convert(block: Block, rules: Rules) -> Jets:
        components = np.stack([block[name] for name in names], axis=1).reshape(-1, len(COMPONENTS), places)
        present = (components != 0).any(axis=1)
        flat = components.transpose(1, 0, 2)[:, present]
        momenta = from_components(*flat)
        unknown = {"kind": np.full(flat.shape[1], UNKNOWN_KIND, np.int8), "charge": np.full(flat.shape[1], np.nan)}
        offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
        jets = Jets(offsets, momenta | unknown, {}, labels.read(block, rules))
        return Jets(offsets, light(jets.particles), light(summed_momentum(jets)), jets.labels)

    remarks = ["momenta of jets are the sums of their particles"]
    return Reading("top tagging", [*names, *labels.columns], convert, labels.classes, remarks=remarks)


def _labels(table: Table, selection: Selection) -> LabelColumns:
    if selection.labels in (None, True) and LABEL in table.columns:
        return LabelColumns(table.name, [LABEL], CLASSES, selection.labels is True)
    return label_columns(table, selection, CLASSES if selection.labels == LABEL else ())
