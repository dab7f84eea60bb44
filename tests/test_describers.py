"""`statecast data describe` asks each domain, in its order, whether the data are its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from statecast import describers
from statecast.describers import describe_data

JETS = Path(__file__).parent / "particles" / "data" / "jetclass2_6_jets.parquet"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("sample:storm1996", "1996-01-05"),
        (str(JETS), "JetClass-II"),
        ("sample:jets", "JetClass"),
        ("sample:docs", "subject"),
    ],
)
def test_the_command_describes_data_of_each_domain(statecast, capsys, data, shown):
    code, _ = statecast("data", "describe", data)
    assert code == 0 and shown in str(describe_data(data))


def test_what_no_domain_recognises_is_for_fields_to_refuse(statecast, tmp_path):
    (tmp_path / "notes.xyz").write_text("no data")
    code, message = statecast("data", "describe", str(tmp_path / "notes.xyz"))
    assert code == 2 and "cannot be read as a NetCDF file" in message


def test_a_file_of_fields_with_the_ending_of_jets_stays_with_fields(make_store, tmp_path):
    path = tmp_path / "fields.h5"
    make_store(steps=3).to_netcdf(path, engine="netcdf4")
    assert describe_data(str(path)).times.count == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [("gone.root", "does not exist. Give a Parquet, ROOT or HDF5 file of jets"), ("gone.nc", "Give a Zarr store")],
)
def test_a_file_that_does_not_exist_is_refused_by_the_domain_of_its_ending(statecast, name, message):
    code, written = statecast("data", "describe", name)
    assert code == 2 and message in written and len(written.strip().splitlines()) == 1


def test_several_files_are_told_the_way_to_one_store(statecast, tmp_path):
    files = [tmp_path / name for name in ("a.nc", "b.nc", "c.nc")]
    for file in files:
        file.touch()
    code, message = statecast("data", "describe", *map(str, files))
    assert code == 2 and len(message.strip().splitlines()) == 1
    assert "b.nc: is one file too many" in message and "statecast data prepare cf --from 'PATTERN'" in message


def test_another_package_joins_by_an_entry_point(monkeypatch):
    class Sentences:
        @staticmethod
        def recognises(data: str) -> bool:
            return data.endswith(".txt")

        @staticmethod
        def describe(data: str) -> str:
            return f"sentences of {data}"

    class Point:
        name = "text"

        @staticmethod
        def load() -> type[Sentences]:
            return Sentences

    monkeypatch.setattr(describers, "entry_points", lambda group: [Point] if group == "statecast.describers" else [])
    assert describe_data("words.txt") == "sentences of words.txt"
    assert describe_data(str(JETS)).layout == "JetClass-II"


def test_describing_jets_does_not_wait_for_torch():
    code = f"import sys; from statecast.describers import describe_data; describe_data({str(JETS)!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
