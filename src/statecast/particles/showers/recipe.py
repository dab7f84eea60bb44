"""The recipe of a run on showers: where they lie, their geometry, their streams, and the question."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from statecast.config import Recipe
from statecast.numbered import Numbers, SampleFiles
from statecast.particles.showers.streams import (
    AnyStream,
    IncidentStream,
    LayerStream,
    ResponseStream,
    VoxelStream,
)
from statecast.streams import StreamOptions
from statecast.tasks import Cascade, Masked, Translate

ShowerTask = Masked | Cascade | Translate


class ShowerData(SampleFiles):
    """Where the showers lie and which of them may be learned from."""

    files: tuple[str, ...] = Field(description="an HDF5 file of showers in the layout of the CaloChallenge, or several")
    train: Numbers = Field(description="first and last shower of training, inclusive; statistics come from them alone")
    validate_on: Numbers | Literal["all"] | None = Field(
        None,
        alias="validate",
        description="first and last shower of validation, inclusive, or all; none: no validation",
    )
    geometry: str = Field(
        description="XML file of the geometry in the format of the CaloChallenge, or one that ships with statecast: small, other, "
        "dataset-2-like"
    )
    particle: str | None = Field(None, description="particle of the XML file; none: its only one")
    depth_x0: float = Field(
        25.0, gt=0, le=1000, description="radiation lengths of the calorimeter, shared equally by its layers"
    )
    unit: Literal["MeV", "GeV"] | None = Field(
        None, description="unit of the energies; none: MeV, and a file that seems to be in GeV is refused"
    )
    turn: bool = Field(
        True,
        description="training sees each shower turned by a random number of bins in alpha, and reflected at random",
    )
    cache: str | None = Field(
        None, description="directory of a memory-mapped copy, for more showers than memory holds; none: in memory"
    )


class ShowerRecipe(Recipe):
    """One run on showers."""

    data: ShowerData
    streams: dict[str, AnyStream] = Field(min_length=1, description="kinds of measurement, by name")  # type: ignore[assignment]
    task: Annotated[ShowerTask, Field(discriminator="kind")]  # type: ignore[assignment]

    def stream_of(self, kind: type[StreamOptions]) -> str:
        """The name of the stream of a kind; there is one of each."""
        return next(name for name, stream in self.streams.items() if isinstance(stream, kind))

    @model_validator(mode="after")
    def _there_is_one_stream_of_each_kind(self) -> Self:
        for kind, what in (
            (IncidentStream, "incident: true"),
            (ResponseStream, "response: true"),
            (LayerStream, "layers: true"),
            (VoxelStream, "a patch"),
        ):
            names = [name for name, stream in self.streams.items() if isinstance(stream, kind)]
            if len(names) != 1:
                raise ValueError(
                    f"streams: {len(names)} have {what} ({', '.join(names) or 'none'}), expected one. A shower needs all four to be made."
                )
        return self
