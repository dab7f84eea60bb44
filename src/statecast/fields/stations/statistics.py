"""What the training period says of stations: how they differ from the field beside them, how far anomalies spread and how long they last.

Axes: T time, V variable, S station, K lag, F feature of a place, P harmonic, H, W grid.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from statecast.fields.sources import Climatology, Grid, Record, Step
from statecast.fields.sources.monthly import between_months
from statecast.fields.stations.points import at_points, interpolated
from statecast.fields.stations.table import Stations

HARMONICS = 5  # mean, a wave a year and a wave a day
PLACE = 6  # features of a place, see `place_features`
OF_HEIGHT = 2  # the first of them: all that matters where a field is known
WORTH = 30.0  # reports that a station needs for its own bias to count as much as what stations of its height have on average
RIDGE = 1e-6  # of the number of reports: features that say the same don't cancel

Fields = Mapping[str, Climatology]


@dataclass(frozen=True)
class Relief:
    """Height of the ground of a grid, in metres."""

    grid: Grid
    height_m: Float[np.ndarray, "H W"]

    def at(self, stations: Stations) -> Float[np.ndarray, " S"]:
        return interpolated(self.height_m, at_points(self.grid, stations.lat, stations.lon))


@dataclass(frozen=True)
class StationStatistics:
    """Statistics of the training period.

    bias         of a place by its features: station - field, or the value itself of a variable without one
    own          what the bias of a station that was seen in training is beyond that
    anomaly_std  root mean square of the anomalies
    correlation  of anomalies of a station with those K steps earlier
    lowest       smallest value
    relief       of the grid; None: the bias follows the height of the station
    """

    variables: tuple[str, ...]
    units: tuple[str, ...]
    step: Step
    stations: Stations
    bias: Float[np.ndarray, "V F P"]
    own: Float[np.ndarray, "S V P"]
    anomaly_std: Float[np.ndarray, " V"]
    correlation: Float[np.ndarray, "V K"]
    lowest: Float[np.ndarray, " V"]
    relief: Relief | None = None

    def bias_of(self, stations: Stations) -> Float[np.ndarray, "S V P"]:
        """By height and place, and of a station that training has seen by what it reported."""
        bias = np.einsum("sf,vfp->svp", place_features(stations, self.relief), self.bias)
        number = {name: i for i, name in enumerate(self.stations.ids)}
        for s, name in enumerate(stations.ids):
            if name in number:
                bias[s] += self.own[number[name]]
        return bias

    def dataset(self) -> xr.Dataset:
        """As a NetCDF file holds them; `of` is the inverse."""
        places = self.stations
        relief = self.relief or Relief(Grid(np.zeros(0), np.zeros(0)), np.zeros((0, 0)))
        return xr.Dataset(
            {
                "units": ("variable", list(self.units)),
                "latitude": ("station", places.lat),
                "longitude": ("station", places.lon),
                "height": ("station", places.height_m, {"units": "m"}),
                "bias": (("variable", "feature", "harmonic"), self.bias),
                "own": (("station", "variable", "harmonic"), self.own),
                "anomaly_std": ("variable", self.anomaly_std),
                "correlation": (("variable", "lag"), self.correlation),
                "lowest": ("variable", self.lowest),
                "step": ((), self.step.hours, {"units": "h", "months": self.step.months}),
                "relief": (("lat", "lon"), relief.height_m, {"units": "m"}),
            },
            {
                "variable": list(self.variables),
                "station": np.array(places.ids, dtype=str),
                "lat": relief.grid.lat,
                "lon": relief.grid.lon,
            },
        )

    @classmethod
    def of(cls, data: xr.Dataset) -> "StationStatistics":
        lat, lon, height_m = (data[name].values for name in ("latitude", "longitude", "height"))
        grid = Grid(data["lat"].values, data["lon"].values)
        return cls(
            tuple(map(str, data["variable"].values)),
            tuple(map(str, data["units"].values)),
            Step.of_hours(float(data["step"]), int(data["step"].attrs.get("months", 0))),
            Stations(tuple(map(str, data["station"].values)), lat, lon, height_m),
            data["bias"].values,
            data["own"].values,
            data["anomaly_std"].values,
            data["correlation"].values,
            data["lowest"].values,
            Relief(grid, data["relief"].values) if len(grid.lat) else None,
        )


def place_features(stations: Stations, relief: Relief | None) -> Float[np.ndarray, "S F"]:
    """1, the height in km above the grid's ground (or the sea), and the place as a unit vector with the square of its third component."""
    height = stations.height_m - (0.0 if relief is None else relief.at(stations))
    lat, lon = np.deg2rad(stations.lat), np.deg2rad(stations.lon)
    place = (np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat), np.sin(lat) ** 2)
    return np.stack([np.ones(len(stations)), height / 1000.0, *place], axis=1)


