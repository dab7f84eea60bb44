"""A tiny world: analyses of travelling waves, and forecasts that err by noise which grows with lead time."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

LEADS_H = (6, 12, 24)
INITS = np.datetime64("2000-02-01", "ns") + np.arange(6) * np.timedelta64(12, "h")
UNITS = {"t": "K", "msl": "Pa"}


@pytest.fixture(scope="session")
def truth() -> xr.Dataset:
    """Analyses every 6 h from January to February 2000, `t` at 500 and 850 hPa and `msl`, on 8 x 16 points."""
    time = np.datetime64("2000-01-01", "ns") + np.arange(180) * np.timedelta64(6, "h")
    lat, lon, level = np.linspace(-78.75, 78.75, 8), np.arange(16) * 22.5, np.array([500.0, 850.0])
    phase = np.deg2rad(2 * lon) - np.arange(180)[:, None] * 0.3
    wave = 10 * np.sin(phase)[:, None, None] * np.cos(np.deg2rad(lat))[:, None]
    t = 250 + wave + level[:, None, None] / 50 + 0.1 * np.random.default_rng(0).standard_normal((180, 2, 8, 16))
    arrays = {
        "t": (("time", "level", "lat", "lon"), t.astype(np.float32), {"units": "K"}),
        "msl": (("time", "lat", "lon"), (1e5 + 10 * t[:, 1]).astype(np.float32), {"units": "Pa"}),
    }
    about = {"units": "hPa", "standard_name": "air_pressure"}
    return xr.Dataset(arrays, {"time": time, "level": ("level", level, about), "lat": lat, "lon": lon})


@pytest.fixture(scope="session")
def make_forecasts(truth) -> Callable[..., xr.Dataset]:
    """Forecasts in the layout of WeatherBench 2, with `members` if that is not 0, drawn from a seed."""

    def make(members: int = 0, seed: int = 0, inits: np.ndarray = INITS, noise: float = 0.3) -> xr.Dataset:
        random, leads = np.random.default_rng(seed), np.array(LEADS_H) * np.timedelta64(1, "h")
        valid = inits[:, None] + leads[None]
        found = truth.sel(time=xr.DataArray(valid, dims=("init", "lead")))
        arrays = {}
        for name, array in found.data_vars.items():
            shape = (max(1, members), *array.shape)
            size = noise * np.sqrt(np.array(LEADS_H))[:, *[None] * (array.ndim - 2)]
            values = array.values + size * random.standard_normal(shape) + 0.1
            dims = ("time", "prediction_timedelta", *array.dims[2:])
            values, dims = (values, ("number", *dims)) if members else (values[0], dims)
            arrays[name] = (dims, values.astype(np.float32), {"units": UNITS[str(name)]})
        coords = {"time": inits, "prediction_timedelta": leads.astype("m8[ns]"), "level": truth.level.values}
        dataset = xr.Dataset(arrays, {**coords, "lat": truth.lat.values, "lon": truth.lon.values})
        dataset = dataset.assign_coords(number=np.arange(members)) if members else dataset
        return dataset.rename(lat="latitude", lon="longitude").transpose("time", "prediction_timedelta", ...)

    return make


@pytest.fixture(scope="session")
def analyses(truth, tmp_path_factory) -> str:
    """The analyses as a store."""
    return as_zarr(truth, tmp_path_factory.mktemp("analyses") / "analyses.zarr")


@pytest.fixture
def write(tmp_path) -> Callable[..., str]:
    """Writes a dataset as Zarr, or as NetCDF if the name ends so; returns its path."""

    def write_as(dataset: xr.Dataset, name: str) -> str:
        path = tmp_path / name
        if path.suffix == ".nc":
            dataset.to_netcdf(path)
            return str(path)
        return as_zarr(dataset, path)

    return write_as


def as_zarr(dataset: xr.Dataset, path) -> str:
    dataset.to_zarr(path, zarr_format=3, consolidated=False)
    return str(path)
