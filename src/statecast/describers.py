"""`statecast data describe`: finds the domain whose data are given. The core knows the names of modules, but no domain."""

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

OWN = {
    "text": "statecast.text.sources.describe",
    "stations": "statecast.fields.stations.describe",
    "showers": "statecast.particles.showers.sources.describe",
    "images": "statecast.images.sources.describe",
    "particles": "statecast.particles.sources.describe",
    "fields": "statecast.fields.sources.describe",
}
"""Modules of statecast that are a `Describer`, by what they describe, in the order in which they are asked."""
OTHERWISE = "fields"
"""What describes data that none recognises; its message says what is expected."""
GROUP = "statecast.describers"


class Describer(Protocol):
    """Says what is in the data of one domain. A module or an object with these two functions is one.

    Other packages register theirs under the entry point group `statecast.describers`.
    """

    def recognises(self, data: str) -> bool:
        """Whether these are data of the domain, from a quick look at the first bytes of a file, its ending or the names in it."""
        ...

    def describe(self, data: str) -> Any:
        """The contents, as something that rich prints."""
        ...


def describe_data(data: str) -> Any:
    """What is in `data`, as the first describer that recognises them says; those of other packages are asked first."""
    for describer in _all():
        if describer.recognises(data):
            return describer.describe(data)
    return _own(OTHERWISE).describe(data)


def _all() -> Iterator[Describer]:
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        yield point.load()
    yield from map(_own, OWN)


def _own(name: str) -> Describer:
    return cast(Describer, import_module(OWN[name]))
