"""What a domain gives to the core: fields, jets, sentences. The core knows these protocols and never a domain itself.

A domain is a package that holds one object with the members of `Domain`. Those of statecast are listed here; others announce themselves by
the entry point group `statecast.domains`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel
from torch import nn

from statecast.streams import StreamOptions, TokenSpec, Window

OWN = {"fields": "statecast.fields.domain"}
"""Modules of statecast that hold a domain as `DOMAIN`, by the domain's name."""
GROUP = "statecast.domains"

Split = Literal["train", "validate"]


class DomainError(ValueError):
    """A domain that is not installed."""


class Codec(Protocol):
    """One stream as tokens and back, with the statistics that it learned from the training split.

    channels    names of the continuous values of a token, in order: fine-tuning matches them by name
    categories  names of the codes, in order
    """

    @property
    def stream(self) -> StreamOptions: ...

    @property
    def spec(self) -> TokenSpec: ...

    @property
    def channels(self) -> tuple[str, ...]: ...

    @property
    def categories(self) -> tuple[str, ...]: ...

    def save(self, directory: Path, name: str) -> None:
        """Write what `Domain.load` needs into a directory that several streams share."""
        ...

    def calibrate(self, anchor: nn.Module | None) -> None:
        """Put statistics that are data, not weights, into the anchor of a new model."""
        ...


class Source(Protocol):
    """A split of a record, from which windows are drawn."""

    @property
    def codecs(self) -> Mapping[str, Codec]: ...

    def draw(self, sample: np.random.Generator) -> Window:
        """One sample as tokens of each stream: a pure function of the state of `sample`."""
        ...

    def describe(self, sample: np.random.Generator) -> str:
        """Where the window that `draw` would draw lies, in words."""
        ...

    def cases(self) -> "Cases":
        """The windows of the split in their order: for evaluation and for representations."""
        ...


class Cases(Protocol):
    """The windows of a split by number, each made when it is asked for.

    labels     what each is called: a time, a number
    positions  where each lies, such as hours; neighbouring ones may depend on one another
    """

    @property
    def labels(self) -> Sequence[Any]: ...

    @property
    def positions(self) -> Float[np.ndarray, " S"]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Window: ...


@dataclass(frozen=True)
class Sizes:
    """What a training of a recipe looks like without its data: for costs.

    specs    of each stream
    window   tokens of one sample that hold nothing, at regular places: enough for a task to choose among, so of few values
    assumed  what was assumed of data that is not there
    """

    specs: Mapping[str, TokenSpec]
    window: Window
    assumed: tuple[str, ...] = ()


class Domain(Protocol):
    """A field of science on the core. `verbs`: what it does in its own way with a trained model, by the name of the command."""

    name: str
    Recipe: type[BaseModel]
    recipes: str
    verbs: Mapping[str, Callable[..., Any]]

    def open(self, recipe: Any, split: Split, known: Mapping[str, Codec]) -> Source:
        """The record of a split; a stream that is `known` keeps its codec. Statistics come from the training split alone."""
        ...

    def with_data(self, recipe: Any, data: str | None, period: tuple[str, str] | None) -> Any:
        """The recipe with other data, and with `period` as its validation split; None: those that it has."""
        ...

    def load(self, directory: Path, streams: Mapping[str, Mapping[str, Any]]) -> dict[str, Codec]:
        """The codecs that `Codec.save` wrote, for streams of these options."""
        ...

    def sizes(self, recipe: Any) -> Sizes:
        """The window of a training sample, without values."""
        ...

    def card(self, codecs: Mapping[str, Codec], recipe: Any) -> str:
        """What a model card says of the streams and the data, in Markdown."""
        ...


def domain_names() -> list[str]:
    """The domains that are installed."""
    return sorted({*OWN, *(point.name for point in entry_points(group=GROUP))})


def find_domain(name: str) -> Domain:
    """The domain of a name. Raises DomainError for one that is not installed."""
    if name in OWN:
        return import_module(OWN[name]).DOMAIN
    for point in entry_points(group=GROUP, name=name):
        return point.load()
    raise DomainError(
        f"data.domain: there is no domain {name}. Installed: {', '.join(domain_names())}. Name one of them."
    )
