"""Labels of jets: one-hot columns, numbers and names; a missing one is an error only where labels are asked for."""

import awkward as ak
import numpy as np
import pytest

from statecast.particles.jets import JetError
from statecast.particles.sources import open_jets, read_jets, rules


@pytest.fixture
def unlabelled(jetclass, drop):
    table = jetclass(6)
    return drop(table, [name for name in table.fields if name.startswith("label_")])


def test_one_hot_columns_give_their_names(jetclass, parquet):
    table = jetclass(9)
    files = open_jets(parquet(table))
    labels = files.read().labels
    assert files.classes == ("QCD", "Hbb", "Tbqq")
    for name in files.classes:
        np.testing.assert_array_equal(labels == name, ak.to_numpy(table[f"label_{name}"]) == 1)


def test_a_single_column_has_the_class_and_its_opposite(unlabelled, parquet):
    files = open_jets(parquet(ak.with_field(unlabelled, [True, False, True, False, False, True], "label_top")))
    assert files.classes == ("top", "not top")
    assert list(files.read().labels) == ["top", "not top", "top", "not top", "not top", "top"]


def test_a_jet_with_no_label_or_two_is_unlabelled_and_refused_where_labels_are_required(jetclass, parquet):
    table = jetclass(6)
    both = ak.with_field(ak.with_field(table, [1, 0, 1, 0, 0, 0], "label_QCD"), [0, 0, 1, 1, 1, 1], "label_Hbb")
    path = parquet(ak.with_field(both, [0] * 6, "label_Tbqq"))
    files = open_jets(path)
    assert list(files.read().labels) == ["QCD", "unlabelled", "unlabelled", "Hbb", "Hbb", "Hbb"]
    assert files.rules[rules.UNLABELLED] == 2
    with pytest.raises(JetError, match=r"2 jets have no label or several in label_QCD, label_Hbb, label_Tbqq"):
        read_jets(path, labels=True)


def test_missing_labels_are_an_error_only_where_labels_are_asked_for(unlabelled, parquet):
    path = parquet(unlabelled)
    assert read_jets(path).labels is None
    with pytest.raises(JetError, match=r"has no labels, expected columns label_\* or one of jet_label, label"):
        open_jets(path, labels=True)
    with pytest.raises(JetError, match="has no column jet_flavour for labels"):
        open_jets(path, labels="jet_flavour")


def test_labels_may_be_left_out(jetclass, parquet):
    assert read_jets(parquet(jetclass(6)), labels=False).labels is None


def test_a_column_of_numbers_or_names_is_read_by_its_name(unlabelled, parquet):
    table = ak.with_field(unlabelled, [5, 0, 4, 0, 5, 21], "jet_flavour")
    table = ak.with_field(table, ["b", "q", "c", "q", "b", "g"], "jet_name")
    path = parquet(table)
    assert list(read_jets(path, labels="jet_flavour").labels) == ["5", "0", "4", "0", "5", "21"]
    assert list(read_jets(path, labels="jet_name").labels) == ["b", "q", "c", "q", "b", "g"]


def test_numbers_of_jetclass2_outside_its_classes_are_no_label(unlabelled, parquet):
    path = parquet(ak.with_field(unlabelled, [0, 187, 188, -1, 161, 1], "jet_label"))
    labels = list(read_jets(path).labels)
    assert labels == ["X_bb", "QCD_light", "unlabelled", "unlabelled", "QCD_bbccss", "X_cc"]
    with pytest.raises(JetError, match="2 jets have no label"):
        read_jets(path, labels=True)
