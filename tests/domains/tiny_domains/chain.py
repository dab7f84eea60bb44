"""A sequence: states of a Markov chain; the label says which of two chains made it."""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Discriminator, Field, Tag

from statecast.axes import Axis
from statecast.labels import LabelCodec
from statecast.streams import StreamOptions, Tokens, TokenSpec
from tiny_domains.common import FileDomain, FileRecipe, Label, fit_label

STATES = ("a", "b", "c", "d")
SPEC = TokenSpec(vocabulary=len(STATES), axes=(Axis("rank", "index"),), order="rank")
CHAINS = np.array(
    [
        [[0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], [0.1, 0.1, 0.1, 0.7], [0.7, 0.1, 0.1, 0.1]],
        [[0.1, 0.1, 0.1, 0.7], [0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]],
    ]
)
"""Probability of each next state (last axis) from each state; the second runs backwards."""


class States(StreamOptions):
    states: Literal[True] = True


class StatesCodec:
    spec, channels, categories = SPEC, (), STATES

    def __init__(self, stream: States) -> None:
        self.stream = stream

    def save(self, directory, name) -> None:
        pass

    def calibrate(self, anchor) -> None:
        assert anchor is None


def which(value: Any) -> str:
    return "label" if (value.get("label") if isinstance(value, dict) else isinstance(value, Label)) else "states"


Stream = Annotated[Annotated[States, Tag("states")] | Annotated[Label, Tag("label")], Discriminator(which)]


class ChainRecipe(FileRecipe):
    streams: dict[str, Stream] = Field(min_length=1)


def write(file, samples: int = 400, length: int = 16, seed: int = 0, chains: int = 2) -> None:
    random = np.random.default_rng(seed)
    label = random.integers(chains, size=samples)
    states = np.zeros((samples, length), np.int64)
    states[:, 0] = random.integers(len(STATES), size=samples)
    for step in range(1, length):
        cumulative = CHAINS[label, states[:, step - 1]].cumsum(axis=-1)
        states[:, step] = (random.uniform(size=(samples, 1)) > cumulative).sum(axis=-1)
    np.savez(file, states=states, label=label)


def tokens(name, codec, arrays, number, sample) -> Tokens:
    if isinstance(codec, LabelCodec):
        return codec.tokens(str(arrays["label"][number]))
    states = torch.from_numpy(arrays["states"][number])
    empty = torch.zeros(len(states), 0)
    ranks = torch.arange(len(states), dtype=torch.float32)[:, None]
    return Tokens(empty, ranks, empty.bool(), SPEC, codes=states).numbered()


def fit(stream, arrays, split):
    return fit_label(stream, arrays, split) if isinstance(stream, Label) else StatesCodec(stream)


def load(options, directory, name):
    return LabelCodec.load(Label(**options), directory, name) if "label" in options else StatesCodec(States(**options))


DOMAIN = FileDomain("chain", ChainRecipe, fit, load, tokens)
