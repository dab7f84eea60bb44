"""What members say as states, not point by point: means over areas, differences between neighbours, balance of wind and pressure, energy.

A member that is right at every point may still be no possible state: its area means may spread too little, its neighbours differ too much.
Axes: E member, T time, V channel, H row, W column of a grid; h, w of areas.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from statecast.evaluation import LabelAxis, Scored, ensemble_scores, rank_counts
from statecast.evaluation.scores import Means
from statecast.fields.evaluation.labels import channel_axis, field_axes, lead_time_axis
from statecast.fields.evaluation.scores import area_mean, statistics
from statecast.fields.evaluation.spectra import zonal_power
from statecast.fields.sources import Grid, Record
from statecast.fields.streams import Channel

AREA_DEG = 20.0  # side of the areas whose means are scored
EARTH_RADIUS_M, ROTATION_PER_S = 6.371e6, 7.292e-5
NO_BALANCE_DEG = 20.0  # nearer to the equator the wind does not follow the pressure
VARIOGRAM_POWER = 0.5

Fields = Float[np.ndarray, "*B H W"]


WIND = ("eastward_wind", "northward_wind", "geopotential")
"""Standard names of what is in balance."""


def scored_states(
    task: str,
    forecast: str,
    record: Record,
    members: Float[np.ndarray, "E T V H W"],
    truth: Float[np.ndarray, "T V H W"],
    climatology: Float[np.ndarray, "T V H W"],
) -> Iterator[Scored]:
    """The statistics of one forecast of members that are states: of points, area means, differences and the ageostrophic wind.

    Each is a task of its own, named `TASK` and what is scored. Where the truth is missing nothing is scored.
    """
    grid, known = record.grid, np.isfinite(truth)
    lead_times = [float(hours) for hours in record.step_h * np.arange(1, len(truth) + 1)]
    axes = field_axes(record, lead_times)
    members, climatology = (np.where(known, fields, np.nan) for fields in (members, climatology))

    def scored(name: str, axes: Sequence[LabelAxis], view: Callable, area: np.ndarray, more: Means) -> Scored:
        seen = [view(fields) for fields in (members, truth, climatology)]
        ranks = rank_counts(seen[0], seen[1], axis=(-1, -2))
        found = {**statistics(seen[0], seen[1], seen[2], area, drawn=True), **more}
        return Scored(f"{task} {name}".strip(), forecast, tuple(axes), found, len(members), ranks)

    yield scored("", axes, lambda fields: fields, grid.cell_area, _of_whole_fields(members, truth, grid))
    area = area_means(grid.cell_area, grid)[1]
    yield scored("area means", axes, lambda fields: area_means(fields, grid)[0], area, {})
    yield scored("differences", axes, lambda fields: neighbour_differences(fields, grid), grid.cell_area, {})
    winds = _winds(record)
    if winds:
        channels = [Channel(f"ageostrophic_{name}", level) for level in winds for name in WIND[:2]]
        of_winds = (lead_time_axis(lead_times), channel_axis(channels, ["m s-1"] * len(channels)))
        yield scored(
            "ageostrophic wind", of_winds, lambda fields: _ageostrophic(fields, winds, grid), grid.cell_area, {}
        )


def _of_whole_fields(members: np.ndarray, truth: np.ndarray, grid: Grid) -> Means:
    return {
        "energy_score": energy_score(members, truth, grid.cell_area),
        "variogram_score": variogram_score(members, truth, grid),
        "power_of_members": short_power(members, grid).mean(axis=0),
        "power_of_truth": short_power(truth, grid),
    }


def _winds(record: Record) -> dict[float | None, tuple[int, int, int]]:
    """The numbers of the channels of wind and geopotential at each level that has all three; none where the wind has no balance."""
    if np.abs(record.grid.lat[1:-1]).max(initial=0) < NO_BALANCE_DEG:
        return {}
    names = [str(record.dataset[channel.variable].attrs.get("standard_name")) for channel in record.channels]
    places = {
        (name, channel.pressure_hpa): i for i, (name, channel) in enumerate(zip(names, record.channels, strict=True))
    }
    levels = dict.fromkeys(level for name, level in places if name in WIND)
    return {
        level: (places[WIND[0], level], places[WIND[1], level], places[WIND[2], level])
        for level in levels
        if all((name, level) in places for name in WIND)
    }


def _ageostrophic(
    fields: Float[np.ndarray, "*B V H W"], winds: dict[float | None, tuple[int, int, int]], grid: Grid
) -> Float[np.ndarray, "*B V2 H W"]:
    parts: list[np.ndarray] = []
    for numbers in winds.values():
        eastward, northward, geopotential = (fields[..., number, :, :] for number in numbers)
        parts += ageostrophic_wind(eastward, northward, geopotential, grid)
    return np.stack(parts, axis=-3)


def area_means(fields: Fields, grid: Grid) -> tuple[Float[np.ndarray, "*B h w"], Float[np.ndarray, "h w"]]:
    """Means over areas of some 20° by 20°, at least two points by two, and these areas; NaN where all of one is missing."""
    rows, columns = (_edges(axis) for axis in (grid.lat, grid.lon))
    known = np.isfinite(fields)
    weight = grid.cell_area * known
    summed, total = (_blocks(x, rows, columns) for x in (np.where(known, fields, 0.0) * weight, weight))
    means = np.divide(summed, total, out=np.full(summed.shape, np.nan), where=total > 0)
    return means, _blocks(grid.cell_area, rows, columns)


def _edges(axis: Float[np.ndarray, " N"]) -> list[int]:
    """Where the areas begin along an axis."""
    spacing = abs(float(np.median(np.diff(axis)))) if len(axis) > 1 else AREA_DEG
    return list(range(0, len(axis), max(2, round(AREA_DEG / spacing))))


def _blocks(fields: Fields, rows: list[int], columns: list[int]) -> Float[np.ndarray, "*B h w"]:
    return np.add.reduceat(np.add.reduceat(fields, rows, axis=-2), columns, axis=-1)


def neighbour_differences(fields: Fields, grid: Grid) -> Fields:
    """Each point's eastern neighbour less the point itself; NaN in the last column of a grid that does not go round the globe."""
    differences = np.roll(fields, -1, axis=-1) - fields
    if not grid.is_periodic:
        differences[..., -1] = np.nan
    return differences


