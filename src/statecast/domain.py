"""What a domain, such as fields, jets or sentences, provides to the core. The core knows these protocols, but no domain.

A domain is a package with one object that implements `Domain`. The domains of statecast are listed here; other packages register theirs
under the entry point group `statecast.domains`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel
from torch import nn

from statecast.streams import StreamOptions, TokenSpec, Window

OWN = {
    "fields": "statecast.fields.domain",
    "images": "statecast.images.domain",
    "mixed": "statecast.mixed.domain",
    "particles": "statecast.particles.domain",
    "showers": "statecast.particles.showers.domain",
    "text": "statecast.text.domain",
}
"""Modules of statecast that define a domain as `DOMAIN`, by the name of the domain."""
GROUP = "statecast.domains"

Split = Literal["train", "validate"]


class DomainError(ValueError):
    """A domain that is not installed."""


class Codec(Protocol):
    """Converts one stream to tokens and back, with statistics from the training split.

    channels    names of the channels of a token, in order; fine-tuning matches channels by name
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
        """Write what `Domain.load` needs into a directory shared by several streams."""
        ...

    def calibrate(self, anchor: nn.Module | None) -> None:
        """Set those statistics of a new model's anchor that are data, not weights."""
        ...


class Source(Protocol):
    """One split of a record, from which windows are drawn."""

    @property
    def codecs(self) -> Mapping[str, Codec]: ...

    def draw(self, sample: np.random.Generator) -> Window:
        """One sample, as the tokens of each stream: a pure function of the state of `sample`."""
        ...

    def describe(self, sample: np.random.Generator) -> str:
        """Where in the record the window lies that `draw` would return, as text."""
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
    """The sizes of a recipe's training samples, known without its data: for costs.

    specs    of each stream
    window   blank tokens of one sample, at regular places and with few values each: a task needs no more to choose among them
    assumed  assumptions about missing data
    data     GiB of memory and disk of the data side, by what takes them; empty: not known
    """

    specs: Mapping[str, TokenSpec]
    window: Window
    assumed: tuple[str, ...] = ()
    data: Mapping[str, float] = field(default_factory=dict)


class Domain(Protocol):
    """A field of science built on the core. `verbs`: its own implementations of commands on a trained model, by the name of the command."""

    name: str
    Recipe: type[BaseModel]
    recipes: str
    verbs: Mapping[str, Callable[..., Any]]

    def open(self, recipe: Any, split: Split, known: Mapping[str, Codec]) -> Source:
        """One split of the record; a stream in `known` keeps its codec. Statistics come from the training split alone."""
        ...

    def with_data(self, recipe: Any, data: str | None, period: tuple[str, str] | None) -> Any:
        """The recipe with other `data`, and with `period` as its validation split; None leaves each as it is."""
        ...

    def load(self, directory: Path, streams: Mapping[str, Mapping[str, Any]], recipe: Any) -> dict[str, Codec]:
        """The codecs written by `Codec.save`, for streams with these options, of a model with this recipe."""
        ...

    def sizes(self, recipe: Any) -> Sizes:
        """The specs and the window of a training sample, without values."""
        ...

    def card(self, codecs: Mapping[str, Codec], recipe: Any) -> str:
        """The section of a model card on streams and data, in Markdown."""
        ...


def domain_names() -> list[str]:
    """The names of all installed domains."""
    return sorted({*OWN, *(point.name for point in entry_points(group=GROUP))})


def find_domain(name: str) -> Domain:
    """The domain with this name. Raises DomainError if it is not installed."""
    if name in OWN:
        return import_module(OWN[name]).DOMAIN
    for point in entry_points(group=GROUP, name=name):
        return point.load()
    raise DomainError(
        f"data.domain: there is no domain {name}. Installed: {', '.join(domain_names())}. Name one of them."
    )
