"""Streams of images: channels of pixels, masks, boxes around objects, labels."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from statecast.streams import StreamOptions, key_of_kind

Side = Annotated[int, Field(ge=1, le=10_000)]
Sides = tuple[Side, Side]


class PixelStream(StreamOptions):
    """Channels of pixels, a token for each patch of rows and columns, and of frames."""

    channels: tuple[str, ...] = Field(
        min_length=1,
        description="channels of a token: those of the pictures (grey; red, green, blue; variables of a NetCDF file), or brightness, "
        "blue_difference and red_difference, which are made of colours",
    )
    patch: Sides = Field(description="rows and columns of a token; they divide those of a sample")
    frames: Side = Field(1, description="frames of a token; they divide those of a sample")


class MaskStream(StreamOptions):
    """What each pixel belongs to, a token for each patch: one channel for each class, 1 where a pixel is of the class."""

    mask: Literal["objects", "classes"] = Field(
        description="objects: every value but 0 is an object; classes: each value of the masks is a class"
    )
    patch: Sides = Field(description="rows and columns of a token; they divide those of a sample")


class BoxStream(StreamOptions):
    """Objects as boxes: a token for each cell says whether the centre of an object lies in it, of which class, and where its box ends."""

    cell: Sides = Field(
        description="rows and columns of a cell, which holds the centre of one object at most; they divide those of a sample"
    )


class LabelStream(StreamOptions):
    """A class or a number of each picture, asked as a stream of one token."""

    label: str = Field(
        description="folder: the name of the folder that a picture lies in; else a column of the table data.labels, or an array of the "
        "NPZ file"
    )
    target: Literal["class", "number"] = Field("class", description="whether the label is a class or a number")


KINDS: dict[str, type[StreamOptions]] = {
    "channels": PixelStream,
    "mask": MaskStream,
    "cell": BoxStream,
    "label": LabelStream,
}
"""The type of a stream by the key that only it has; without any of these keys it holds pixels."""


def kind_of_stream(options: Any) -> str:
    return key_of_kind(options, KINDS, "channels")


AnyStream = Annotated[
    Annotated[PixelStream, Tag("channels")]
    | Annotated[MaskStream, Tag("mask")]
    | Annotated[BoxStream, Tag("cell")]
    | Annotated[LabelStream, Tag("label")],
    Discriminator(kind_of_stream),
]
