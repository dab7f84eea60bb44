"""The filter that mends the edges between tokens, fitted to the training period when a training has ended.

Axes: T time, V channel, H row, W column of a window.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from statecast.answer import answer
from statecast.fields.inference.edges import on_grid, visible
from statecast.fields.inference.neighbourhoods import slab_depth
from statecast.fields.source import FieldSource
from statecast.fields.tokenizers import FieldTokenizer, located
from statecast.fields.tokenizers.edges import Moments, fitted
from statecast.trained import TrainedModel

MOST_WINDOWS, LEAST_WINDOWS = 64, 8
SAMPLES_PER_WINDOW = 10  # of the training: asking the windows takes a few per cent of its time
HELD_OUT_EVERY = 4  # windows, by which it is judged whether the filter helps


def with_edges(trained: TrainedModel, source: FieldSource) -> TrainedModel:
    """The model with a filter for each stream that it answers, where that helps; unchanged after a training of a few steps.

    Raises nothing: a model with a flow head, or whose task hides nothing, gets none.
    """
    starts = chosen_starts(trained, source)
    if not (len(starts) and trained.recipe.window.mend_edges and _is_mendable(trained)):
        return trained
    learned: dict[str, Moments] = {}
    held_out: dict[str, Moments] = {}
    trained.to()  # training leaves the model on the CPU
    for number, start in enumerate(starts):
        sums = held_out if number % HELD_OUT_EVERY == 0 else learned
        for name, moments in window_moments(trained, source, int(start)):
            sums[name] = sums[name] + moments if name in sums else moments
    trained.to("cpu")
    codecs = dict(trained.codecs)
    for name in learned.keys() & held_out.keys():
        codecs[name] = replace(codecs[name], edges=fitted(learned[name], held_out[name]))
    return replace(trained, codecs=codecs)


def _is_mendable(trained: TrainedModel) -> bool:
    task = trained.recipe.task
    return trained.model.flow is None and task.asks_content and task.asks_hidden


def chosen_starts(trained: TrainedModel, source: FieldSource) -> np.ndarray:
    """First steps of windows of the training period, evenly over it; none after a training of a few steps."""
    options, starts = trained.recipe.training, source.sampler.starts
    count = min(MOST_WINDOWS, len(starts), options.steps * options.batch_size // SAMPLES_PER_WINDOW)
    return starts[np.linspace(0, len(starts) - 1, count).astype(int)] if count >= LEAST_WINDOWS else starts[:0]


def window_moments(trained: TrainedModel, source: FieldSource, start: int) -> Iterator[tuple[str, Moments]]:
    """Of the answers to what the task asks of one window, for each stream of fields that is asked."""
    task = trained.recipe.task
    places = source.windows.drawn(start, task.window_slabs * slab_depth(trained))
    window = source.read(places[source.windows.drawn_on], places)
    streams = located(source.streams, places)
    question = task.complete(window, seed=start)
    for name, values in answer(trained, question).items():
        if not isinstance(trained.codecs[name], FieldTokenizer):
            continue
        stream, asked = streams[name], question.queries[name]
        shown = visible(stream, window[name], question.context.get(name))
        answered = on_grid(stream, window[name], asked, values.mean(dim=0, keepdim=True), elsewhere=np.nan)[0]
        is_asked = np.isnan(shown) & task.asked_steps(stream.place.steps)[:, None, None, None]
        steps = task.asked_steps(stream.place.steps) if task.asks_ahead else slice(None)
        scale = trained.codecs[name].climatology.anomaly_std[:, None, None]
        yield (
            name,
            Moments.of(
                np.where(is_asked, answered, np.nan)[steps] / scale,
                shown[steps] / scale,
                stream.anomalies[steps] / scale,
                stream.cell_area,
                by_step=task.asks_ahead,
                periodic=stream.grid.is_periodic,
            ),
        )
