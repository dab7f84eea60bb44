"""Commands on stations: one line and exit code 2 for what is wrong, nothing half-written."""

import pandas as pd
import pytest

ROWS = [{"station": "A", "time": "2001-02-03T06:00Z", "lat": 50.0, "lon": -1.5, "height": 10.0, "t2m [degC]": 3.5}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lat": 95.0}, "lat is 95 in row 1, expected -90 to 90 degrees"),
        ({"time": "yesterday"}, "times such as|time 'yesterday' in row 1 can't be read"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_exit_code_2(statecast, tmp_path, change, message):
    pd.DataFrame(ROWS).assign(**change).to_csv(tmp_path / "s.csv", index=False)
    code, said = statecast("data", "describe", "s.csv")
    assert code == 2
    assert said.startswith("statecast: table s.csv: ")
    assert any(part in said for part in message.split("|"))
    assert said.count("\n") == 1


def test_stations_are_drawn_described_and_refused_by_command(statecast, make_weather, tmp_path, capsys):
    make_weather(days=4).to_zarr(tmp_path / "store.zarr", zarr_format=3, consolidated=False)
    options = ("data", "simulate", "stations", "--store", "store.zarr", "--count", "3", "--variable", "msl")
    assert statecast(*options, "--out", "s.nc") == (2, "statecast: s.nc: ends in '.nc', expected .csv or .parquet.\n")
    assert not (tmp_path / "s.nc").exists()
    assert statecast(*options, "--out", "s.csv")[0] == 0
    assert set(pd.read_csv(tmp_path / "s.csv").columns) == {"station", "time", "lat", "lon", "height", "msl [Pa]"}
    code, said = statecast(*options, "--out", "s.csv")
    assert code == 2 and "s.csv" in said  # it exists
    code, said = statecast(*options[:-1], "nothing_of_it", "--out", "t.csv")
    assert code == 2
    assert "the store has no 'nothing_of_it' on time, lat and lon. Such variables: msl, nothing" in said
    assert statecast("data", "describe", "s.csv")[0] == 0


def test_a_model_without_stations_answers_none(statecast, runs, tmp_path):
    pd.DataFrame(ROWS).to_csv(tmp_path / "s.csv", index=False)
    asked = ("--data", runs.store, "--init", "2000-02-12", "--steps", "1", "--stations", "s.csv")
    code, said = statecast("predict", runs.forecast, *asked, "--out", "f.nc")
    assert code == 2
    assert said == "statecast: the model has no stream of stations, expected one. Train a model with one.\n"
    assert not (tmp_path / "f.nc").exists()
