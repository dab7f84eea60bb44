"""The geometry of a calorimeter as the CaloChallenge writes it: layers of voxels in an angle alpha and a radius r.

Axes: V voxel of a shower, in the order layer, alpha, r; L layer, A bin of alpha, R bin of r.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

from statecast.documents import DocumentError, read_text

LARGEST_XML = 2**22  # bytes; the XML of dataset 3 has some ten thousand
MOST_VOXELS = 10**7


class ShowerError(ValueError):
    """A geometry, a file of showers or a request for showers is not as expected."""


@dataclass(frozen=True)
class Layer:
    """One layer; its alphas divide the circle from -pi to pi. A layer with a single radius has no voxels."""

    r_edges_mm: tuple[float, ...]
    alphas: int

    @property
    def rings(self) -> int:
        return len(self.r_edges_mm) - 1

    @property
    def voxels(self) -> int:
        return self.rings * self.alphas


@dataclass(frozen=True)
class Geometry:
    """The layers that one kind of particle meets, in their order."""

    particle: str
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, particle: str, layers: Sequence[tuple[Sequence[float], int]]) -> "Geometry":
        """From the edges and the number of alphas of each layer, as a document holds them."""
        return cls(particle, tuple(Layer(tuple(edges), alphas) for edges, alphas in layers))

    def as_lists(self) -> list[Any]:
        """The layers as `of` takes them."""
        return [[list(layer.r_edges_mm), layer.alphas] for layer in self.layers]

    @property
    def voxels(self) -> int:
        """V, number of voxels of a shower."""
        return sum(layer.voxels for layer in self.layers)

    @cached_property
    def spans(self) -> tuple[slice, ...]:
        """The voxels of each layer."""
        ends = np.cumsum([layer.voxels for layer in self.layers]).tolist()
        return tuple(slice(end - layer.voxels, end) for end, layer in zip(ends, self.layers, strict=True))

    @property
    def shape(self) -> tuple[int, int, int]:
        """L, A, R. Raises ShowerError if layers differ: tokens need a regular grid."""
        first = self.layers[0]
        if any((layer.alphas, layer.rings) != (first.alphas, first.rings) for layer in self.layers):
            raise ShowerError(
                "the layers of the geometry have different numbers of voxels, expected the same alphas and rings in each. "
                "Such files are read, written and described, but no model learns from them yet."
            )
        return len(self.layers), first.alphas, first.rings

    @cached_property
    def centres_mm(self) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, " V"]]:
        """(r cos alpha, r sin alpha) of the middle of each voxel: eta and phi of the CaloChallenge, in mm."""
        x, y = [np.zeros(0)], [np.zeros(0)]
        for layer in self.layers:
            edges = np.array(layer.r_edges_mm)
            radius = (edges[1:] + edges[:-1]) / 2
            alpha = -math.pi + (np.arange(layer.alphas) + 0.5) * (2 * math.pi / layer.alphas)
            x.append(np.outer(np.cos(alpha), radius).ravel())
            y.append(np.outer(np.sin(alpha), radius).ravel())
        return np.concatenate(x), np.concatenate(y)

    def xml(self) -> str:
        """The geometry in the format that `read_geometry` reads."""
        lines = ["<Bins>", f'   <Bin pid="{PARTICLES.get(self.particle, 0)}" name="{self.particle}">']
        for number, layer in enumerate(self.layers):
            edges = ",".join(f"{edge:g}" for edge in layer.r_edges_mm)
            lines.append(f'      <Layer id="{number}" r_edges="{edges}" n_bin_alpha="{layer.alphas}" />')
        return "\n".join([*lines, "   </Bin>", "</Bins>", ""])


PARTICLES = {"electron": 11, "photon": 22, "pion": 211}
"""Numbers of the Particle Data Group."""


def shipped_geometries() -> dict[str, Path]:
    """The geometries that ship with statecast, by name."""
    folder = Path(str(files("statecast.particles.showers.geometries")))
    return {path.stem: path for path in sorted(folder.glob("*.xml"))}


def read_geometry(geometry: str | Path, particle: str | None = None) -> Geometry:
    """The geometry of an XML file of the CaloChallenge, or of the name of one that ships with statecast.

    The file holds `Bins`, in it a `Bin` for each particle, in it a `Layer` for each layer with `id`, `r_edges` in mm, separated by commas,
    and `n_bin_alpha` (Krause et al. 2024, arXiv:2410.21611).

    particle  name of the `Bin`; None: the only one
    Raises ShowerError in one line.
    """
    shipped = shipped_geometries()
    path = shipped.get(str(geometry), Path(geometry))
    if str(geometry) not in shipped and not path.exists():
        raise ShowerError(
            f"geometry {geometry}: is neither an XML file nor a geometry that ships with statecast ({', '.join(shipped)})."
        )
    try:
        root = ElementTree.fromstring(read_text(path, LARGEST_XML))
        return _of_particle(root, particle)
    except DocumentError as error:
        raise ShowerError(f"geometry {geometry}: {error}.") from None
    except ElementTree.ParseError as error:
        raise ShowerError(
            f"geometry {geometry}: is no XML ({error}). Give a file such as binning_dataset_2.xml."
        ) from None
    except ShowerError as error:
        raise ShowerError(f"geometry {geometry}: {error}") from None


def _of_particle(root: ElementTree.Element, particle: str | None) -> Geometry:
    found = {}
    for entry in root.findall("Bin"):
        name = entry.get("name") or entry.get("pid") or ""
        if name in found:
            raise ShowerError(f"has several entries of {name}, expected one. Keep that of the region of your showers.")
        found[name] = entry
    if particle is None and len(found) > 1:
        raise ShowerError(f"has several particles ({', '.join(found)}). Name one of them as data.particle.")
    if not found or (particle is not None and particle not in found):
        raise ShowerError(f"has no particle {particle or ''}, only {', '.join(found) or 'none'}. Name one that it has.")
    name = next(iter(found)) if particle is None else particle
    layers = sorted(
        ((_number(layer, "id"), _layer(layer)) for layer in found[name].findall("Layer")), key=lambda pair: pair[0]
    )
    if [number for number, _ in layers] != list(range(len(layers))) or not layers:
        raise ShowerError(f"the layers of {name} have ids {[n for n, _ in layers]}, expected 0, 1, 2, ... each once.")
    geometry = Geometry(name, tuple(layer for _, layer in layers))
    if not 0 < geometry.voxels <= MOST_VOXELS:
        raise ShowerError(f"{name} has {geometry.voxels} voxels, expected 1 to {MOST_VOXELS:,}.")
    return geometry


def _layer(element: ElementTree.Element) -> Layer:
    text = element.get("r_edges", "")
    try:
        edges = tuple(float(edge) for edge in text.split(","))
    except ValueError:
        raise ShowerError(f"layer {element.get('id')} has r_edges {text[:40]!r}, expected numbers in mm.") from None
    if not edges[0] >= 0 or any(not low < high < math.inf for low, high in pairwise(edges)):
        raise ShowerError(f"layer {element.get('id')}: r_edges do not increase from 0 or more.")
    alphas = _number(element, "n_bin_alpha")
    if alphas < 1:
        raise ShowerError(f"layer {element.get('id')} has {alphas} bins in alpha, expected at least 1.")
    return Layer(edges, alphas)


def _number(element: ElementTree.Element, name: str) -> int:
    text = element.get(name, "")
    if not text.strip().isdecimal():
        raise ShowerError(f"a layer has {name} {text[:40]!r}, expected a whole number.")
    return int(text)
