"""Make the samples that ship with statecast from the larger records they come from.

    python scripts/make_samples.py SPEEDY_T31.zarr STORM1996.nc src/statecast/fields/samples

`atmosphere.zarr`: area-weighted 2 x 2 means of a T31 run (24 x 48 points), 10 or 11 bits a value, all 14 months.
`europe.nc`: 12 x 24 points of the same run at its full resolution, with the orography: what a finer, regional data set is to a global one.
`radar.nc`: its rain as an instrument might have seen it, see `observe`.
`storm1996.nc`: copied, with the CF attributes that the original lacks.
"""

import sys
from pathlib import Path

import numpy as np
import xarray as xr
from zarr.codecs import BloscCodec

BITS = 11  # a rounding error of at most 1/4000 of a variable's range, and under 25 MB in all
BITS_OF = {"u": 10, "v": 10}  # winds hardly compress; the error is still below 0.1 m/s
LICENCE = "Apache-2.0"
PROVENANCE = (
    "14 months simulated with jcm 3.0.0 (SPEEDY physics on the dinosaur spectral core, T31, real orography and land-sea mask, "
    "climatological sea-surface temperature, 120 days of spin-up), averaged by cell area over 2 x 2 points, packed to 10 or 11 bits"
)
STORM_NAMES = {
    "t_sfc": ("surface_temperature", "K"),
    "msl": ("air_pressure_at_mean_sea_level", "Pa"),
    "u_sfc": ("eastward_wind", "m s-1"),
    "v_sfc": ("northward_wind", "m s-1"),
    "u500": ("eastward_wind", "m s-1"),
    "v500": ("northward_wind", "m s-1"),
}


def coarsen(fields: xr.Dataset) -> xr.Dataset:
    """Means over 2 x 2 points, weighted by the area of the Gaussian cells (the quadrature weights of the grid)."""
    _, quadrature = np.polynomial.legendre.leggauss(fields.sizes["lat"])
    area = xr.DataArray(quadrature, coords={"lat": fields.lat})
    both = {"lat": 2, "lon": 2}
    coarse = (fields * area).coarsen(both).sum() / (area * xr.ones_like(fields.lon)).coarsen(both).sum()
    lat = (fields.lat * area).coarsen(lat=2).sum() / area.coarsen(lat=2).sum()
    coarse = coarse.assign_coords(lat=lat.values, lon=fields.lon.coarsen(lon=2).mean().values)
    for name in [*fields.data_vars, "lat", "lon", "level"]:
        coarse[name].attrs = fields[name].attrs
    return coarse.transpose("time", "level", "lat", "lon", missing_dims="ignore")


def packing(array: xr.DataArray, bits: int) -> dict:
    low, high = float(array.min()), float(array.max())
    return {"dtype": "int16", "scale_factor": (high - low) / (2**bits - 1), "add_offset": low, "_FillValue": -32768}