def ageostrophic_wind(eastward: Fields, northward: Fields, geopotential: Fields, grid: Grid) -> tuple[Fields, Fields]:
    """Wind less its balance with the gradient of the geopotential φ, in m s-1; NaN within 20° of the equator and at the edges.

    u + (1/f) ∂φ/∂y,    v - (1/f) ∂φ/∂x,    f = 2 Ω sin(latitude)                 Holton & Hakim 2013, eq. 2.23

    """
    lat = np.deg2rad(grid.lat)[:, None]
    coriolis = np.where(np.abs(lat) >= np.deg2rad(NO_BALANCE_DEG), 2 * ROTATION_PER_S * np.sin(lat), np.nan)
    northwards = np.gradient(geopotential, EARTH_RADIUS_M * np.deg2rad(grid.lat), axis=-2)
    northwards[..., [0, -1], :] = np.nan
    metres = EARTH_RADIUS_M * np.cos(lat) * np.deg2rad(_spacing(grid))
    eastwards = (np.roll(geopotential, -1, axis=-1) - np.roll(geopotential, 1, axis=-1)) / (2 * metres)
    if not grid.is_periodic:
        eastwards[..., [0, -1]] = np.nan
    return eastward + northwards / coriolis, northward - eastwards / coriolis


def _spacing(grid: Grid) -> float:
    return float(np.median(np.diff(grid.lon)))


def energy_score(
    members: Float[np.ndarray, "E *grid H W"], truth: Float[np.ndarray, "*grid H W"], area: Float[np.ndarray, "H W"]
) -> Float[np.ndarray, "*grid"]:
    """mean_i |x_i - y|  -  sum_ij |x_i - x_j| / (2 E (E - 1)), |x| the root of the area mean of x²; in its units, 0 is perfect.

    The CRPS of whole fields (Gneiting & Raftery 2007, eq. 22), fair to a small ensemble.
    """
    observed = np.isfinite(truth)

    def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.sqrt(area_mean((one - other) ** 2, area, observed))

    error = np.mean([distance(member, truth) for member in members], axis=0)
    size = len(members)
    if size < 2:
        return error
    pairs = [distance(members[i], members[j]) for i in range(size) for j in range(i)]
    return error - np.sum(pairs, axis=0) / (size * (size - 1))


def variogram_score(
    members: Float[np.ndarray, "E *grid H W"], truth: Float[np.ndarray, "*grid H W"], grid: Grid
) -> Float[np.ndarray, "*grid"]:
    """Area mean of (|y' - y|^p - mean_i |x_i' - x_i|^p)², p = 1/2, over each point and its eastern neighbour; 0 is perfect.

    Scheuerer & Hamill 2015, with the pairs that lie one column apart.
    """
    expected = np.mean(np.abs(neighbour_differences(members, grid)) ** VARIOGRAM_POWER, axis=0)
    true = np.abs(neighbour_differences(truth, grid)) ** VARIOGRAM_POWER
    return area_mean((true - expected) ** 2, grid.cell_area, np.isfinite(true))


def short_power(fields: Fields, grid: Grid) -> Float[np.ndarray, "*B"]:
    """Power in the shortest third of the wavelengths along the rows, see `zonal_power`."""
    power = zonal_power(fields, grid)
    return power[..., 2 * power.shape[-1] // 3 :].sum(axis=-1)


def state_scores(means: Means, members: int) -> dict[str, Float[np.ndarray, "*A"]]:
    """Those of `ensemble_scores`, and

    energy_score, variogram_score   see there
    short_power                     power of a member in the shortest third of the wavelengths over that of the truth: 1 is right
    """
    scores = dict(ensemble_scores(means, members))
    scores |= {name: means[name] for name in ("energy_score", "variogram_score") if name in means}
    if "power_of_members" in means:
        true = means["power_of_truth"]
        scores["short_power"] = np.divide(
            means["power_of_members"], true, out=np.full(np.shape(true), np.nan), where=true > 0
        )
    return scores