def harmonics(
    year_fraction: Float[np.ndarray, "*T"], hour_utc: Float[np.ndarray, "*T"], lon: Float[np.ndarray, "*S"]
) -> Float[np.ndarray, "*T P"]:
    """1, and a wave of the season and of the local solar time."""
    day = 2 * np.pi * hour_utc / 24 + np.deg2rad(lon)
    year = 2 * np.pi * year_fraction + np.zeros_like(day)
    return np.stack([np.ones_like(year), np.cos(year), np.sin(year), np.cos(day), np.sin(day)], axis=-1)


def fit_bias(
    moments: Float[np.ndarray, "S V P P"],
    products: Float[np.ndarray, "S V P"],
    places: Float[np.ndarray, "S F"],
    is_guessed: Float[np.ndarray, " V"],
) -> tuple[Float[np.ndarray, "V F P"], Float[np.ndarray, "S V P"]]:
    """The bias of places and what single stations have beyond it, from sums of ψψᵀ and ψd of each station.

        d(s, t) = (B φ(s) + b(s)) · ψ(t)        b(s) = (Σψψᵀ + 30)^-1 Σψ(d - B φ(s) · ψ)

    B by least squares over all stations; b shrinks towards 0 for a station with few reports.
    """
    _, variables, waves = products.shape
    bias, own = np.zeros((variables, PLACE, waves)), np.zeros_like(products)
    for v in range(variables):
        phi = places[:, : OF_HEIGHT if is_guessed[v] else PLACE]
        size = phi.shape[1] * waves
        both = np.einsum("sf,sg,spq->fpgq", phi, phi, moments[:, v]).reshape(size, size)
        ridge = RIDGE * moments[:, v, 0, 0].sum() * np.eye(size)
        known = np.einsum("sf,sp->fp", phi, products[:, v]).reshape(size)
        bias[v, : phi.shape[1]] = np.linalg.solve(both + ridge, known).reshape(-1, waves)
        left = products[:, v] - np.einsum("spq,sf,fq->sp", moments[:, v], phi, bias[v, : phi.shape[1]])
        own[:, v] = np.linalg.solve(moments[:, v] + WORTH * np.eye(waves), left[..., None])[..., 0]
    return bias, own


@dataclass(frozen=True)
class StationClimate:
    """The climatological mean at some stations: that of the field beside each variable, interpolated, and the bias.

    mean  of the fields, by month and hour of the day; 0 for a variable without one
    """

    stations: Stations
    bias: Float[np.ndarray, "S V P"]
    hours_utc: Float[np.ndarray, " D"]
    mean: Float[np.ndarray, "M D V S"]

    @classmethod
    def of(
        cls, statistics: StationStatistics, stations: Stations, fields: Mapping[int, tuple[Climatology, int]]
    ) -> "StationClimate":
        """`fields`: the climatology and the channel beside a variable, by the number of the variable."""
        hours = next((known.hours_utc for known, _ in fields.values()), np.zeros(1))
        mean = np.zeros((12, len(hours), len(statistics.variables), len(stations)), np.float32)
        for v, (known, channel) in fields.items():
            matrix = at_points(known.grid, stations.lat, stations.lon)
            nearest = known.mean[:, known.nearest_hour(hours), channel]
            mean[:, :, v] = interpolated(np.nan_to_num(nearest), matrix)
        return cls(stations, statistics.bias_of(stations), hours, mean)

    def at(self, record: Record, steps: slice, chosen: np.ndarray) -> Float[np.ndarray, "T V 1 S"]:
        """At some steps of a record, of some of the stations."""
        before, after, share = between_months(record.months_passed[steps])
        apart = np.abs((record.hour_utc[steps, None] - self.hours_utc + 12) % 24 - 12)
        hour, mean = apart.argmin(axis=1), self.mean[..., chosen]
        weight = share[:, None, None]
        of_fields = (1 - weight) * mean[before, hour] + weight * mean[after, hour]
        when = (record.year_fraction[steps, None], record.hour_utc[steps, None])
        waves = harmonics(*when, self.stations.lon[chosen])
        bias = np.einsum("tsp,svp->tvs", waves, self.bias[chosen])
        return (of_fields + bias)[:, :, None].astype(np.float32)
