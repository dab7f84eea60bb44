"""What the answer to one token of one sample comes from, in any domain: attention, roll-out and sensitivity for each visible token.

Axes: B sample (1), N visible token, P value in a token, W width, L layer, H head.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr
from jaxtyping import Float
from torch import Tensor

from statecast.axes import column_names
from statecast.explain.attention import CHUNK, decoder_rows, encoder_rows, nearest_shown, rollout, trace
from statecast.explain.sensitivity import Members, as_batch, check_which, chosen, gradients, leaf
from statecast.models import Prediction, StateModel
from statecast.outputs import new_output
from statecast.streams import Question, Tokens, Window
from statecast.trained import ModelError, TrainedModel, load

LAYOUTS_TRIED = 100  # random ones of what is visible, until one asks for the token


class TokenError(ValueError):
    """A sample or a token that is not there, or that the task does not ask."""


def explain_token(
    run: str | Path | TrainedModel,
    data: str | None = None,
    period: tuple[str, str] | None = None,
    out: str | Path | None = None,
    *,
    sample: int = 0,
    token: str,
    members: Members = "mean",
    chunk: int = CHUNK,
    overwrite: bool = False,
) -> xr.Dataset:
    """What the answer to one token comes from. Written to the directory `out` as `explain.nc` if that is given.

    data, period  the record and the part of it, in the words of the domain; None: the validation split of the model's recipe
    sample        number of the sample in that split
    token         STREAM:NUMBER of the asked token in its sample; of a stream of one token its name alone
    members       for values: the mean of the head's members, or one by its number

    Returns for each visible stream, on (STREAM_token):

    STREAM_decoder_attention  (decoder_layer, head, STREAM_token)  what the asked token takes of each visible one
    STREAM_encoder_attention  (encoder_layer, head, STREAM_token)  the same of the visible token that lies nearest to the asked one
    STREAM_rollout            (STREAM_token)           attention roll-out, see `attention.rollout`
    STREAM_saliency           (STREAM_token)           |∂y / ∂h|, y the answer and h the token as it enters the encoder
    STREAM_sensitivity        (STREAM_token, value)    ∂y / ∂x of the token's values, in normalised units, if it has any

    where y is the mean of the token's values or, of a stream of codes, the log probability of the most probable one. Raises TokenError for
    a sample or token that is not there or is not asked, ModelError if there is no split to take it from.
    """
    trained = load(run)
    check_which(members, trained.model)
    label, window = _sample(trained, data, period, sample)
    question = as_batch(question_about(trained, window, *_parsed(token, window)), trained.model)
    question = replace(question, context=trained.model.completed(question.context))
    traced, nearest = trace(trained.model, question), nearest_shown(trained.model, question)
    weights = {
        "decoder_attention": (("decoder_layer", "head"), decoder_rows(traced)),
        "rollout": ((), rollout(traced, chunk)),
    }
    if traced.encoder:  # not of a Hugging Face encoder
        weights["encoder_attention"] = (("encoder_layer", "head"), encoder_rows(traced, nearest))
    parts = [_of_streams(question, name, dims, values) for name, (dims, values) in weights.items()]
    parts.append(_gradients(trained.model, question, members))
    explained = _merged(parts).assign_attrs(title=f"What the answer to {token} of {label} comes from")
    if out is not None:
        with new_output(out, overwrite=overwrite) as directory:
            directory.mkdir()
            explained.to_netcdf(directory / "explain.nc")
    return explained


def _sample(trained: TrainedModel, data: str | None, period: tuple[str, str] | None, sample: int) -> tuple[Any, Window]:
    """What a sample is called, and its tokens."""
    source = trained.domain.open(trained.domain.with_data(trained.recipe, data, period), "validate", trained.codecs)
    if source is None:
        raise ModelError("the recipe has no validation split, and no period is given. Name a period.")
    cases = source.cases()
    if not 0 <= sample < len(cases):
        raise TokenError(f"sample {sample}: the split has samples 0 to {len(cases) - 1}. Name one of them.")
    return cases.labels[sample], cases[sample]


def _parsed(token: str, window: Window) -> tuple[str, int]:
    """Stream and number of a token, from STREAM:NUMBER or the name of a stream of one token."""
    name, _, number = token.partition(":")
    if name not in window:
        raise TokenError(f"token {token}: there is no stream {name}. Streams: {', '.join(window)}. Name one of them.")
    count = len(window[name])
    if not number and count == 1:
        return name, 0
    if not number.isdecimal() or int(number) >= count:
        raise TokenError(f"token {token}: expected {name}:NUMBER with a number of 0 to {count - 1}.")
    return name, int(number)


def question_about(trained: TrainedModel, window: Window, name: str, number: int) -> Question:
    """The question of the model's task about one token. Raises TokenError if the task never asks for it."""
    for seed in range(LAYOUTS_TRIED):
        question = trained.recipe.task.complete(window, seed)
        asked = question.queries.get(name)
        if asked is not None and asked.index is not None:
            here = (asked.index == number).nonzero()[:, 0]
            if len(here):
                return replace(question, queries={name: asked[here[:1]]})
    kind = trained.recipe.task.kind
    raise TokenError(
        f"token {name}:{number}: the task '{kind}' shows it in each of {LAYOUTS_TRIED} random layouts. Name another one."
    )


