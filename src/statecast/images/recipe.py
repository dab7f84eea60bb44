"""The recipe of a run on images: where they lie, their streams, and the question."""

from typing import Literal, Self

from pydantic import Field, model_validator

from statecast.config import Recipe
from statecast.images.streams import AnyStream, BoxStream, LabelStream, MaskStream, PixelStream, Side, Sides
from statecast.numbered import Numbers, SampleFiles
from statecast.streams import StreamOptions


class ImageData(SampleFiles):
    """Where the pictures lie and which of them may be learned from."""

    newer = frozenset({"shift"})

    files: tuple[str, ...] = Field(
        description="a folder of PNG, JPEG or TIFF files, a NumPy or NetCDF stack, several of them, or a sample (sample:digits, "
        "sample:photographs)"
    )
    train: Numbers = Field(
        description="first and last picture, or film, of training, inclusive; statistics come from them alone"
    )
    validate_on: Numbers | Literal["all"] | None = Field(
        None,
        alias="validate",
        description="first and last picture of validation, inclusive, or all; none: no validation",
    )
    shuffle: bool = Field(
        False,
        description="number the pictures in a random order, always the same, so that a range holds pictures of all folders",
    )
    convert: Literal["grey", "rgb"] | None = Field(
        None, description="convert pictures to grey or to red, green and blue; none: all have the same channels"
    )
    axes: str | None = Field(
        None,
        pattern="^[STHWC]{2,5}$",
        description="of a NumPy stack, a letter each: S sample, T time, H row, W column, C channel; none: SHW, SHWC or STHWC",
    )
    films: bool = Field(
        False, description="the pictures of a folder are the frames of a film, in the order of their names"
    )
    frames: Side = Field(
        1, description="frames of a sample; a longer film is cut, in training at random places, a shorter one refused"
    )
    crop: Sides | None = Field(
        None,
        description="rows and columns of a sample, cut out of each picture: in training at a random place, else tile by tile; none: all "
        "pictures have the same size",
    )
    flip: bool = Field(False, description="training sees each picture mirrored left to right at random")
    shift: int = Field(
        0,
        ge=0,
        le=10_000,
        description="training sees each picture moved by up to so many rows and columns at random; pixels at an edge are repeated",
    )
    labels: str | None = Field(None, description="CSV table with a column image and columns of labels")
    masks: str = Field(
        "masks", description="folder of the masks in that of the pictures, each with the name of its picture"
    )
    boxes: str | None = Field(
        None, description="CSV table of objects with columns image, xmin, ymin, xmax, ymax and, if any, label"
    )


class ImageRecipe(Recipe):
    """One run on images."""

    data: ImageData
    streams: dict[str, AnyStream] = Field(min_length=1, description="kinds of measurement, by name")  # type: ignore[assignment]

    def of_kind(self, kind: type[StreamOptions]) -> list[str]:
        """The names of the streams of a kind."""
        return [name for name, stream in self.streams.items() if isinstance(stream, kind)]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the streams need."""
        streams = (stream for stream in self.streams.values() if isinstance(stream, LabelStream))
        return tuple(dict.fromkeys(stream.label for stream in streams))

    @model_validator(mode="after")
    def _there_are_pixels(self) -> Self:
        if not self.of_kind(PixelStream):
            raise ValueError("streams: none has channels of pixels, expected one at least. Add one.")
        if len(self.of_kind(BoxStream)) > 1:
            raise ValueError(f"streams: {', '.join(self.of_kind(BoxStream))} have a cell, expected one. Leave one out.")
        if self.of_kind(BoxStream) and self.data.boxes is None:
            raise ValueError("data.boxes: is not given, but a stream asks for boxes. Name the table that holds them.")
        if self.data.frames > 1 and (others := [*self.of_kind(MaskStream), *self.of_kind(BoxStream)]):
            raise ValueError(f"streams: {others[0]} is of single pictures, but data.frames is {self.data.frames}.")
        return self
