"""Representations: the encoder's output for a window, as features for another model.

Axes: S sample, N token, W width.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from statecast.axes import column_names
from statecast.domain import Cases
from statecast.evaluation.progress import progress_bar
from statecast.outputs import new_output, write_dataset
from statecast.streams import Tokens, Window, stack
from statecast.trained import ModelError, TrainedModel, load

Pool = Literal["mean", "none"]


def embed(
    run: str | Path | TrainedModel,
    data: str | None = None,
    period: tuple[str, str] | None = None,
    out: str | Path | None = None,
    *,
    layer: int = -1,
    pool: Pool = "mean",
    streams: Sequence[str] = (),
    overwrite: bool = False,
    progress: bool = False,
) -> xr.Dataset:
    """The encoder's representation of each window of a record, with no token hidden. Written to `out` (NetCDF or Zarr) if given.

    data, period  the record and the part of it to use, as the domain specifies them; None: the validation split of the model's recipe
    layer         block of the encoder after which features are taken: 0 is the embedding, 1 the first block, -1 the last, after its norm
    pool          mean: one vector per stream and window, the mean over its tokens; none: one vector per token
    streams       streams that are visible; none: all except those that the model was fine-tuned to answer

    Returns one variable per stream, on (sample, feature) or (sample, STREAM_token, feature). `sample` holds the label that the domain gives
    to a window, such as its first time. Coordinates of tokens are included if they are the same in all windows. Raises ModelError if the
    model has no such layer or stream, or if the period contains no window.
    """
    trained = load(run)
    chosen = _streams(trained, streams)
    blocks = len(trained.model.encoder)
    if not -blocks - 1 <= layer <= blocks:
        raise ModelError(f"layer is {layer}, expected 0 (the embedding) to {blocks}, or -1 for the last of them.")
    recipe = trained.domain.with_data(trained.recipe, data, period)
    source = trained.domain.open(recipe, "validate", trained.codecs)
    if source is None:
        raise ModelError("the recipe has no validation split, and no period is given. Give a period.")
    cases = source.cases()
    if len(cases) == 0:
        raise ModelError("the period contains no window. Give a longer one.")
    with progress_bar("windows", progress) as report_progress:
        features = _of_cases(trained, cases, chosen, layer % (blocks + 1), pool, report_progress)
    labelled = _labelled(cases, features, pool)
    if out is not None:
        with new_output(out, overwrite=overwrite) as path:
            write_dataset(labelled, path)
    return labelled


def _streams(trained: TrainedModel, streams: Sequence[str]) -> tuple[str, ...]:
    known = tuple(trained.codecs)
    unknown = [name for name in streams if name not in known]
    if unknown:
        raise ModelError(
            f"stream {unknown[0]}: the model has no such stream. Streams: {', '.join(known)}. Name one of them."
        )
    if streams:
        return tuple(streams)
    asked = trained.recipe.task.asked_streams(known)
    visible = tuple(name for name in known if name not in asked)
    return visible or known


def _of_cases(
    trained: TrainedModel,
    cases: Cases,
    streams: tuple[str, ...],
    layer: int,
    pool: Pool,
    report_progress: Callable[[float], None],
) -> dict[str, list[Float[np.ndarray, "*N W"]]]:
    of_streams: dict[str, list[np.ndarray]] = {name: [] for name in streams}
    for number in range(len(cases)):
        whole = cases[number]
        window = {name: whole[name] for name in streams}
        for name, features in encode_window(trained, window, layer).items():
            pooled = features.mean(dim=0) if pool == "mean" else features
            of_streams[name].append(pooled.numpy())
        report_progress((number + 1) / len(cases))
    return of_streams


@torch.inference_mode()
def encode_window(trained: TrainedModel, window: Window, layer: int) -> dict[str, Float[Tensor, "N W"]]:
    """Features of the tokens of one window after so many blocks of the encoder, on the CPU; padding is left out."""
    model = trained.model
    device = next(model.parameters()).device
    batch = {name: tokens.to(device) for name, tokens in stack([window]).items()}
    encoded = model.encode(batch, blocks=None if layer == len(model.encoder) else layer)
    return {name: encoded.tokens[0, span][: len(window[name])].cpu() for name, span in encoded.spans.items()}


def _labelled(cases: Cases, features: dict[str, list[np.ndarray]], pool: Pool) -> xr.Dataset:
    first = cases[0]
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {"sample": ("sample", list(cases.labels), {"long_name": "window"})}
    for name, samples in features.items():
        if pool == "mean":
            dims: tuple[str, ...] = ("sample", "feature")
            values = np.stack(samples)
        else:
            dims = ("sample", f"{name}_token", "feature")
            values = _padded(samples)
            coords |= _token_coordinates(name, first[name]) if _are_alike(cases, name) else {}
        attributes = {"long_name": f"representation of stream {name}", "units": "1"}
        variables[name] = (dims, values, attributes)
    return xr.Dataset(variables, coords, {"title": "Representations by the encoder"})


def _padded(samples: list[np.ndarray]) -> Float[np.ndarray, "S N W"]:
    """Samples of different lengths as one array, padded with NaN."""
    longest = max(len(sample) for sample in samples)
    values = np.full((len(samples), longest, samples[0].shape[-1]), np.nan, np.float32)
    for number, sample in enumerate(samples):
        values[number, : len(sample)] = sample
    return values


def _are_alike(cases: Cases, name: str) -> bool:
    """Whether the tokens of the first and the last window lie at the same places, as those on a grid do."""
    first, last = (cases[number][name] for number in (0, len(cases) - 1))
    if len(first) != len(last):
        return False
    fixed = [axis.name for axis in first.spec.axes if axis.kind != "time"]
    return all(torch.equal(first.along(axis), last.along(axis)) for axis in fixed)


def _token_coordinates(name: str, tokens: Tokens) -> dict[str, Any]:
    """The coordinates of the tokens that are the same in all windows."""
    fixed = [axis for axis in tokens.spec.axes if axis.kind != "time"]
    columns = column_names(fixed)
    return {f"{name}_{column}": (f"{name}_token", tokens.coordinate(column).numpy()) for column in columns}
