"""Stores of streams: one for all, or their own, at the times that all have."""

import numpy as np
import pytest

from statecast.fields.sources import StoreError, open_stores


def test_without_stores_of_their_own_all_streams_share_one(global_store):
    stores = open_stores(global_store, ("air", "rain"), {})
    assert stores["air"] is stores["rain"] and stores["air"].sizes["time"] == 40


def test_times_that_one_store_lacks_are_left_out_of_all(make_store):
    main, own = make_store(steps=20), make_store(steps=20, lat=np.arange(30.0, 36)).isel(time=[2, 3, 7, 9])
    stores = open_stores(main, ("air", "rain"), {"rain": own})
    assert list(stores) == ["air", "rain"]
    for dataset in stores.values():
        np.testing.assert_array_equal(dataset.time, own.time)
    assert stores["rain"].sizes["lat"] == 6
    np.testing.assert_array_equal(stores["air"].msl, main.msl.isel(time=[2, 3, 7, 9]))


def test_a_store_of_a_stream_that_there_is_not_is_refused(global_store):
    with pytest.raises(StoreError, match=r"given for the unknown stream snow\. Streams: air, rain"):
        open_stores(global_store, ("air", "rain"), {"snow": global_store})


@pytest.mark.parametrize(
    "calendar, message",
    [("standard", r"no time in common .*2001-01-30.*2011-01-01"), ("360_day", "different calendars .*360_day")],
)
def test_stores_that_share_no_time_are_refused(make_store, calendar, message):
    later = make_store(start="2011-01-01", calendar=calendar)
    with pytest.raises(StoreError, match=message):
        open_stores(make_store(), ("air", "rain"), {"rain": later})
