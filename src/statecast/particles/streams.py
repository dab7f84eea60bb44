"""Streams of jets: particles, numbers of the jet or of the event, targets that are only asked, labels."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from statecast.particles.events import EVENT_NUMBERS
from statecast.particles.features import FEATURES, MOMENTA, POSITION, QUANTITIES
from statecast.streams import StreamOptions, key_of_kind

Feature = Annotated[str, AfterValidator(lambda name: one_of(name, FEATURES))]
EventNumber = Annotated[str, AfterValidator(lambda name: one_of(name, EVENT_NUMBERS))]
JetNumber = Annotated[str, AfterValidator(lambda name: one_of(name, QUANTITIES))]


def one_of(name: str, known: Mapping[str, Any]) -> str:
    """The same name. Raises ValueError if it is not known."""
    if name not in known:
        raise ValueError(f"{name} is not known. Choose among {', '.join(known)}.")
    return name


class ParticleStream(StreamOptions):
    """The particles of a jet, a token each, in order of decreasing pT: continuous values, kind and direction."""

    particles: tuple[Feature, ...] = Field(
        ("delta_eta", "delta_phi", "log_pt_fraction", "log_pt", "charge"),
        description=f"values of a token, of {', '.join(FEATURES)}",
    )

    @model_validator(mode="after")
    def _particles_can_be_made_of_them(self) -> Self:
        missing = [name for name in POSITION if name not in self.particles]
        if missing or not set(MOMENTA) & set(self.particles):
            raise ValueError(
                f"particles: {list(self.particles)} say too little for an inverse, expected {', '.join(POSITION)} and one of "
                f"{', '.join(MOMENTA)}. Add {', '.join(missing) or MOMENTA[0]}."
            )
        return self


class JetStream(StreamOptions):
    """Numbers of the whole jet, a token each, in a fixed order before the particles."""

    quantities: tuple[JetNumber, ...] = Field(
        ("multiplicity", "pt_gev", "eta", "mass_gev"), min_length=1, description=f"of {', '.join(QUANTITIES)}"
    )

    @property
    def ordered(self) -> tuple[str, ...]:
        """The quantities in the order of their tokens."""
        return tuple(name for name in QUANTITIES if name in self.quantities)


class EventStream(StreamOptions):
    """Numbers of the whole event, in one token. With this stream a sample is an event, and the other streams hold its jets."""

    numbers: tuple[EventNumber, ...] = Field(
        ("met_gev", "met_cos_phi", "met_sin_phi", "dijet_mass_gev"),
        min_length=1,
        description=f"of {', '.join(EVENT_NUMBERS)}",
    )
    jets: int = Field(2, ge=1, le=1000, description="jets of an event that are read, those of largest pT")


class TargetStream(StreamOptions):
    """What is asked about particles, or about numbers of the jet: the form of an answer, while what is visible stays continuous.

    Its tokens have no direction, only their rank: with a direction a question would give away its answer.
    """

    asks: Literal["codebook", "residual", "kinds", "values", "bins"] = Field(
        description="codebook: codes of a codebook of particles, and a code that ends the jet; residual: where in its cell a particle "
        "lies, given its code; kinds: the kinds of particles; values: "
        "their continuous values; bins: the bin of each number of the jet"
    )
    of: str | None = Field(None, description="residual: stream of the codebook that it refines")
    size: int = Field(
        512,
        ge=2,
        le=2**20,
        description="codes of a codebook or of its residual; bins of each number have an eighth as many",
    )
    method: Literal["kmeans", "vqvae"] = Field(
        "kmeans",
        description="codebook: centres of k-means, or a vector-quantised autoencoder (needs vector-quantize-pytorch)",
    )

    @model_validator(mode="after")
    def _a_residual_is_of_a_codebook(self) -> Self:
        if (self.asks == "residual") != (self.of is not None):
            need = "needs the stream of a codebook" if self.asks == "residual" else "is no option of it"
            raise ValueError(f"of: {need}, with asks {self.asks}.")
        return self


class LabelStream(StreamOptions):
    """A class or a number of each jet, or of each event, asked as a stream of one token."""

    label: str = Field(
        description="class: the name of the jet's class, or of the event's process; else a column of the jets or events, such as "
        "generated_mass_gev"
    )

    @property
    def is_class(self) -> bool:
        return self.label == "class"


KINDS: dict[str, type[StreamOptions]] = {
    "particles": ParticleStream,
    "quantities": JetStream,
    "numbers": EventStream,
    "asks": TargetStream,
    "label": LabelStream,
}
"""The type of a stream by the key that only it has; without any of these keys it holds particles."""


def kind_of_stream(options: Any) -> str:
    return key_of_kind(options, KINDS, "particles")


AnyStream = Annotated[
    Annotated[ParticleStream, Tag("particles")]
    | Annotated[JetStream, Tag("quantities")]
    | Annotated[EventStream, Tag("numbers")]
    | Annotated[TargetStream, Tag("asks")]
    | Annotated[LabelStream, Tag("label")],
    Discriminator(kind_of_stream),
]
