"""GRIB files: every variable, at the times for which it is valid. Needs the extra `grib`."""

import numpy as np
import pandas as pd
import pytest

from statecast.fields.sources import StoreError, open_fields

pytest.importorskip("cfgrib")
LAT, LON = np.linspace(70, -70, 8), np.arange(12) * 30.0
TIMES = pd.date_range("2000-01-01", periods=3, freq="6h")


def write(path, fields) -> str:
    """Fields (short name, type of level, level, step in h, offset) at each time; the value is a number for each place and time."""
    import eccodes

    values = LAT[:, None] + LON[None] / 1000
    with path.open("wb") as out:
        for hour, time in enumerate(TIMES):
            for name, kind, level, step, offset in fields:
                message = eccodes.codes_grib_new_from_samples(
                    "regular_ll_sfc_grib2" if kind is None else "regular_ll_pl_grib2"
                )
                grid = {
                    "Ni": 12,
                    "Nj": 8,
                    "latitudeOfFirstGridPointInDegrees": 70,
                    "latitudeOfLastGridPointInDegrees": -70,
                }
                grid |= {"longitudeOfFirstGridPointInDegrees": 0, "longitudeOfLastGridPointInDegrees": 330}
                grid |= {"iDirectionIncrementInDegrees": 30, "jDirectionIncrementInDegrees": 20}
                keys = {
                    "dataDate": int(time.strftime("%Y%m%d")),
                    "dataTime": time.hour * 100,
                    "shortName": name,
                    "stepUnits": 1,
                    "step": step,
                }
                for key, value in (
                    grid | keys | ({} if kind is None else {"typeOfLevel": kind, "level": level})
                ).items():
                    eccodes.codes_set(message, key, value)
                eccodes.codes_set_values(message, (values + hour + offset).ravel())
                eccodes.codes_write(message, out)
                eccodes.codes_release(message)
    return str(path)


def test_variables_at_2_and_at_10_metres_are_all_there(tmp_path):
    opened = open_fields(
        write(tmp_path / "a.grib", [("2t", None, 0, 0, 0), ("10u", None, 0, 0, 5), ("msl", None, 0, 0, 9)])
    )
    assert set(opened.data_vars) == {"t2m", "u10", "msl"} and "level" not in opened.coords
    for name, offset in (("t2m", 0), ("u10", 5), ("msl", 9)):
        found = opened[name].transpose("time", "lat", "lon").values
        np.testing.assert_allclose(found[1], (LAT[::-1, None] + LON[None] / 1000) + 1 + offset, atol=0.01)
    assert not list(tmp_path.glob("*.idx"))


@pytest.mark.parametrize("step", [0, 6])
def test_times_are_the_valid_ones(tmp_path, step):
    opened = open_fields(write(tmp_path / "a.grib", [("2t", None, 0, step, 0)]))
    np.testing.assert_array_equal(opened.time, TIMES + pd.Timedelta(step, "h"))


@pytest.mark.parametrize("levels", [(500,), (850, 500)])
def test_levels_are_in_hpa_and_surface_variables_have_none(tmp_path, levels):
    fields = [("t", "isobaricInhPa", level, 0, level) for level in levels]
    opened = open_fields(write(tmp_path / "a.grib", [*fields, ("2t", None, 0, 0, 0)]))
    assert opened["t"].sizes["level"] == len(levels) and opened.level.values.tolist() == sorted(levels)
    assert "level" not in opened["t2m"].dims


def test_what_does_not_fit_into_one_record_is_refused_by_name(tmp_path):
    path = write(tmp_path / "a.grib", [("2t", None, 0, 0, 0), ("10u", None, 0, 6, 5)])
    with pytest.raises(StoreError, match=r"variables \(.*\) have different times, expected the same.*grib_copy"):
        open_fields(path)
