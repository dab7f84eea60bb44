"""Options of the model: its sizes and its head."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from statecast.axes import Axis
from statecast.models.attention import SMALLEST_GEOMETRY
from statecast.models.flow import FlowHead, Path
from statecast.models.heads import FAIRNESS, DrawnHead, EnsembleHead, Head, PointHead
from statecast.models.hugging_face import PREFIX
from statecast.models.noise_head import NoiseHead, NoisyHead
from statecast.options import Options
from statecast.streams import TokenSpec

OWN = "own"
"""The encoder that statecast builds."""


class ModelOptions(Options):
    """Sizes of the model and the family of its predictive distribution."""

    newer = frozenset(
        {"flow_layers", "flow_path", "flow_skip", "noise_members", "noise_local", "encoder", "encoder_streams"}
    )
    width: int = Field(96, ge=16, le=2**16, description="size of a token inside the model")
    encoder: str = Field(
        OWN,
        max_length=4096,
        description="own; or hf:PATH_OR_ID, a Hugging Face model that reads a stream of codes or of images, with weights in safetensors",
    )
    encoder_streams: tuple[str, ...] = Field(
        (), description="streams that a Hugging Face encoder reads; none: each that has its categories or channels"
    )
    encoder_layers: int = Field(
        2,
        ge=0,
        le=256,
        description="blocks in which visible tokens attend to one another; with a Hugging Face encoder 0 unless it is set",
    )
    decoder_layers: int = Field(
        2, ge=1, le=256, description="blocks in which asked tokens attend to the visible tokens"
    )
    heads: int = Field(4, ge=1, le=2**12, description="attention heads; width / heads must exceed 8")
    mlp_ratio: float = Field(4.0, ge=0.1, le=100, description="hidden size of the perceptrons, divided by the width")
    head: Literal["ensemble", "point", "flow", "noise"] = Field(
        "ensemble",
        description="family of the predictive distribution of continuous values; flow: joint samples of all that is asked; noise: members "
        "along learned smooth random fields",
    )
    members: int = Field(
        16,
        ge=2,
        le=1000,
        description="number of head members, for the ensemble head; of members that are drawn, for the heads flow and noise",
    )
    fairness: float = Field(
        FAIRNESS,
        ge=0,
        le=1,
        description="fairness of the CRPS of the ensemble head: with 0 the members become quantiles, "
        "0.95 is almost fair (AIFS-CRPS), 1 is fair",
    )
    flow_layers: int = Field(
        2, ge=1, le=1000, description="blocks of the flow head, in which asked tokens attend to one another"
    )
    flow_path: Path = Field(
        "rectified", description="path from noise to values: straight, or with the cosine schedule of diffusion models"
    )
    flow_skip: bool = Field(
        False,
        description="add the velocity of a standard normal distribution, so that the flow head learns what differs from it: for values "
        "that are nearly normal given the context",
    )
    noise_members: int = Field(4, ge=2, le=64, description="members of the noise head in training, scored together")
    noise_local: float = Field(
        1.0,
        ge=0,
        le=100,
        description="weight of the CRPS of local means in the loss of the noise head, beside that of points",
    )
    reach_deg: float | None = Field(
        None,
        ge=1e-3,
        le=360,
        description="initial range of attention on the sphere, in degrees; none: the size of a token",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_blocks_after_another_encoder(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and str(values.get("encoder", OWN)) != OWN:
            return {"encoder_layers": 0, **values}
        return values

    @model_validator(mode="after")
    def _the_encoder_is_known(self) -> Self:
        if (self.encoder != OWN and not self.encoder.removeprefix(PREFIX).strip()) or not self.encoder.startswith(
            (OWN, PREFIX)
        ):
            raise ValueError(
                f"encoder {self.encoder}: expected {OWN} or {PREFIX}PATH_OR_ID, such as {PREFIX}models/minilm."
            )
        if self.encoder == OWN and not self.encoder_layers:
            raise ValueError(f"encoder_layers is 0, expected at least 1, except with encoder: {PREFIX}PATH_OR_ID.")
        if self.encoder == OWN and self.encoder_streams:
            raise ValueError(f"encoder_streams: is of encoder: {PREFIX}PATH_OR_ID alone. Remove it.")
        return self

    @property
    def has_own_encoder(self) -> bool:
        return self.encoder == OWN

    @model_validator(mode="after")
    def _heads_hold_the_geometry(self) -> Self:
        if self.width % self.heads or self.width // self.heads <= SMALLEST_GEOMETRY:
            raise ValueError(
                f"width {self.width} with {self.heads} heads: expected a multiple of the number of heads, "
                f"with more than {SMALLEST_GEOMETRY} values per head. Choose another width or number of heads."
            )
        return self

    @property
    def members_in_training(self) -> int:
        """Members that are scored together in a step of training."""
        return {"flow": 1, "noise": self.noise_members}.get(self.head, self.make_head().members)

    def make_head(self) -> Head:
        if self.head == "flow":
            return DrawnHead(self.members)
        if self.head == "noise":
            return NoisyHead(self.members)
        return EnsembleHead(self.members, self.fairness) if self.head == "ensemble" else PointHead()

    def make_flow(self, sizes: Mapping[str, int], axes: Sequence[Axis]) -> FlowHead:
        """The head `flow`, for streams with so many values in a token."""
        return FlowHead(
            sizes,
            axes,
            width=self.width,
            heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            layers=self.flow_layers,
            path=self.flow_path,
            skip=self.flow_skip,
        )

    def make_noise(self, specs: Mapping[str, TokenSpec], axes: Sequence[Axis]) -> NoiseHead:
        """The head `noise`, for streams with values."""
        return NoiseHead({name: spec for name, spec in specs.items() if spec.size}, axes)
