"""Answers about a window on its grid, corrected by the filter of their stream.

Axes: E head member, T time, V channel, H row, W column, N token, P value in a token.
"""

import numpy as np
import torch
from jaxtyping import Float

from statecast.fields.tokenizers import Located
from statecast.streams import Question, Tokens, Window
from statecast.trained import TrainedModel


def on_grid(
    stream: Located, window: Tokens, some: Tokens, values: Float[torch.Tensor, "E N P"], *, elsewhere: float = 0.0
) -> Float[np.ndarray, "E T V H W"]:
    """Values of some of the tokens of `window` as anomalies on its grid."""
    assert some.index is not None
    filled = torch.full((len(values), *window.values.shape), elsewhere)
    filled[:, some.index] = values
    return stream.tokenizer.to_anomalies(filled, stream.place)


def visible(stream: Located, window: Tokens, shown: Tokens | None) -> Float[np.ndarray, "T V H W"]:
    """The anomalies that a question shows of a stream; NaN elsewhere."""
    if shown is None:
        shape = (stream.place.steps, len(stream.record.channels), *stream.grid.shape)
        return np.full(shape, np.nan, np.float32)
    values = torch.where(shown.observed, shown.values, torch.nan)
    return on_grid(stream, window, shown, values[None], elsewhere=np.nan)[0]


def mended(
    trained: TrainedModel,
    name: str,
    stream: Located,
    window: Window,
    question: Question,
    answered: Float[np.ndarray, "E T V H W"],
) -> Float[np.ndarray, "E T V H W"]:
    """The head members of a stream, NaN where nothing was answered, with the correction of the model's filter; the same without one."""
    edges = trained.codecs[name].edges
    if edges is None:
        return answered
    shown = visible(stream, window[name], question.context.get(name))
    unknown = np.where(np.isfinite(shown), np.nan, answered)  # a token may be visible in part
    corrected = edges.corrected(unknown, shown, periodic=stream.grid.is_periodic, each=trained.model.draws_states)
    return np.where(np.isfinite(shown), answered, corrected)
