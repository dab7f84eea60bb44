"""An encoder of Hugging Face inside the model: it reads the visible tokens of a stream and gives each its features.

Axes: B sample, N visible token, L place in the sequence or image, R row and K column of patches, H feature of the encoder, W width.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from statecast.axes import Axis
from statecast.models.hugging_face import EncoderError, EncoderFiles
from statecast.models.lattice import Lattice, is_square, lattice_axis, tells_only_sizes, with_free_cells
from statecast.streams import UNKNOWN, Tokens, TokenSpec, Window

WEIGHTS = "model.safetensors"


class PretrainedEncoder(nn.Module):
    """Reads codes along an `index` axis as a sequence, or values on a `plane` axis as an image, each stream by itself.

        h = project(encoder(x)),   x: the visible tokens in their places, mask tokens (in an image, 0) between them

    Hidden places between visible ones become visible with what the encoder makes of its mask token there. What is asked plays no part. The
    encoder's weights change in training as any others do; its dropout is off and its running means are fixed, so that a training is
    resumable to the bit.
    """

    def __init__(self, files: EncoderFiles, specs: Mapping[str, TokenSpec], streams: Sequence[str], width: int) -> None:
        """`streams`: those that it reads; none: all that fit. Raises EncoderError if there are none, or if one does not fit."""
        super().__init__()
        self.files = files
        self.model = files.blank_model().eval()
        self.is_of_images = self.model.main_input_name == "pixel_values"
        self.kind, self.what = ("plane", "values") if self.is_of_images else ("index", "codes")
        fitting = [name for name, spec in specs.items() if self._misfit(spec, is_whole=True) is None]
        self.streams = tuple(streams or fitting)
        self._require_fit(specs)
        of_maps: Sequence[int] = getattr(self.model, "channels", None) or (files.config.hidden_size,)
        features = sum(of_maps)
        self.project = nn.Linear(features, width)
        if features == width:
            nn.init.eye_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        super().train(mode)
        self.model.eval()
        return self

    @property
    def is_causal(self) -> bool:
        """Whether a token sees only those before it."""
        return any(getattr(module, "is_causal", False) for module in self.model.modules())

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks of the encoder, the first one first: its largest list of modules."""
        lists = [module for module in self.model.modules() if isinstance(module, nn.ModuleList)]
        return list(max(lists, key=lambda each: sum(p.numel() for p in each.parameters()), default=[]))

    def load(self) -> None:
        """Read the weights that the encoder comes with. Raises EncoderError if they are not there, or not safe to read."""
        self.model.load_state_dict(self.files.trained_model().state_dict())

    def save(self, directory: Path) -> None:
        """Write the encoder as it is now into a new directory, as transformers reads it."""
        directory.mkdir()
        self.files.config.architectures = [type(self.model).__name__]
        self.files.save(directory)
        weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})

    def completed(self, window: Window) -> Window:
        """The window with the hidden places of each stream that the encoder reads, as tokens of which nothing is known."""
        return {name: self._with_hidden(tokens) if name in self.streams else tokens for name, tokens in window.items()}

    def forward(self, tokens: Tokens) -> Float[Tensor, "B N W"]:
        """Features of the tokens of one stream, as `completed` returns them."""
        lattice = self._lattice(tokens)
        features = self._of_image(tokens, lattice) if self.is_of_images else self._of_sequence(tokens, lattice)
        return self.project(lattice.gather(features))

    def _lattice(self, tokens: Tokens) -> Lattice:
        axis = self._axis(tokens.spec)
        if self.is_of_images and axis.name in tokens.partial:
            raise EncoderError(
                f"encoder {self.files.name}: reads images, and the task hides where patches are. Choose another task."
            )
        return Lattice.of(tokens, axis)

    def _axis(self, spec: TokenSpec) -> Axis:
        axis = lattice_axis(spec, self.kind)
        assert axis is not None, "_require_fit has passed a stream without an axis"
        return axis

    def _with_hidden(self, tokens: Tokens) -> Tokens:
        completed = with_free_cells(tokens, self._axis(tokens.spec), self._lattice(tokens))
        if self.is_of_images or self.files.mask is not None or tells_only_sizes(tokens.coords):
            return completed
        assert completed.codes is not None
        is_unknown = completed.codes == UNKNOWN
        if bool((is_unknown if completed.present is None else is_unknown & completed.present).any()):
            raise EncoderError(
                f"encoder {self.files.name}: has no mask token for the hidden tokens. Choose a task that hides none, such as next, "
                "or another encoder."
            )
        return completed

    def _of_sequence(self, tokens: Tokens, lattice: Lattice) -> Float[Tensor, "B L H"]:
        assert tokens.codes is not None
        if lattice.columns > (longest := self.files.longest):
            raise EncoderError(
                f"encoder {self.files.name}: reads up to {longest:,} tokens, got a sequence of {lattice.columns:,}. Choose shorter windows."
            )
        pad = self.files.pad or 0
        mask = pad if self.files.mask is None else self.files.mask
        ids = lattice.scatter(torch.where(tokens.codes == UNKNOWN, mask, tokens.codes), pad)
        if tokens.present is None:
            return self.model(input_ids=ids).last_hidden_state
        is_there = lattice.scatter(tokens.present.long(), 0)
        return self.model(input_ids=ids, attention_mask=is_there).last_hidden_state

    def _of_image(self, tokens: Tokens, lattice: Lattice) -> Float[Tensor, "B L H"]:
        pixels = self._pixels(tokens, lattice)
        takes = inspect.signature(self.model.forward).parameters
        at_any_size = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
        said = self.model(pixel_values=pixels, **at_any_size)
        maps = said.feature_maps if "feature_maps" in said else [self._as_map(said.last_hidden_state, pixels)]
        size = (lattice.rows, lattice.columns)
        resized = [functional.interpolate(each, size, mode="bilinear", antialias=True) for each in maps]
        return torch.cat(resized, dim=1).flatten(2).mT

    def _pixels(self, tokens: Tokens, lattice: Lattice) -> Float[Tensor, "B C Y X"]:
        """The image that the patches make up, 0 where there is none."""
        channels, _, points = tokens.spec.dimensions
        side = math.isqrt(points)
        patches = lattice.scatter(tokens.values * tokens.observed, 0.0)
        patches = patches.unflatten(2, (channels, side, side)).unflatten(1, (lattice.rows, lattice.columns))
        return patches.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)  # B R K C y x -> B C (R y) (K x)

    def _as_map(self, features: Float[Tensor, "B L H"], pixels: Float[Tensor, "B C Y X"]) -> Float[Tensor, "B H R K"]:
        """Features of a transformer's own patches as an image, without those of its further tokens, which come first."""
        patch = self.files.config.patch_size
        rows, columns = (size // patch for size in pixels.shape[2:])
        return features[:, features.shape[1] - rows * columns :].mT.unflatten(2, (rows, columns))

    def _require_fit(self, specs: Mapping[str, TokenSpec]) -> None:
        reads = f"encoder {self.files.name}: reads {self.what} on one axis of kind {self.kind}"
        if not self.streams:
            why = "; ".join(f"{name} {self._misfit(spec, is_whole=True)}" for name, spec in specs.items())
            raise EncoderError(
                f"{reads}, and no stream fits ({why}). Name the stream in model.encoder_streams, or choose another encoder."
            )
        for name in self.streams:
            if name not in specs:
                raise EncoderError(
                    f"model.encoder_streams: there is no stream {name}. Streams: {', '.join(specs)}. Name one of them."
                )
            if (reason := self._misfit(specs[name], is_whole=False)) is not None:
                raise EncoderError(f"{reads}, but stream {name} {reason}. Choose another stream or encoder.")

    def _misfit(self, spec: TokenSpec, *, is_whole: bool) -> str | None:
        """Why the encoder can't read a stream; None if it can. `is_whole`: the stream must have all of the encoder's categories."""
        if lattice_axis(spec, self.kind) is None:
            return "has no such axis"
        config = self.files.config
        if self.is_of_images:
            return _misfit_of_image(spec, config.num_channels)
        if spec.size or not spec.vocabulary:
            return "has values"
        all_of_it = (config.vocab_size, len(self.files.words))
        if spec.vocabulary > config.vocab_size or (is_whole and spec.vocabulary not in all_of_it):
            return f"has {spec.vocabulary:,} categories, the encoder {config.vocab_size:,}"
        return None


def _misfit_of_image(spec: TokenSpec, channels: int) -> str | None:
    of_token, steps, points = spec.dimensions
    if spec.vocabulary or not spec.size:
        return "has codes"
    if of_token != channels:
        return f"has {of_token} channels, the encoder {channels}"
    if steps > 1 or spec.order is not None:
        return "has frames"
    return None if is_square(points) else "has patches that are not square"
