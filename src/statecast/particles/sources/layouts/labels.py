"""Labels of jets: one-hot columns `label_*`, or one column of integers or names. Axes: J jet, K class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from statecast.particles.jets import NO_LABEL, JetError
from statecast.particles.sources.layouts.jetclass2 import JETCLASS2
from statecast.particles.sources.layouts.layout import Selection, listed, similar
from statecast.particles.sources.layouts.ragged import numbers, ragged
from statecast.particles.sources.rules import UNLABELLED, Rules
from statecast.particles.sources.tables import Block, Table

PREFIX = "label_"
SINGLE = ("jet_label", "label")


@dataclass(frozen=True)
class LabelColumns:
    """Where the labels of a table stand.

    columns   the columns; none for a table without labels
    classes   their names: by place of a one-hot column, or by number; empty if numbers are their own names
    required  a jet without label is an error
    """

    table: str
    columns: Sequence[str] = ()
    classes: Sequence[str] = ()
    required: bool = False

    def read(self, block: Block, rules: Rules) -> Shaped[np.ndarray, " J"] | None:
        """The label of each jet, or None. Raises JetError for a jet without label if labels are required."""
        if not self.columns:
            return None
        if self.columns[0].startswith(PREFIX):
            names, labelled = self._of_flags(block)
        else:
            names, labelled = self._of_numbers(numbers(block[self.columns[0]]))
        if not labelled.all():
            self._refuse(np.flatnonzero(~labelled))
            rules.count(UNLABELLED, np.count_nonzero(~labelled))
        return np.where(labelled, names, NO_LABEL)

    def _of_flags(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        flags = np.stack([numbers(block[name]) for name in self.columns], axis=1) == 1
        classes = np.array(self.classes)
        if len(self.columns) == 1:
            return classes[np.where(flags[:, 0], 0, 1)], np.ones(len(flags), bool)
        return classes[flags.argmax(axis=1)], flags.sum(axis=1) == 1

    def _of_numbers(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if values.dtype.kind in "OSU":
            return values.astype(str), values != ""
        labelled = np.isfinite(values)
        whole = np.where(labelled, values, 0).astype(np.int64)
        if not self.classes:
            return whole.astype(str), labelled
        labelled &= (whole >= 0) & (whole < len(self.classes))
        return np.array(self.classes)[np.where(labelled, whole, 0)], labelled

    def _refuse(self, unlabelled: np.ndarray) -> None:
        if self.required:
            raise JetError(
                f"{self.table}: {len(unlabelled)} jets have no label or several in {listed(self.columns)} (the first is number "
                f"{unlabelled[0]} of its block). Remove them, or do without labels."
            )


def label_columns(table: Table, selection: Selection, classes: Sequence[str] = ()) -> LabelColumns:
    """Those of a table whose entries are jets. `classes` names the numbers of a column that is named by the selection.

    A single column `label_x` has the classes `x` and `not x`. Raises JetError if labels are required and there are none.
    """
    if selection.labels is False:
        return LabelColumns(table.name)
    required = bool(selection.labels)
    if isinstance(selection.labels, str):
        return _named(table, selection.labels, classes)
    flags = [name for name in table.columns if name.startswith(PREFIX)]
    if flags:
        names = [name.removeprefix(PREFIX) for name in flags]
        names = names if len(names) > 1 else [names[0], f"not {names[0]}"]
        return LabelColumns(table.name, flags, names, required)
    for name in SINGLE:
        if name in table.columns:
            return LabelColumns(table.name, [name], JETCLASS2 if name == "jet_label" else classes, required)
    if required:
        raise JetError(
            f"{table.name}: has no labels, expected columns label_* or one of {', '.join(SINGLE)}. {similar(table, 'label')} "
            "Name the column, or do without labels."
        )
    return LabelColumns(table.name)


@dataclass(frozen=True)
class LabelsOfEvents:
    """A label column of files of events: one list of labels for each event."""

    columns: LabelColumns

    def read(self, block: Block, rules: Rules) -> Shaped[np.ndarray, " J"] | None:
        """As `LabelColumns.read`, for the jets of all events."""
        flat = {name: ragged(block[name]).values for name in self.columns.columns}
        return self.columns.read(flat, rules)


def labels_of_events(table: Table, selection: Selection, stem: str) -> LabelsOfEvents:
    """The label column that the selection names, of files of events: by itself or after `stem`, as in `FatJet_` and `hadronFlavour`.

    Raises JetError if there is no such column, or if labels are required and no column is named: such files have none of their own.
    """
    if not selection.labels:
        return LabelsOfEvents(LabelColumns(table.name))
    if selection.labels is True:
        raise JetError(
            f"{table.name}: files of events have no column of labels of its own. Name one of the jets, as in labels=hadronFlavour "
            f"for {stem}hadronFlavour."
        )
    name = selection.labels if selection.labels in table.columns else f"{stem}{selection.labels}"
    if name not in table.columns:
        raise JetError(f"{table.name}: has no column {name} for labels. {similar(table, name)}")
    return LabelsOfEvents(LabelColumns(table.name, [name], required=True))


def _named(table: Table, name: str, classes: Sequence[str]) -> LabelColumns:
    if name not in table.columns:
        raise JetError(f"{table.name}: has no column {name} for labels. {similar(table, name)}")
    if name.startswith(PREFIX):
        short = name.removeprefix(PREFIX)
        return LabelColumns(table.name, [name], [short, f"not {short}"], True)
    return LabelColumns(table.name, [name], JETCLASS2 if name == "jet_label" else classes, True)
