"""Cut the two samples that ship with statecast from the larger records they come from.

    python scripts/make_samples.py SPEEDY_T31.zarr STORM1996.nc src/statecast/sources/samples

`atmosphere.zarr`: area-weighted 2 x 2 means of a T31 run (24 x 48 points), 10 or 11 bits a value, all 14 months.
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
    write_storm(storm, Path(folder) / "storm1996.nc")