def _of_streams(question: Question, name: str, dims: tuple[str, ...], weights: Float[Tensor, "*B N"]) -> xr.Dataset:
    """Weights of the visible tokens of all streams as variables STREAM_`name`."""
    sizes = [tokens.values.shape[1] for tokens in question.context.values()]
    parts = weights.double().cpu().split(sizes, dim=-1)
    variables = {}
    for (stream, tokens), part in zip(question.context.items(), parts, strict=True):
        variables[f"{stream}_{name}"] = xr.DataArray(
            part.numpy(), _coordinates(stream, tokens), (*dims, f"{stream}_token"), attrs={"units": "1"}
        )
    return xr.Dataset(variables)


def _coordinates(stream: str, tokens: Tokens) -> dict[str, Any]:
    """The number of each token in its window, and where it is."""
    dim = f"{stream}_token"
    assert tokens.index is not None
    coords: dict[str, Any] = {dim: (dim, tokens.index[0].cpu().numpy())}
    for column in column_names(tokens.spec.axes):
        coords[f"{stream}_{column}"] = (dim, tokens.coordinate(column)[0].cpu().numpy())
    return coords


def _gradients(model: StateModel, question: Question, members: Members) -> xr.Dataset:
    """Saliency of each visible token and sensitivity to its values."""
    context = {name: tokens.replace(leaf(tokens.values)) for name, tokens in question.context.items()}
    entered: list[Tensor] = []
    first = model.encoder[0] if len(model.encoder) else model.encoder_norm
    hook = first.register_forward_pre_hook(lambda block, inputs: entered.append(inputs[0]))
    try:
        (said,) = model.answer(replace(question, context=context)).values()
    finally:
        hook.remove()
    of_tokens, *of_values = gradients(
        _scalar(said, members), [*entered, *(tokens.values for tokens in context.values())]
    )
    found = [_of_streams(question, "saliency", (), of_tokens[0].norm(dim=-1))]
    for (name, tokens), gradient in zip(context.items(), of_values, strict=True):
        if gradient.shape[-1]:
            values = gradient[0].double().cpu().numpy()
            array = xr.DataArray(values, _coordinates(name, tokens), (f"{name}_token", f"{name}_value"))
            found.append(array.to_dataset(name=f"{name}_sensitivity"))
    return _merged(found)


def _merged(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    return xr.merge(parts, compat="no_conflicts", join="exact")


def _scalar(said: Prediction, members: Members) -> Float[Tensor, ""]:
    if said.members is not None:
        return chosen(said.members, members)[0, 0].mean()
    assert said.logits is not None
    logits = said.logits[0, 0]
    return logits.log_softmax(dim=-1).max() if len(logits) > 1 else logits[0]
