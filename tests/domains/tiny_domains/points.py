"""A set: clusters of points on a plane, from 3 to 9 a sample, each with a height and one of three colours; the label says how many clusters."""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Discriminator, Field, Tag

from statecast.axes import Axis
from statecast.labels import LabelCodec
from statecast.streams import StreamOptions, Tokens, TokenSpec
from tiny_domains.common import FileDomain, FileRecipe, Label, fit_label

COLOURS = ("red", "green", "blue")
SPEC = TokenSpec(size=1, vocabulary=len(COLOURS), axes=(Axis("place", "plane", spacing=0.3),), ragged=True)


class Points(StreamOptions):
    points: Literal[True] = True


class PointsCodec:
    spec, channels, categories = SPEC, ("height",), COLOURS

    def __init__(self, stream: Points) -> None:
        self.stream = stream

    def save(self, directory, name) -> None:
        pass

    def calibrate(self, anchor) -> None:
        assert anchor is None


def which(value: Any) -> str:
    return "label" if (value.get("label") if isinstance(value, dict) else isinstance(value, Label)) else "points"


Stream = Annotated[Annotated[Points, Tag("points")] | Annotated[Label, Tag("label")], Discriminator(which)]


class PointsRecipe(FileRecipe):
    streams: dict[str, Stream] = Field(min_length=1)


def write(file, samples: int = 200, seed: int = 0) -> None:
    """Samples with one or two clusters; a point's colour follows its side, its height the distance from the middle."""
    random = np.random.default_rng(seed)
    count, label = random.integers(3, 10, samples), random.integers(1, 3, samples)
    xy = np.zeros((samples, 9, 2), np.float32)
    for i in range(samples):
        centres = random.uniform(-1, 1, (label[i], 2))
        xy[i] = centres[random.integers(label[i], size=9)] + 0.1 * random.standard_normal((9, 2))
    colour = np.where(xy[..., 0] < -0.3, 0, np.where(xy[..., 0] < 0.3, 1, 2))
    height = np.hypot(xy[..., 0], xy[..., 1])
    np.savez(file, count=count, label=label, xy=xy, colour=colour, height=height.astype(np.float32))


def tokens(name, codec, arrays, number, sample) -> Tokens:
    if isinstance(codec, LabelCodec):
        return codec.tokens(str(arrays["label"][number]))
    count = arrays["count"][number]
    values = torch.from_numpy(arrays["height"][number, :count, None])
    coords = torch.from_numpy(arrays["xy"][number, :count])
    codes = torch.from_numpy(arrays["colour"][number, :count])
    return Tokens(values, coords, torch.ones_like(values, dtype=torch.bool), SPEC, codes=codes).numbered()


def fit(stream, arrays, split):
    return fit_label(stream, arrays, split) if isinstance(stream, Label) else PointsCodec(stream)


def load(options, directory, name):
    return LabelCodec.load(Label(**options), directory, name) if "label" in options else PointsCodec(Points(**options))


DOMAIN = FileDomain("points", PointsRecipe, fit, load, tokens)
