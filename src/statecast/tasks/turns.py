"""Tokens hidden in turn: questions that together ask every token of a window, each given those that are not hidden with it.

Axes: N token.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Int

from statecast.streams import Question, Tokens, TokenSpec, Window
from statecast.tasks.base import slab_of, split

SURFACES = ("sphere", "plane", "circle", "line")  # kinds of axes that say where a token lies
Groups = Int[np.ndarray, " N"]
"""The number of the group of each token; the tokens of a group are hidden together."""


def surface_axes(spec: TokenSpec) -> list[str]:
    """The axes that say where a token lies, but the order axis."""
    return [axis.name for axis in spec.axes if axis.kind in SURFACES and axis.name != spec.order]


def in_turn(window: Window, parts: int, seed: int = 0) -> list[list[Question]]:
    """Partitions of the tokens into at most `parts` parts; for each partition a question about each part, all else visible.

    by slab   tokens at the same position of the order axis are hidden together; the parts are interleaved
    by place  tokens at the same place, at all positions of the order axis, are hidden together; the parts are random

    A fault that lasts betrays itself where the tokens before and after it are hidden too; one that covers an area, where the whole slab is.
    A window that has neither several slabs nor several places is divided at random. Streams of one token are always visible. `seed` draws
    the random parts.
    """
    window = {name: tokens.numbered() for name, tokens in window.items()}
    found = []
    for group in (_by_slab, _by_place):
        groups = {name: group(tokens) for name, tokens in window.items() if len(tokens) > 1}
        several = {name: each for name, each in groups.items() if each.max() > 0}
        if several:
            found.append(_questions(window, several, parts, seed, is_random=group is _by_place))
    if not found:
        single = {name: np.arange(len(tokens)) for name, tokens in window.items() if len(tokens) > 1}
        found.append(_questions(window, single, parts, seed, is_random=True))
    return found


def _by_slab(tokens: Tokens) -> Groups:
    return np.zeros(len(tokens), int) if tokens.spec.order is None else slab_of(tokens)


def _by_place(tokens: Tokens) -> Groups:
    axes = surface_axes(tokens.spec)
    if not axes:
        return np.zeros(len(tokens), int)
    coords = torch.cat([tokens.along(name) for name in axes], dim=-1).numpy()
    return np.unique(coords, axis=0, return_inverse=True)[1].reshape(-1)


def _questions(
    window: Window, groups: Mapping[str, Groups], parts: int, seed: int, *, is_random: bool
) -> list[Question]:
    """A question about each part that is not empty."""
    of_tokens = {name: part_of(each, parts, seed, is_random=is_random)[each] for name, each in groups.items()}
    most = max((int(each.max()) + 1 for each in of_tokens.values()), default=0)
    return [split(window, {name: each == part for name, each in of_tokens.items()}) for part in range(most)]


def part_of(groups: Groups, parts: int, seed: int, *, is_random: bool) -> Groups:
    """The part of each group: 0, 1, ... in turn, in their order or at random."""
    count = int(groups.max()) + 1
    number = np.arange(count) % parts
    return np.random.default_rng(seed).permutation(number) if is_random else number
