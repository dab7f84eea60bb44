"""One explanation: attention, roll-out, sensitivity and, if asked, a counterfactual of the answer at one point. Axes: E member, T V H W."""

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
    slope,
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
    """What the answer at one point comes from.

    data, at, query, lead_time_h  see `ask_point`
    members                 the answer whose sensitivity is meant: the mean of the ensemble, or one member by its number
    season, hour_utc        MONTH-DAY and hour of the day that everything is moved to, for a counterfactual: see `counterfactual`
    chunk                   tokens whose attention is held at a time: more is faster and takes more memory

    Returns variables, each described by its attributes:

    STREAM_decoder_attention  (decoder_layer, head, tokens)  what the asked token takes from each shown one: probabilities over all streams
    STREAM_encoder_attention  (encoder_layer, head, tokens)  the same of the shown token that lies nearest to the asked one
    STREAM_rollout            (tokens)                       attention roll-out, see `attention.rollout`
    sensitivity               (time, channel, lat, lon)      gradient of the answer, see `labelled.sensitivity_arrays`; if anything on the
                                                             answer's grid is shown
    STREAM_sensitivity        (time, STREAM_channel, STREAM_grid_lat, STREAM_grid_lon)   the same for a stream on another grid
    answer                    (number)                       members at the point, in the units of the store
    VARIABLE_anomaly          ([level,] lat, lon)            with season or hour: the answer's departure from climatology, at the valid time
    VARIABLE_difference       ([level,] lat, lon)            with season or hour: by how much it differs under the other α

    Raises what `ask_point` raises, ModelError for a member that the model has not, QueryError for a day or an hour that isn't.
    """
    check_which(members, trained.model)
    if chunk < 1:
        raise QueryError(f"chunk is {chunk}, expected at least 1 token.")
    asked = ask_point(trained, data, at, query, lead_time_h)
    changes = another_alpha(asked.at, asked.records[asked.stream].dataset.indexes["time"], season, hour_utc)
    question, value = as_batch(asked.question, trained.model), value_in_token(asked)
    values = answer(trained, asked.question)[asked.stream][:, 0, value]
    meant = float(values.mean() if members == "mean" else values[members])
    found = _through_guess(trained, asked, sensitivity(trained.model, question, value, members))
    parts = [
        *_attention(trained, asked, question, chunk),
        sensitivity_arrays(asked, trained.codecs, found, slope(asked, trained.codecs[asked.stream], meant)),
        _answer(trained, asked, values).to_dataset(name="answer"),
    ]
    if changes:
        parts.append(_counterfactual(trained, asked, changes, members))
    merged = xr.merge(parts).assign_coords(point_coordinates(asked))
    lat, lon = float(merged.query_lat), float(merged.query_lon)
    explained = with_attributes(
        merged, f"What the answer for {asked.channel} at {lat:g}, {lon:g} on {asked.valid} comes from"
    )
    other = {k: v for k, v in (("season", season), ("hour_utc", hour_utc)) if v is not None}
    return explained.assign_attrs(query=str(asked.channel), members=str(members), **other)


def _through_guess(
    trained: TrainedModel, asked: PointQuestion, found: Sensitivity
) -> dict[str, Float[np.ndarray, "T V H W"]]:
    """Gradients as fields, those of the first guess carried back to the streams that it comes from."""
    fields = gradient_fields(asked, found.shown)
    if found.guess is None:
        return fields
    stream, tokenizer = asked.stream, trained.codecs[asked.stream]
    shape = asked.shape(stream)
    (token,) = numbers(asked.question.queries[stream]).tolist()
    index = margin_index(shape, tokenizer.stream.patch, tokenizer.groups, token, periodic=asked.grid.is_periodic)
    ordered = np.zeros(shape)  # by channels as tokens have them
    np.add.at(ordered.reshape(-1), index, found.guess[0, 0].cpu().numpy())
    of_guess = ordered[:, np.argsort(tokenizer.channel_order())]
    carried = guess_gradient(stream, trained.codecs, asked.records, asked.places, of_guess)
    return {name: field + carried.get(name, 0.0) for name, field in fields.items()}


def _attention(trained: TrainedModel, asked: PointQuestion, question: Question, chunk: int) -> list[xr.Dataset]:
    traced, nearest = trace(trained.model, question), nearest_shown(trained.model, question)
    heads = ("head",)
    described = (
        ("decoder_attention", decoder_rows(traced), ("decoder_layer", *heads), "attention of the asked token"),
        (
            "encoder_attention",
            encoder_rows(traced, nearest),
            ("encoder_layer", *heads),
            "attention of the shown token nearest to the asked one",
        ),
        ("rollout", rollout(traced, chunk), (), "attention roll-out of the asked token"),
    )
    return [
        on_token_grids(asked, trained.codecs, name, weights, dims, long_name)
        for name, weights, dims, long_name in described
    ]


def _answer(trained: TrainedModel, asked: PointQuestion, members: Float[torch.Tensor, " E"]) -> xr.DataArray:
    """Members at the point, in the units of the store: none of what was never negative is."""
    fields = point_fields(asked, trained.codecs[asked.stream], members.numpy())
    attributes = {"units": asked.units, "long_name": f"{asked.channel} at the point"}
    return xr.DataArray(fields, {"number": np.arange(len(fields))}, ("number",), attrs=attributes)


def _counterfactual(
    trained: TrainedModel, asked: PointQuestion, changes: Mapping[str, float], members: Members
) -> xr.Dataset:
    answers, others = (_whole(trained, question, members) for question in (asked.whole, under(asked.whole, changes)))
    differences = {name: others[name] - answers[name] for name in answers}
    about = ("departure of the answer from climatology", "by how much the answer differs under the other α")
    return xr.merge(
        [
            anomaly_maps(asked, trained.codecs, answers, "anomaly", about[0]),
            anomaly_maps(asked, trained.codecs, differences, "difference", about[1]),
        ]
    )


def _whole(trained: TrainedModel, question: Question, members: Members) -> dict[str, Float[torch.Tensor, "N P"]]:
    return {n: chosen(v.transpose(0, 1)[None], members)[0] for n, v in answer(trained, question).items()}
