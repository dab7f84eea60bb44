"""Streams of showers: the incident energy, what of it is deposited, how it divides among the layers, and the voxels."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from statecast.options import MOST
from statecast.streams import StreamOptions, key_of_kind

Count = Annotated[int, Field(ge=1, le=MOST)]


class IncidentStream(StreamOptions):
    """The energy of the incident particle: the condition, one token."""

    incident: Literal[True] = Field(True, description="the incident energy, as its logarithm")


class ResponseStream(StreamOptions):
    """The energy in all voxels over the incident energy, one token."""

    response: Literal[True] = Field(True, description="deposited over incident energy")


class LayerStream(StreamOptions):
    """The share of the deposited energy in each layer, a token each."""

    layers: Literal[True] = Field(True, description="shares of the layers in the deposited energy")


class VoxelStream(StreamOptions):
    """The voxels as shares of their layer's energy, in patches."""

    patch: tuple[Count, Count, Count] = Field(
        description="numbers of layers, alphas and rings in a token; each divides that of the geometry"
    )


KINDS: dict[str, type[StreamOptions]] = {
    "incident": IncidentStream,
    "response": ResponseStream,
    "layers": LayerStream,
    "patch": VoxelStream,
}
"""The type of a stream by the key that only it has; without any of these keys it holds voxels."""


def kind_of_stream(options: Any) -> str:
    return key_of_kind(options, KINDS, "patch")


AnyStream = Annotated[
    Annotated[IncidentStream, Tag("incident")]
    | Annotated[ResponseStream, Tag("response")]
    | Annotated[LayerStream, Tag("layers")]
    | Annotated[VoxelStream, Tag("patch")],
    Discriminator(kind_of_stream),
]
