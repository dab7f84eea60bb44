"""What a preparation does, as one YAML file: typed, frozen, and checked before any data are read."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from statecast.config import RecipeError, Strict, read_document, read_options
from statecast.fields.sources.fill_values import AbsentChunks
from statecast.messages import quoted

SMALLEST_SPACING = 1e-3  # degrees, a hundred metres: a finer grid of a region is a typing error
SPECS = "statecast.fields.prepare.specs"

Accumulation = Literal["none", "step", "start"]
Over = Literal["instant", "mean", "sum", "minimum", "maximum"]
Layout = Literal["cf", "anemoi"]
Method = Literal["conservative", "bilinear", "nearest"]
Pair = tuple[float, float]
Axis = tuple[float, float, float]


class SpecError(RecipeError):
    """A spec that is not valid, or that does not fit the inputs."""


class SourceOptions(Strict):
    """Where the inputs lie and how their layout departs from CF."""

    paths: tuple[str, ...] = Field(
        (), description="files, directories, patterns and URLs of NetCDF, GRIB, HDF5, Zarr or Icechunk inputs"
    )
    layout: Layout = Field("cf", description="cf, or anemoi: one array `data` of (time, variable, ensemble, cell)")
    group: str | None = Field(None, description="group of an HDF5, NetCDF or Zarr input; none: the root")
    rename: dict[str, str] = Field(
        {}, description="other names of dimensions and coordinates of the inputs, by their own"
    )
    select: dict[str, float | str] = Field({}, description="the value to take of a dimension, such as number: 0")
    select_if_there: dict[str, float | str] = Field({}, description="the same, where the inputs have the dimension")
    levels_in_names: bool = Field(
        False, description="true: variables such as `t_850` are levels (hPa) of one variable, `t`"
    )
    healpix: Literal["nested", "ring"] | None = Field(
        None, description="order of the pixels, if the inputs are on a HEALPix grid that their attributes don't tell"
    )
    winds: tuple[tuple[str, str], ...] = Field(
        (), description="pairs of wind components along the axes of the grid, which are turned to east and north"
    )
    storage_options: dict[str, Any] = Field({}, description="options of the file system of URLs, such as anon: true")
    absent_chunks: AbsentChunks | None = Field(
        None,
        description="what chunks stand for that a Zarr input lacks: missing, or fill_value; none: what it says, or an error",
    )

    @property
    def selection(self) -> dict[str, float | str]:
        return {**self.select_if_there, **self.select}

    @field_validator("paths", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class VariableOptions(Strict):
    """How one variable is made."""

    name: str | None = Field(
        None, alias="from", description="name or standard name in the inputs; none: the name that it has here"
    )
    units: str | None = Field(None, description="units in the store; none: those of the inputs")
    standard_name: str | None = Field(None, description="CF standard name in the store; none: that of the inputs")
    accumulation: Accumulation = Field(
        "none",
        description="step: amounts since the previous step; start: since a start every restart_h hours; both become a rate",
    )
    accumulation_h: float | None = Field(
        None, ge=1e-3, le=1e6, description="hours of one amount; none: the step of the inputs"
    )
    restart_h: float = Field(
        24.0, ge=1e-3, le=1e6, description="hours between the starts of an accumulation, from 00 UTC on"
    )
    not_negative: bool = Field(False, description="true: differences below zero, which packing leaves, become zero")
    over: Over = Field(
        "instant", description="what a step of every_h hours holds: its last value, mean, sum or extreme"
    )
    keep_bits: int | None = Field(None, ge=1, le=23, description="bits of the mantissa to keep; none: as for the store")


class GridOptions(Strict):
    """The latitude-longitude grid of the store."""

    method: Method = Field(description="conservative, bilinear or nearest")
    lat: Axis | None = Field(None, description="first, last and step of the latitudes of the cell centres")
    lon: Axis | None = Field(None, description="first, last and step of the longitudes of the cell centres")
    spacing: float | None = Field(
        None, ge=SMALLEST_SPACING, le=90, description="degrees between cell centres of the region, or the globe"
    )
    valid_share: float = Field(
        0.5, gt=0, le=1, description="weight of known inputs that a value needs, or it is missing"
    )

    @model_validator(mode="after")
    def _axes_or_spacing(self) -> Self:
        if (self.spacing is None) == (self.lat is None or self.lon is None):
            raise ValueError("grid: give spacing, or lat and lon, one of the two.")
        for name, axis in (("lat", self.lat), ("lon", self.lon)):
            if axis and not (axis[2] >= SMALLEST_SPACING and axis[0] <= axis[1] <= axis[0] + 360):
                raise ValueError(f"grid.{name}: expected first, last and step in degrees, ascending, got {list(axis)}.")
        return self


class RegionOptions(Strict):
    """A box of latitudes and longitudes, inclusive."""

    lat: Pair = Field(description="south and north")
    lon: Pair = Field((0.0, 360.0), description="west and east; west may exceed east across the date line")

    @model_validator(mode="after")
    def _south_before_north(self) -> Self:
        if not -90 <= self.lat[0] <= self.lat[1] <= 90:
            raise ValueError(f"region.lat: expected south and north within -90 and 90, got {list(self.lat)}.")
        return self


class LayoutOptions(Strict):
    """How the arrays of the store are cut and rounded."""

    window: tuple[int, int, int] = Field(
        (8, 64, 64), description="time steps, rows and columns of a chunk: about half of a window that training draws"
    )
    steps_per_shard: int = Field(64, gt=0, le=10**6, description="time steps of a file, and of one block of work")
    keep_bits: int = Field(23, ge=1, le=23, description="bits of the mantissa to keep; 23: float32 as it is")

    @field_validator("window")
    @classmethod
    def _positive(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(value) < 1 or max(value) > 10**6:
            raise ValueError("expected three numbers of 1 to 1,000,000.")
        return value


class StatisticsOptions(Strict):
    """Statistics that are written with the store."""

    period: tuple[str, str] | None = Field(None, description="first and last date; none: all. Name the training period")
    climatology: bool = Field(True, description="true: also the mean of each month and hour at each grid point")


class Spec(Strict):
    """One preparation."""

    about: str = Field("", description="one line on the inputs")
    fits: tuple[tuple[str, ...], ...] = Field(
        (), description="names that inputs of this layout have together: dimensions, variables, attributes"
    )
    source: SourceOptions = Field(default_factory=SourceOptions)
    variables: dict[str, VariableOptions] = Field({}, description="variables of the store, by name; none: all fields")
    known: dict[str, VariableOptions] = Field(
        {}, description="options of variables of the inputs, by name, where `variables` gives none"
    )
    levels: tuple[float, ...] = Field((), description="pressure levels in hPa; none: those of the inputs")
    vertical: Literal["select", "interpolate"] = Field("select", description="how `levels` come about")
    pressure: str | None = Field(None, description="variable with the pressure of model levels, to interpolate from")
    region: RegionOptions | None = Field(None, description="part of the globe; none: all of the inputs")
    period: tuple[str, str] | None = Field(None, description="first and last date, inclusive; none: all")
    every_h: float | None = Field(
        None, ge=1e-3, le=1e6, description="hours between steps, from 00 UTC on; none: as the inputs"
    )
    grid: GridOptions | None = Field(None, description="another grid; none: that of the inputs")
    store: LayoutOptions = Field(default_factory=LayoutOptions)
    statistics: StatisticsOptions = Field(default_factory=StatisticsOptions)

    @field_validator("variables", mode="before")
    @classmethod
    def _names_or_options(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {str(name): {} for name in value}
        return {name: options or {} for name, options in value.items()} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _levels_to_interpolate_to(self) -> Self:
        if self.vertical == "interpolate" and not self.levels:
            raise ValueError("levels: vertical is interpolate, but no level is named. Name the levels in hPa.")
        return self


def read_spec(spec: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), paths: Sequence[str] = ()) -> Spec:
    """Read a spec: a YAML file, the name of one that ships with statecast, or a mapping.

    A file may name another spec under `like`, whose options it inherits section by section. `paths` replaces `source.paths`.
    Raises SpecError or RecipeError, with a message of one line, if it is not valid.
    """
    name = "spec" if isinstance(spec, Mapping) else f"spec {spec}"
    values = _inherited(dict(spec) if isinstance(spec, Mapping) else read_document(str(spec), shipped_specs(), "spec"))
    source = values.get("source") or {}
    if paths and isinstance(source, Mapping):  # another type is refused below
        values["source"] = {**source, "paths": tuple(paths)}
    try:
        return read_options(Spec, values, overrides, name)
    except SpecError:
        raise
    except RecipeError as error:
        raise SpecError(str(error)) from None


def _inherited(values: dict[str, Any]) -> dict[str, Any]:
    like = values.pop("like", None)
    if like is None:
        return values
    if not isinstance(like, str) or like not in shipped_specs():
        raise SpecError(f"like: there is no spec {quoted(like)}. Specs: {', '.join(shipped_specs())}.")
    return _merged(read_document(like, shipped_specs(), "spec"), values)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if both else value
    return merged


def shipped_specs() -> dict[str, Path]:
    """The specs that ship with statecast, by name."""
    return {path.stem: path for path in sorted(Path(str(files(SPECS))).glob("*.yaml"))}