def write_atmosphere(source: str, target: Path) -> None:
    coarse = coarsen(xr.open_zarr(source).load())
    coarse.attrs = {
        "Conventions": "CF-1.11",
        "title": "A simulated global atmosphere, 6-hourly, 2000-01 to 2001-02",
        "source": PROVENANCE,
        "license": LICENCE,
        "comment": "Dates are idealised. Pressure levels below the ground are extrapolated.",
    }
    encoding = {}
    for name, array in coarse.data_vars.items():
        dynamic = "time" in array.dims
        shape = [min(n, 64) if d == "time" else n for d, n in array.sizes.items()]
        shards = [-(-n // c) * c for n, c in zip(array.shape, shape, strict=True)]
        codec = BloscCodec(typesize=2 if dynamic else 4, cname="zstd", clevel=9, shuffle="bitshuffle")
        encoding[name] = {
            "chunks": shape,
            "shards": shards,
            "compressors": [codec],
            **(packing(array, BITS_OF.get(name, BITS)) if dynamic else {"dtype": "float32"}),
        }
    encoding["time"] = {
        "units": "hours since 2000-01-01",
        "calendar": "proleptic_gregorian",
        "dtype": "int64",
        "chunks": [coarse.sizes["time"]],
    }
    coarse.to_zarr(target, mode="w", encoding=encoding, zarr_format=3, consolidated=False)


EUROPE = {"lat": slice(31.0, 74.0), "lon": slice(-30.5, 57.0)}
RADARS = ((51.0, 10.0), (47.0, 2.0), (41.0, -3.0), (58.0, 15.0), (45.0, 20.0), (62.0, 26.0), (53.0, -2.0))
RANGE_KM = 650.0  # a point of this grid is 400 km apart from the next: real radars reach 150 to 250 km


def region_of(fields: xr.Dataset) -> xr.Dataset:
    lon = (fields.lon + 180.0) % 360.0 - 180.0
    return fields.assign_coords(lon=lon).sortby("lon").sel(EUROPE)


def observe(region: xr.Dataset) -> xr.DataArray:
    """Rain as weather radars might have seen it: what a model's rain is to a measurement of it, with every step written down.

    1. Models rain too often and too lightly (Stephens et al. 2010): p (p / 5e-5)^0.3, which weakens drizzle and strengthens heavy rain.
    2. Mountains that the model's smooth orography lacks lift the air: times 1 + 0.4 per km of its height.
    3. Snow reflects less than rain (Saltikoff et al. 2015): times 0.55 where it freezes at 2 m, half of that loss within 2 K of it.
    4. The beam rises and widens with distance: times 1 - 0.3 (distance / range)^2.
    5. Speckle and drop sizes: times a log-normal number of spread 0.25; below 2e-6 kg m-2 s-1 (0.17 mm a day) nothing is seen.
    6. Nothing is known out of the range of all radars, nor, for one scan in fifty, anywhere.
    """
    random = np.random.default_rng(0)
    rain = np.maximum(region.tprate, 0.0)
    seen = rain * (rain / 5e-5) ** 0.3 * (1 + 0.4 * np.maximum(region.orog, 0.0) / 1000)
    frozen = np.clip((274.15 - region.t2m) / 2, 0.0, 1.0)
    share = distance_km(region) / RANGE_KM
    seen = seen * (1 - 0.45 * frozen) * (1 - 0.3 * share**2) * np.exp(0.25 * random.standard_normal(rain.shape))
    seen = seen.where(seen >= 2e-6, 0.0)
    scans = xr.DataArray(random.uniform(size=rain.sizes["time"]) >= 0.02, dims="time")
    return seen.where((share <= 1) & scans).transpose("time", "lat", "lon").astype("float32")


def distance_km(region: xr.Dataset) -> xr.DataArray:
    """From each point to the nearest radar."""
    lat, lon = np.deg2rad(region.lat), np.deg2rad(region.lon)
    cosines = [
        np.sin(lat) * np.sin(np.deg2rad(y)) + np.cos(lat) * np.cos(np.deg2rad(y)) * np.cos(lon - np.deg2rad(x))
        for y, x in RADARS
    ]
    nearest = xr.concat(cosines, "radar").max("radar")
    return 6371.0 * np.arccos(np.clip(nearest, -1.0, 1.0))


def write_region(source: str, folder: Path) -> None:
    region = region_of(xr.open_zarr(source)).load()
    europe = region[["t2m", "tprate", "u", "v", "orog", "lsm"]].sel(level=[850.0])
    europe.attrs = {
        "Conventions": "CF-1.11",
        "title": "The region of Europe from the same run as sample:atmosphere, at its full resolution",
        "source": PROVENANCE.replace("averaged by cell area over 2 x 2 points, ", ""),
        "license": LICENCE,
    }
    rain = observe(region).rename("tprate").assign_attrs(region.tprate.attrs)
    radar = rain.to_dataset().assign_attrs(
        europe.attrs
        | {
            "title": "Rain of sample:europe as weather radars might have seen it",
            "comment": " ".join(observe.__doc__.split()),
        }
    )
    for name, fields in (("europe.nc", europe), ("radar.nc", radar)):
        fields = fields.transpose("time", "level", "lat", "lon", missing_dims="ignore")
        encoding = {
            key: {"zlib": True, "complevel": 9, "shuffle": True}
            | (packing(array, BITS_OF.get(key, BITS)) if "time" in array.dims else {"dtype": "float32"})
            for key, array in fields.data_vars.items()
        }
        for axis in ("lat", "lon"):
            fields[axis].attrs = region[axis].attrs
        encoding["time"] = {"units": "hours since 2000-01-01", "calendar": "proleptic_gregorian", "dtype": "int32"}
        fields.to_netcdf(folder / name, encoding=encoding)


def write_storm(source: str, target: Path) -> None:
    storm = xr.open_dataset(source).load()
    for name, (standard_name, units) in STORM_NAMES.items():
        storm[name].attrs = {"standard_name": standard_name, "units": units}
    storm["lat"].attrs = {"standard_name": "latitude", "units": "degrees_north"}
    storm["lon"].attrs = {"standard_name": "longitude", "units": "degrees_east"}
    storm.attrs = {
        "Conventions": "CF-1.11",
        "title": "Analyses of the North American blizzard of January 1996, 6-hourly",
        "source": "files cdf/{T,P,U,V,U500,V500}storm.cdf of the NCAR Graphics example data (libncarg-data)",
        "license": "BSD-4-clause (University Corporation for Atmospheric Research)",
    }
    encoding = {
        name: {
            key: storm[name].encoding[key]
            for key in ("dtype", "scale_factor", "add_offset", "_FillValue")
            if key in storm[name].encoding
        }
        | {"zlib": True, "complevel": 9}
        for name in STORM_NAMES
    }
    storm.to_netcdf(target, encoding=encoding)


if __name__ == "__main__":
    speedy, storm, folder = sys.argv[1:]
    write_atmosphere(speedy, Path(folder) / "atmosphere.zarr")
    write_region(speedy, Path(folder))
    write_storm(storm, Path(folder) / "storm1996.nc")
