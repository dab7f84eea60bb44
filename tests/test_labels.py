"""Labels as tokens: classes and numbers, their statistics from the training split, and what is no label."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from statecast.axes import Axis
from statecast.labels import LARGEST_CLASSES, LabelCodec, LabelError
from statecast.streams import UNKNOWN, StreamOptions

STREAM = StreamOptions()
WEATHER = ["wet", "dry", None, "dry", float("nan"), "storm"]
SPEEDS = [1.0, 2.0, None, 6.0, float("nan")]


def classes(values=WEATHER) -> LabelCodec:
    return LabelCodec.fit(STREAM, values, is_class=True)


def numbers(values=SPEEDS) -> LabelCodec:
    return LabelCodec.fit(STREAM, values, is_class=False, units="m s-1")


def test_classes_are_the_distinct_texts_in_their_order():
    codec = classes()
    assert codec.classes == codec.categories == ("dry", "storm", "wet") and codec.channels == ()
    assert (codec.spec.vocabulary, codec.spec.size, codec.spec.axes) == (3, 0, ())
    assert [codec.tokens(name).codes.tolist() for name in ("wet", "dry", "storm")] == [[2], [0], [1]]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_sample_without_a_label_is_neither_shown_nor_scored(missing):
    of_class, of_number = classes().tokens(missing), numbers().tokens(missing)
    assert of_class.codes.tolist() == [UNKNOWN] and not of_class.is_known().any()
    assert not of_number.observed.any() and not of_number.values.any() and not of_number.is_known().any()


def test_a_label_is_one_known_token_with_a_number():
    for tokens in (classes().tokens("wet"), numbers().tokens(6.0)):
        assert len(tokens) == 1 and tokens.is_known().all() and tokens.index.tolist() == [0]
        assert tokens.coords.shape == (1, 0)


def test_a_number_is_in_standard_deviations_from_the_mean_and_back():
    codec = numbers()
    assert codec.mean == pytest.approx(3.0) and codec.std == pytest.approx(math.sqrt(14 / 3))
    assert codec.spec.size == 1 and codec.spec.vocabulary == 0 and codec.channels == ("value",)
    tokens = codec.tokens(6)
    assert (
        tokens.values.item() == pytest.approx(3 / math.sqrt(14 / 3)) and tokens.observed.all() and tokens.codes is None
    )
    np.testing.assert_allclose(codec.numbers(np.array([tokens.values.item(), 0.0])), [6.0, 3.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("training", "later"), [([0.0, 1.0, math.nan], 1), ([0, 1], 1.0), ([0, 1], np.float64(1.0)), ([0, 1], "1")]
)
def test_a_whole_number_is_one_class_however_a_table_stores_it(training, later):
    """A column of integers that lacks one is read as floats."""
    codec = classes(training)
    assert codec.classes == ("0", "1") and codec.tokens(later).codes.tolist() == [1]


def test_a_class_that_training_did_not_know_is_refused():
    with pytest.raises(LabelError, match=r"label fog: the model learned the classes dry, storm, wet\. Use one of them"):
        classes().tokens("fog")


@pytest.mark.parametrize("values", [["a", "a", None], [1.0, 1.0]])
@pytest.mark.parametrize("is_class", [True, False])
def test_labels_that_are_all_alike_are_refused(values, is_class):
    with pytest.raises(LabelError, match=r"has the single label (a|1), expected at least two different labels"):
        LabelCodec.fit(STREAM, values, is_class=is_class)


def test_a_split_without_labels_is_refused():
    with pytest.raises(LabelError, match="the training split has no label"):
        classes([None, math.nan])


def test_more_texts_than_classes_can_be_are_refused():
    assert len(classes([f"{number}" for number in range(LARGEST_CLASSES)]).classes) == LARGEST_CLASSES
    with pytest.raises(LabelError, match=f"has {LARGEST_CLASSES + 1} different texts"):
        classes([f"{number}" for number in range(LARGEST_CLASSES + 1)])


def test_texts_are_no_numbers():
    with pytest.raises(LabelError, match=r"label calm: is no number.*target: class"):
        numbers([1.0, "calm"])
    with pytest.raises(LabelError, match="label calm: is no number"):
        numbers().tokens("calm")


def at_a_place(codec: LabelCodec) -> LabelCodec:
    return replace(codec, axes=(Axis("place", "sphere", "degree", 15.0),), coords=(50.0, 10.0))


def test_a_label_of_a_place_has_its_coordinates():
    for codec in (at_a_place(classes()), at_a_place(numbers())):
        tokens = codec.tokens(None)
        assert tokens.coordinate("latitude_deg").tolist() == [50.0]
        assert tokens.coordinate("longitude_deg").tolist() == [10.0]


def test_a_file_of_a_version_without_places_is_read(tmp_path):
    codec = classes()
    codec.save(tmp_path, "label")
    facts = json.loads((tmp_path / "label.json").read_text())
    del facts["axes"], facts["coords"]
    (tmp_path / "label.json").write_text(json.dumps(facts))
    assert LabelCodec.load(STREAM, tmp_path, "label") == codec


@pytest.mark.parametrize("codec", [classes(), numbers(), at_a_place(classes())])
def test_a_codec_survives_saving(codec, tmp_path):
    codec.save(tmp_path, "label")
    assert LabelCodec.load(STREAM, tmp_path, "label") == codec
    known = "wet" if codec.classes else 2.0
    assert torch.equal(LabelCodec.load(STREAM, tmp_path, "label").tokens(known).values, codec.tokens(known).values)
