"""A model's answers to a question about one window, on its grid: from one token lattice, or blended from several.

Axes: E member, T time, V channel, H row, W column of a window, I, J of the whole grid, N token, P value in a token.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from statecast.answer import answer
from statecast.fields.inference.edges import mended, on_grid
from statecast.fields.inference.lattices import on_lattices
from statecast.fields.inference.tiles import Tile, blend
from statecast.fields.tokenizers import Located, read_window
from statecast.streams import Question, Tokens, Window
from statecast.trained import TrainedModel

Streams = Mapping[str, Located]


def answered(
    trained: TrainedModel, streams: Streams, window: Window, question: Question
) -> dict[str, Float[np.ndarray, "E T V H W"]]:
    """Anomalies of the head members of each asked stream, 0 where it was not asked.

    On a further lattice, the same points are visible and asked: a token may then be visible in part and asked in part.
    """
    tiles = on_lattices(trained, [{name: stream.place for name, stream in streams.items()}])
    if len(tiles) == 1:
        return _anomalies(trained, streams, window, question, answer(trained, question))
    parts: dict[str, list[tuple[Tile, np.ndarray]]] = {name: [] for name in question.queries}
    for placed in tiles:
        moved = {name: _moved(stream, placed[name]) for name, stream in streams.items()}
        tokens = read_window(moved, hide_calendar=trained.recipe.window.hide_calendar)
        about_the_same = _about_the_same(question, streams, window, moved, tokens)
        if not (about_the_same.context and about_the_same.queries):
            continue  # all that is shown, or asked, lies at the ends that the lattice doesn't reach
        heads = {name: values.sort(dim=0).values for name, values in answer(trained, about_the_same).items()}
        for name, anomalies in _anomalies(trained, moved, tokens, about_the_same, heads).items():
            parts[name].append((placed[name], anomalies))
    return {name: streams[name].cut(blend(of, streams[name].record.grid.shape)) for name, of in parts.items()}


def asked_points(stream: Located, window: Tokens, queries: Tokens) -> Bool[np.ndarray, "T V H W"]:
    """Where the asked tokens of a stream lie."""
    ones = torch.ones(1, *queries.values.shape)
    return on_grid(stream, window, queries, ones)[0] > 0


def _anomalies(
    trained: TrainedModel,
    streams: Streams,
    window: Window,
    question: Question,
    heads: Mapping[str, Float[torch.Tensor, "E N P"]],
) -> dict[str, Float[np.ndarray, "E T V H W"]]:
    found = {}
    for name, values in heads.items():
        answered = on_grid(streams[name], window[name], question.queries[name], values, elsewhere=np.nan)
        answered = mended(trained, name, streams[name], window, question, answered)
        found[name] = np.nan_to_num(answered)
    return found


def _moved(stream: Located, tile: Tile) -> Located:
    return replace(stream, place=tile.place(stream.place.start, stream.place.steps))


def _about_the_same(question: Question, streams: Streams, window: Window, moved: Streams, tokens: Window) -> Question:
    """The question about the same points in the tokens of another lattice."""
    context: Window = {}
    queries: Window = {}
    for name, of_lattice in tokens.items():
        cut = lambda points, name=name: _cut(points, streams[name], moved[name])  # noqa: E731
        shown, asked = question.context.get(name), question.queries.get(name)
        seen = torch.zeros_like(of_lattice.observed)
        if shown is not None:
            seen = cut(on_grid(streams[name], window[name], shown, shown.observed[None].float())[0] > 0)
            has_shown = cut(asked_points(streams[name], window[name], shown)).any(dim=-1)
            known = seen & of_lattice.observed
            in_part = replace(of_lattice, values=of_lattice.values * known, observed=known)
            if has_shown.any():
                context[name] = in_part[has_shown.nonzero()[:, 0]]
        if asked is not None:
            hidden = cut(asked_points(streams[name], window[name], asked)) & ~seen
            in_part = replace(of_lattice, observed=of_lattice.observed & hidden)
            if hidden.any():
                queries[name] = in_part[hidden.any(dim=-1).nonzero()[:, 0]]
    return replace(question, context=context, queries=queries)


def _cut(points: Bool[np.ndarray, "T V H W"], stream: Located, moved: Located) -> Bool[torch.Tensor, "N P"]:
    """Points of a window as values of the tokens of another window on the same grid."""
    whole = np.zeros((*points.shape[:2], *stream.record.grid.shape), bool)
    whole[..., stream.place.rows, stream.place.columns] = points
    return moved.tokenizer.cut(moved.cut(whole))
