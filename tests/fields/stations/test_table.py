"""Tables of stations: what is read, and what is refused in one line."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from statecast.describers import describe_data
from statecast.fields.stations.netcdf import time_series
from statecast.fields.stations.table import StationError, Stations, read_table

ROW = {"station": "A", "time": "2001-02-03T06:00Z", "lat": 50.0, "lon": -1.5, "height": 10.0, "t2m [degC]": 3.5}


def csv(tmp_path, *rows, **columns):
    path = tmp_path / "s.csv"
    pd.DataFrame([{**ROW, **row} for row in (rows or ({},))]).rename(columns=columns).to_csv(path, index=False)
    return path


def test_reports_are_read_with_their_units_and_converted(tmp_path):
    table = read_table(csv(tmp_path, {}, {"station": "B", "lat": -10, "lon": 190, "time": "2001-02-03T08:00+02:00"}))
    assert table.stations.ids == ("A", "B")
    assert table.stations.lon.tolist() == [358.5, 190.0]
    assert len(set(table.ticks.tolist())) == 1  # 08:00+02:00 is 06:00Z
    assert table.ticks[0] == np.datetime64("2001-02-03T06:00", "us").astype(int)
    in_kelvin = table.of_variables({"t2m": "K"})
    np.testing.assert_allclose(in_kelvin.values, 276.65, rtol=1e-6)
    assert in_kelvin.units == ("K",)


def test_columns_have_other_names_and_without_a_station_each_place_is_one(tmp_path, capsys):
    path = csv(tmp_path, {}, {"lat": 51.0}, lat="Latitude", lon="longitude", station="who", height="how")
    table = read_table(path)
    assert table.stations.ids == ("50.000 -1.500", "51.000 -1.500")
    assert "no column of heights" in capsys.readouterr().err


def test_heights_are_in_metres_and_names_keep_their_zeros(tmp_path):
    table = read_table(csv(tmp_path, {"station": "00123", "height": 1000.0}, height="elevation [ft]"))
    assert table.stations.ids == ("00123",)
    assert table.stations.height_m.tolist() == pytest.approx([304.8])
    with pytest.raises(StationError, match="the heights are in 'hPa', expected metres"):
        read_table(csv(tmp_path, height="height [hPa]"))


def test_times_without_a_zone_are_read_in_the_zone_that_is_named(tmp_path):
    path = csv(tmp_path, {"time": "2001-07-01 08:00"})
    with pytest.raises(
        StationError,
        match=r"times such as '2001-07-01 08:00:00' have no zone\. Write 2001-02-03T06:00Z, or set zone: UTC",
    ):
        read_table(path)
    assert read_table(path, zone="Europe/Berlin").ticks[0] == np.datetime64("2001-07-01T06:00", "us").astype(int)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([{}], {"lat": "north"}, r"has no column 'lat' \(lat, latitude, lat_deg\)\. Columns: station, time, north, lon"),
        ([{}], {"time": "when"}, "has no column 'time'"),
        ([{"lat": 91.0}], {}, "lat is 91 in row 1, expected -90 to 90 degrees"),
        ([{}, {"lon": 361.0}], {}, "lon is 361 in row 2, expected -180 to 360"),
        ([{"lat": None}], {}, "lat is nan in row 1"),
        ([{"time": "03/04/2001 06:00Z"}], {}, r"time '03/04/2001 06:00Z' in row 1 can't be read or is ambiguous\. Write 2001"),
        ([{"time": 20010203}], {}, "the times are numbers, such as 20010203, expected texts"),
        ([{}, {"time": "2001-02-03 12:00"}], {}, "time '2001-02-03 12:00' in row 2 has no zone, but others have one"),
        ([{}, {}], {}, r"station A reports twice at 2001-02-03T06:00:00Z \(1 such rows\), expected once"),
        ([{}, {"lat": 50.2, "time": "2001-02-04T00:00Z"}], {}, "station A moves: it is at 50 N 358.5 E 10 m and at 50.2 N"),
        ([{"height": None}], {}, "station A has no height, expected metres"),
        ([{"lat": "north"}], {}, "column 'lat' holds texts"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong_is_refused_in_one_line(tmp_path, rows, columns, message):
    with pytest.raises(StationError, match=message) as refused:
        read_table(csv(tmp_path, *rows, **columns))
    assert "\n" not in str(refused.value)


def test_a_time_that_a_zone_has_twice_is_ambiguous(tmp_path):
    with pytest.raises(StationError, match="can't be read or is ambiguous"):
        read_table(csv(tmp_path, {"time": "2001-10-28 02:30"}), zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("columns", "wanted", "message"),
    [
        (
            {"t2m [degC]": "t2m"},
            {"t2m": "K"},
            r"variable 't2m' has no units, expected some\. Name the column 't2m \[K\]'",
        ),
        ({"t2m [degC]": "t2m [furlongers]"}, {"t2m": None}, "is in 'furlongers', which is no unit"),
        ({"t2m [degC]": "t2m [m]"}, {"t2m": "K"}, "is in 'm', which can't be converted to 'K'"),
        ({}, {"q2m": None}, "has no variable 'q2m'. Variables: t2m"),
    ],
)
def test_a_variable_in_units_that_say_nothing_is_refused(tmp_path, columns, wanted, message):
    with pytest.raises(StationError, match=message):
        read_table(csv(tmp_path, **columns)).of_variables(wanted)


@pytest.mark.parametrize(("name", "message"), [("no.csv", "there is no such file"), ("s.txt", "ends in '.txt'")])
def test_what_is_no_table_is_refused(tmp_path, name, message):
    (tmp_path / "s.txt").write_text("x")
    with pytest.raises(StationError, match=message):
        read_table(tmp_path / name)


TIMES = np.array(["2001-02-03T06:00", "2001-02-03T12:00"], "M8[ns]")
VALUES = np.array([[1.0, 2.0], [3.0, np.nan]], np.float32)


def orthogonal():
    stations = Stations(("A", "B"), np.array([50.0, 60.0]), np.array([1.0, 2.0]), np.array([5.0, 6.0]))
    variables = {"t2m": (("station", "time"), VALUES, {"units": "K"})}
    return time_series(stations, xr.DataArray(TIMES, dims="time"), variables, "test")


def places(**more):
    lat = ("station", [50.0, 60.0], {"standard_name": "latitude"})
    lon = ("station", [1.0, 2.0], {"standard_name": "longitude"})
    height = ("station", [5.0, 6.0], {"standard_name": "surface_altitude"})
    return {"lat": lat, "lon": lon, "alt": height, "who": ("station", ["A", "B"], {"cf_role": "timeseries_id"}), **more}


def incomplete():
    time = (("station", "obs"), np.stack([TIMES, TIMES]), {"standard_name": "time"})
    return xr.Dataset(places(t2m=(("station", "obs"), VALUES, {"units": "K"}), time=time))


def contiguous():
    size = ("station", [2, 1], {"sample_dimension": "obs"})
    time = ("obs", TIMES[[0, 1, 0]], {"standard_name": "time"})
    return xr.Dataset(places(t2m=("obs", [1.0, 2.0, 3.0], {"units": "K"}), time=time, row_size=size))


def indexed():
    index = ("obs", [0, 1, 0], {"instance_dimension": "station"})
    time = ("obs", TIMES[[0, 0, 1]], {"standard_name": "time"})
    return xr.Dataset(places(t2m=("obs", [1.0, 3.0, 2.0], {"units": "K"}), time=time, number=index))


@pytest.mark.parametrize("make", [orthogonal, incomplete, contiguous, indexed])
def test_each_layout_of_cf_time_series_holds_the_same_reports(tmp_path, make):
    make().assign_attrs(featureType="timeSeries").to_netcdf(tmp_path / "s.nc")
    table = read_table(tmp_path / "s.nc")
    assert table.stations.ids == ("A", "B")
    assert table.stations.height_m.tolist() == [5.0, 6.0]
    assert table.values[:, table.variables.index("t2m")].tolist() == [1.0, 3.0, 2.0]
    assert table.station.tolist() == [0, 1, 0]
    assert table.units[table.variables.index("t2m")] == "K"
    assert "2, 50 to 60 N" in str(describe_data(str(tmp_path / "s.nc")))


@pytest.mark.parametrize("names", [("alt", "sensor"), ("sensor", "alt")])
def test_the_height_of_the_ground_counts_in_its_units_whatever_the_order_of_variables(tmp_path, names):
    heights = {
        "alt": ("station", [0.005, 0.006], {"standard_name": "surface_altitude", "units": "km"}),
        "sensor": ("station", [2.0, 2.0], {"standard_name": "height", "units": "m"}),
    }
    dataset = indexed().drop_vars("alt")
    xr.Dataset({**{n: heights[n] for n in names}, **dataset}).to_netcdf(tmp_path / "s.nc")
    assert read_table(tmp_path / "s.nc").stations.height_m.tolist() == pytest.approx([5.0, 6.0])


def test_parquet_is_read_and_described(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "s.parquet"
    frame = pd.DataFrame([ROW, {**ROW, "time": "2001-02-03T12:00Z"}])
    frame["time"] = pd.to_datetime(frame["time"])
    frame.to_parquet(path)
    text = str(describe_data(str(path)))
    assert "1, 50 to 50 N" in text
    assert "every 6 h" in text
    assert "degC" in text
