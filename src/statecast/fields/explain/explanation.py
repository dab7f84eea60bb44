"""One explanation of the answer at one point: attention, roll-out, sensitivity and optionally a counterfactual.

Axes: E head member, T time, V channel, H row, W column, N token, P value.
"""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from statecast.answer import answer
from statecast.explain.attention import CHUNK, decoder_rows, encoder_rows, nearest_shown, rollout, trace
from statecast.explain.sensitivity import Members, Sensitivity, as_batch, check_which, chosen, sensitivity
from statecast.fields.explain.counterfactual import another_alpha, under
from statecast.fields.explain.labelled import (
    anomaly_maps,
    gradient_fields,
    on_token_grids,
    point_coordinates,
    point_fields,
    sensitivity_arrays,
    slope_at,
)
from statecast.fields.explain.point import PointQuestion, QueryError, ask_point, numbers, value_in_token
from statecast.fields.inference.forecast import with_attributes
from statecast.fields.sources import Stores
from statecast.fields.tokenizers.first_guess import guess_gradient
from statecast.fields.tokenizers.patches import margin_index
from statecast.streams import Question
from statecast.trained import TrainedModel


def explain(
    trained: TrainedModel,
    data: xr.Dataset | Stores,
    at: str,
    query: tuple[float, float, str],
    *,
    lead_time_h: float | None = None,
    members: Members = "mean",
    season: str | None = None,
    hour_utc: float | None = None,
    chunk: int = CHUNK,
) -> xr.Dataset:
    """Explain the answer at one point by the visible values.

    data, at, query, lead_time_h  see `ask_point`
    members                 the answer whose sensitivity is computed: the mean of the head members, or one of them by its number
    season, hour_utc        MONTH-DAY and hour of the day of a counterfactual, to which all tokens are moved: see `counterfactual`
    chunk                   tokens whose attention is held at a time: more is faster and takes more memory

    Returns variables, each described by its attributes:

    STREAM_decoder_attention  (decoder_layer, head, tokens)  attention of the asked token to each visible one, over all streams
    STREAM_encoder_attention  (encoder_layer, head, tokens)  the same for the visible token that lies nearest to the asked one
    STREAM_rollout            (tokens)                       attention roll-out, see `attention.rollout`
    sensitivity               (time, channel, lat, lon)      gradient of the answer, see `labelled.sensitivity_arrays`; if a stream on the
                                                             answer's grid is visible
    STREAM_sensitivity        (time, STREAM_channel, STREAM_grid_lat, STREAM_grid_lon)   the same for a stream on another grid
    answer                    (number)                       head members at the point, in the units of the store
    VARIABLE_anomaly          ([level,] lat, lon)            with season or hour: the anomaly of the answer, at the valid time
    VARIABLE_difference       ([level,] lat, lon)            with season or hour: its difference under the other α

    Raises the errors of `ask_point`, ModelError for a head member that the model doesn't have, QueryError for a day or an hour that doesn't
    exist.
    """
    check_which(members, trained.model)
    if chunk < 1:
        raise QueryError(f"chunk is {chunk}, expected at least 1 token.")
    asked = ask_point(trained, data, at, query, lead_time_h)
    changes = another_alpha(asked.at, asked.located.record.dataset.indexes["time"], season, hour_utc)
    question, value = as_batch(asked.question, trained.model), value_in_token(asked)
    values = answer(trained, asked.question)[asked.stream][:, 0, value]
    explained_value = float(values.mean() if members == "mean" else values[members])
    gradients = _through_guess(asked, sensitivity(trained.model, question, value, members))
    parts = [
        *_attention(trained, asked, question, chunk),
        sensitivity_arrays(asked, gradients, slope_at(asked, explained_value)),
        _answer(asked, values).to_dataset(name="answer"),
    ]
    if changes:
        parts.append(_counterfactual(trained, asked, changes, members))
    merged = xr.merge(parts).assign_coords(point_coordinates(asked))
    lat, lon = float(merged.query_lat), float(merged.query_lon)
    title = f"Explanation of the answer for {asked.channel} at {lat:g}, {lon:g} on {asked.valid}"
    alpha = {"season": season, "hour_utc": hour_utc}
    changed = {name: value for name, value in alpha.items() if value is not None}
    return with_attributes(merged, title).assign_attrs(query=str(asked.channel), members=str(members), **changed)


def _through_guess(asked: PointQuestion, gradients: Sensitivity) -> dict[str, Float[np.ndarray, "T V H W"]]:
    """Gradients as fields; that of the first guess is propagated to the streams from which the guess is interpolated."""
    fields = gradient_fields(asked, gradients.shown)
    if gradients.guess is None:
        return fields
    stream, tokenizer = asked.stream, asked.located.tokenizer
    shape = asked.shape(stream)
    (token,) = numbers(asked.question.queries[stream]).tolist()
    index = margin_index(shape, tokenizer.stream.patch, tokenizer.groups, token, periodic=asked.grid.is_periodic)
    ordered = np.zeros(shape)  # with the channels in the order of tokens
    np.add.at(ordered.reshape(-1), index, gradients.guess[0, 0].cpu().numpy())
    of_guess = ordered[:, np.argsort(tokenizer.channel_order())]
    of_sources = guess_gradient(stream, asked.streams, of_guess)
    return {name: field + of_sources.get(name, 0.0) for name, field in fields.items()}


def _attention(trained: TrainedModel, asked: PointQuestion, question: Question, chunk: int) -> list[xr.Dataset]:
    traced, nearest = trace(trained.model, question), nearest_shown(trained.model, question)
    heads = ("head",)
    described = (
        ("decoder_attention", decoder_rows(traced), ("decoder_layer", *heads), "attention of the asked token"),
        (
            "encoder_attention",
            encoder_rows(traced, nearest),
            ("encoder_layer", *heads),
            "attention of the visible token nearest to the asked one",
        ),
        ("rollout", rollout(traced, chunk), (), "attention roll-out of the asked token"),
    )
    return [on_token_grids(asked, name, weights, dims, long_name) for name, weights, dims, long_name in described]


def _answer(asked: PointQuestion, members: Float[torch.Tensor, " E"]) -> xr.DataArray:
    """Head members at the point, in the units of the store; channels that were never negative in training stay non-negative."""
    fields = point_fields(asked, members.numpy())
    attributes = {"units": asked.units, "long_name": f"{asked.channel} at the point"}
    return xr.DataArray(fields, {"number": np.arange(len(fields))}, ("number",), attrs=attributes)


def _counterfactual(
    trained: TrainedModel, asked: PointQuestion, changes: Mapping[str, float], members: Members
) -> xr.Dataset:
    """The anomalies of the answers to all queries, and their differences under the other α."""
    answers = _answers(trained, asked.whole, members)
    others = _answers(trained, under(asked.whole, changes), members)
    differences = {name: others[name] - answers[name] for name in answers}
    anomalies = anomaly_maps(asked, answers, "anomaly", "departure of the answer from climatology")
    changed = anomaly_maps(asked, differences, "difference", "difference of the answer under the other α")
    return xr.merge([anomalies, changed])


def _answers(trained: TrainedModel, question: Question, members: Members) -> dict[str, Float[torch.Tensor, "N P"]]:
    """The mean of the head members, or one of them, for all queries."""
    answers = {}
    for name, of_members in answer(trained, question).items():
        answers[name] = chosen(of_members.transpose(0, 1)[None], members)[0]
    return answers
