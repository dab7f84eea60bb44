"""The recipe of a run on fields: where the record lies, its streams, the window of a sample."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    Tag,
    field_serializer,
    field_validator,
    model_validator,
)

from statecast.config import DataOptions, Recipe, Strict
from statecast.fields.fill import Fill
from statecast.fields.labels import LabelStream
from statecast.fields.sources.cache import CacheOptions
from statecast.fields.sources.fill_values import AbsentChunks
from statecast.fields.stations.options import StationStream
from statecast.fields.streams import Stream
from statecast.tasks import Task

Period = tuple[str, str]
Extent = Annotated[int, Field(ge=1, le=10**6)]
FieldTask = Task | Fill
Lattices = Literal[1, 2, 4]


class FieldData(DataOptions):
    """Where the record lies and which part of it may be learned from."""

    newer = frozenset({"select", "absent_chunks", "cache"})
    store: str = Field(
        description="a Zarr store, a NetCDF or GRIB file, or a sample that ships with statecast (sample:atmosphere, sample:storm1996)"
    )
    train: Period = Field(
        description="first and last date of training, inclusive; statistics and climatology come from it alone"
    )
    validate_on: Period | None = Field(
        None, alias="validate", description="first and last date of validation; none: no validation"
    )
    stores: dict[str, str] = Field(
        {}, description="stores of streams that lie elsewhere, on a grid of their own, by the stream's name"
    )
    select: dict[str, float | str] = Field(
        {},
        description="the value of each further dimension of the store that is taken, for example {number: 0, step: 6}",
    )
    absent_chunks: AbsentChunks | None = Field(
        None,
        description="missing or fill_value: what a chunk stands for that a Zarr store lacks, if the store doesn't say; none: an error",
    )
    cache: CacheOptions | None = Field(
        None,
        description="where what was read of stores behind a URL is kept: a directory and its size; none: it is read again each time",
    )
    replay: tuple[Period, ...] = Field(
        (), description="first and last date of an earlier period that is trained on again, or several; none: no replay"
    )
    replayed: float = Field(
        0.5, gt=0, lt=1, description="share of the windows that come from `replay`, if there is one"
    )

    @field_validator("replay", mode="before")
    @classmethod
    def _none_one_or_several(cls, value: Any) -> Any:
        is_one = isinstance(value, list | tuple) and bool(value) and not isinstance(value[0], list | tuple)
        return (value,) if is_one else () if value is None else value

    @field_serializer("replay")
    def _as_it_is_written(self, periods: tuple[Period, ...]) -> Any:
        return None if not periods else periods[0] if len(periods) == 1 else periods

    @property
    def learned_periods(self) -> tuple[Period, ...]:
        """Every period that a training learns from: those that are replayed, then its own."""
        return (*self.replay, self.train)


def _kind_of_stream(options: Any) -> str:
    for kind, (key, of_kind) in {"labels": ("labels", LabelStream), "stations": ("table", StationStream)}.items():
        if key in options if isinstance(options, Mapping) else isinstance(options, of_kind):
            return kind
    return "fields"


AnyStream = Annotated[
    Annotated[Stream, Tag("fields")]
    | Annotated[LabelStream, Tag("labels")]
    | Annotated[StationStream, Tag("stations")],
    Discriminator(_kind_of_stream),
]


class WindowOptions(Strict):
    """The part of the domain that one sample sees."""

    newer = frozenset({"lattices", "mend_edges"})
    extent: tuple[Extent, Extent] | None = Field(
        None, description="rows × columns of grid points, at random places; none: the whole domain"
    )
    hide_calendar: bool = Field(
        False, description="true: the model is not told the hour of the day and the season, only the order of the steps"
    )
    lattices: Lattices = Field(
        1,
        description="token lattices that an answer is an average over, each shifted by half a patch; N cost N times, training doesn't",
    )
    mend_edges: bool = Field(
        True,
        description="correct answers by the points around each one, where that helps: by a linear filter that is fitted to the training "
        "period when a training ends",
    )


class FieldRecipe(Recipe):
    """One run on fields."""

    data: FieldData
    streams: dict[str, AnyStream] = Field(min_length=1, description="kinds of measurement, by name")  # type: ignore[assignment]
    window: WindowOptions = Field(default_factory=WindowOptions)
    task: Annotated[FieldTask, Field(discriminator="kind")]  # type: ignore[assignment]

    @property
    def fields(self) -> dict[str, Stream]:
        """The streams of fields."""
        return {name: stream for name, stream in self.streams.items() if isinstance(stream, Stream)}

    @property
    def labels(self) -> dict[str, LabelStream]:
        """The streams of labels."""
        return {name: stream for name, stream in self.streams.items() if isinstance(stream, LabelStream)}

    @property
    def stations(self) -> dict[str, StationStream]:
        """The streams of stations."""
        return {name: stream for name, stream in self.streams.items() if isinstance(stream, StationStream)}

    @property
    def slab_steps(self) -> int:
        """Time steps of a slab: the depth of the deepest tokens."""
        return max(stream.patch[0] for stream in self.fields.values())

    @property
    def window_steps(self) -> int:
        """Time steps of the window of a training sample."""
        return self.task.training_slabs * self.slab_steps

    @model_validator(mode="after")
    def _there_are_fields(self) -> Self:
        if not self.fields:
            raise ValueError("streams: none is of fields, expected one at least. Name its variables.")
        return self

    @model_validator(mode="after")
    def _the_task_can_ask_tokens_of_this_depth(self) -> Self:
        self.task.require_depths({name: stream.patch[0] for name, stream in (self.fields | self.stations).items()})
        for name, stream in self.stations.items():
            if self.slab_steps % stream.steps:
                raise ValueError(
                    f"streams.{name}.steps is {stream.steps}, which does not divide the {self.slab_steps} steps of the deepest tokens of "
                    "fields. Choose 1, or as many."
                )
        return self

    @model_validator(mode="after")
    def _stations_are_asked_in_one_block(self) -> Self:
        if self.stations and self.task.rollout_blocks > 1:
            raise ValueError(
                f"task.rollout is {self.task.rollout_blocks}, but stations report where they like and are not rolled out. Set it to 1, or "
                f"leave the stream {next(iter(self.stations))} out."
            )
        return self

    @model_validator(mode="after")
    def _stations_are_measured_against_visible_fields(self) -> Self:
        for name, stream in self.stations.items():
            for field in stream.fields:
                if field.split(".")[0] not in self.fields:
                    raise ValueError(
                        f"streams.{name}: there is no stream of fields '{field.split('.')[0]}'. Such streams: {', '.join(self.fields)}."
                    )
            hidden = self.task.hidden_streams
            peeps = [field for field in stream.first_guess.values() if field.split(".")[0] in hidden]
            if name in hidden and peeps:
                raise ValueError(
                    f"streams.{name}.first_guess: {peeps[0]} is asked too, so its values are not known. Name a stream that is visible."
                )
        return self

    @model_validator(mode="after")
    def _stores_and_first_guesses_are_of_streams_that_there_are(self) -> Self:
        if unknown := [name for name in self.data.stores if name not in self.streams]:
            raise ValueError(f"data.stores: there is no stream {unknown[0]}. Streams: {', '.join(self.streams)}.")
        if tables := [name for name in self.data.stores if name in self.stations]:
            raise ValueError(f"data.stores: {tables[0]} is a stream of stations. Set streams.{tables[0]}.table.")
        asked = self.task.hidden_streams
        for name, stream in self.fields.items():
            if stream.first_guess and name not in asked:
                raise ValueError(
                    f"streams.{name}.first_guess: is for a stream that is asked of others (task translate, to: [{name}]). Leave it out."
                )
            if peeps := [guess for guess in stream.first_guess.values() if guess.split(".")[0] in asked]:
                raise ValueError(
                    f"streams.{name}.first_guess: {peeps[0]} is asked too, so its values are not known. Name a stream that is visible."
                )
        return self
