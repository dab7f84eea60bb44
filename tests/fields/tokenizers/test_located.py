"""One stream of a window: what is read at its place is what its record holds there."""

import numpy as np
import pytest

from statecast.fields.sources import Record, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer, Place, StreamSource, located

ACROSS_THE_DATE_LINE = Place(3, 6, slice(2, 6), np.array([22, 23, 0, 1]))


@pytest.fixture
def source(make_store) -> StreamSource:
    stream = Stream(variables=("t", "msl"), levels=(500, 850), patch=(2, 2, 2))
    record = Record.open(open_fields(make_store(steps=40, missing=0.1)), stream)
    return StreamSource(record, FieldTokenizer(stream, fit_climatology(record)))


def test_fields_climatology_and_anomalies_are_those_of_the_whole_domain_cut_out(source):
    whole, window = source.whole(3, 6), source.at(ACROSS_THE_DATE_LINE)
    for part in ("fields", "climatology", "anomalies"):
        np.testing.assert_array_equal(getattr(window, part), window.cut(getattr(whole, part)))
    np.testing.assert_array_equal(whole.fields, source.record.read(slice(3, 9)))
    np.testing.assert_array_equal(whole.anomalies, whole.fields - whole.climatology)
    record, mean = source.record, source.tokenizer.climatology
    np.testing.assert_array_equal(whole.climatology, mean.at(record.months_passed[3:9], record.hour_utc[3:9]))


def test_its_tokens_hold_its_anomalies(source):
    window = source.at(ACROSS_THE_DATE_LINE)
    tokens = window.tokens()
    again = source.tokenizer.to_anomalies(tokens.values, window.place)
    np.testing.assert_allclose(again, np.nan_to_num(window.anomalies), rtol=1e-5, atol=1e-5)


def test_its_grid_has_the_areas_of_the_cells_of_the_record(source):
    window = source.at(ACROSS_THE_DATE_LINE)
    assert (np.diff(window.grid.lon) > 0).all() and window.cell_area.shape == window.grid.shape == (4, 4)
    np.testing.assert_allclose(source.whole(0, 1).cell_area.sum(), 1.0)
    np.testing.assert_array_equal(window.cell_area, window.cut(source.whole(0, 1).cell_area))


def test_the_later_part_of_a_window_is_its_end(source):
    window = source.at(ACROSS_THE_DATE_LINE)
    later = window.from_step(2)
    assert later.place.time_steps == slice(5, 9)
    np.testing.assert_array_equal(later.fields, window.fields[2:])
    np.testing.assert_array_equal(later.month, window.month[2:])


def test_each_stream_lies_at_its_own_place(source):
    streams = located({"a": source, "b": source}, {"a": ACROSS_THE_DATE_LINE, "b": ACROSS_THE_DATE_LINE.from_step(1)})
    np.testing.assert_array_equal(streams["b"].fields, streams["a"].fields[1:])
