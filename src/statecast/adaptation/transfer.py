"""Weights that a model takes over from another: streams are matched by name, what is in their tokens by the names of channels and codes.

Axes: W width, S value or whether it was observed, E member of the head, V channel in a token, P value of a channel, K category, F feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from statecast.axes import feature_size
from statecast.domain import Codec
from statecast.models import StateModel


class AdaptationError(ValueError):
    """A change that the model has no place for, or that needs a package that is missing."""


@dataclass(frozen=True)
class TransferReport:
    """Names of the weights that are new, and of those that hold new channels beside old ones."""

    new: tuple[str, ...]
    mixed: tuple[str, ...]


NOTHING_NEW = TransferReport((), ())

Codecs = Mapping[str, Codec]


def all_but_the_encoder(model: StateModel) -> TransferReport:
    """Of a new model with a Hugging Face encoder, which alone has learned anything."""
    return TransferReport(
        tuple(name for name, _ in model.named_parameters() if not name.startswith("pretrained.model.")), ()
    )


def transfer(base: StateModel, base_codecs: Codecs, model: StateModel, codecs: Codecs) -> TransferReport:
    """Copy what `base` has learned into `model`, whose streams have `codecs`.

    A stream may have other channels or categories than it had, in another order: those of the same name keep their weights. A channel that
    is new in an old token is not seen at first (weights 0), so that what is known is answered as before. So is an axis that is new, in an
    old stream too: a sample whose tokens all have the same coordinate along it is answered as before, because what attention adds for the
    distance is the same for all of them.
    Raises AdaptationError for a stream that the base knows with other tokens.
    """
    old = {name: value.cpu() for name, value in base.state_dict().items()}  # the base may answer on a GPU
    state = model.state_dict()
    merged, new, mixed = dict(state), [], []
    for name, value in state.items():
        stream = _stream_of(name, codecs)
        if name not in old or _is_of_another_head(name, base, model):
            new.append(name)
        elif name == "coordinates.layers.0.weight":
            merged[name], has_new = _by_axis(base, model, old[name], value)
            mixed += [name] if has_new else []
        elif stream is None:
            merged[name] = _same_shape(name, old[name], value)
        else:
            before, now = base_codecs[stream], codecs[stream]
            _require_same_tokens(stream, before, now)
            merged[name], has_new = _by_channel(name, stream, old[name], value, before, now, model)
            mixed += [name] if has_new else []
    model.load_state_dict(merged)
    learned = {name for name, _ in model.named_parameters()}
    return TransferReport(*(tuple(name for name in names if name in learned) for names in (new, mixed)))


def _is_of_another_head(name: str, base: StateModel, model: StateModel) -> bool:
    """Whether these weights make values in a way that the base's do not: quantiles, one value, or the velocity of another path."""
    if name.startswith("heads."):
        return _quantiles(base) != _quantiles(model)
    flows = [(options.flow_path, options.flow_skip) for options in (base.options, model.options)]
    return name.startswith("flow.") and flows[0] != flows[1]


def _quantiles(model: StateModel) -> tuple[str, int]:
    """The kind and number of the maps to values: a noise head has those of an ensemble head, and mixes them."""
    return "ensemble" if model.noise is not None else model.options.head, model.head.members


def _plain(name: str) -> str:
    """The name of weights without that of the flow or noise head that they belong to, in which they lie as the model's own do."""
    return name.removeprefix("flow.").removeprefix("noise.")


def _module_of(name: str) -> str:
    """What the weights are for."""
    return _plain(name).partition(".")[0]


def _stream_of(name: str, codecs: Codecs) -> str | None:
    """The stream of weights whose shape depends on its channels or categories."""
    module, _, rest = _plain(name).partition(".")
    stream = rest.split(".")[0]
    if module not in ("values", "heads", "mixing", "anchors", "codes", "code_heads") or stream not in codecs:
        return None
    return None if (module, rest) == ("values", f"{stream}.bias") else stream


def _by_channel(
    name: str, stream: str, old: Tensor, fresh: Tensor, before: Codec, now: Codec, model: StateModel
) -> tuple[Tensor, bool]:
    """`fresh` with the weights of what `old` has, those that read a new channel 0; and whether there is anything new."""
    module = _module_of(name)
    if module in ("codes", "code_heads"):
        return _by_row(old, fresh, before.categories, now.categories)
    axis = _channel_axis(name, stream, model)
    if axis is None or before.channels == now.channels:
        return _same_shape(name, old, fresh), False
    members = 1 if name.startswith(("flow.", "noise.")) else model.head.members
    source = _split(module, axis, old, len(before.channels), members)
    result = _split(module, axis, fresh.clone(), len(now.channels), members)
    position = 2 if module == "values" else 1 if module == "heads" else axis
    if module == "values" or name.endswith("guess.weight"):
        result.zero_()
    for place, channel in enumerate(now.channels):
        if channel in before.channels:
            result.select(position, place).copy_(source.select(position, before.channels.index(channel)))
    return result.reshape(fresh.shape), bool(set(now.channels) - set(before.channels))


def _channel_axis(name: str, stream: str, model: StateModel) -> int | None:
    """Along which axis of a tensor the channels lie; None if along none."""
    module = _module_of(name)
    if module == "anchors":
        axes: Mapping[str, int] = getattr(model.anchors[stream], "channel_axes")  # noqa: B009
        return axes.get(name.removeprefix(f"anchors.{stream}."))
    return {"values": 1, "heads": 0, "mixing": 0}[module]


def _split(module: str, axis: int, weights: Tensor, channels: int, members: int) -> Tensor:
    """Weights whose channels have an axis of their own."""
    if module == "values":
        return weights.unflatten(axis, (2, channels, -1))  # W S V P
    if module == "heads":
        return weights.unflatten(axis, (members, channels, -1))  # E V P, and W unless it is a bias
    return weights.unflatten(axis, (channels, -1))


def _by_row(old: Tensor, fresh: Tensor, before: Sequence[str], now: Sequence[str]) -> tuple[Tensor, bool]:
    """Rows of categories, and of the unknown one, which is the last."""
    result = fresh.clone()
    for place, category in enumerate(now):
        if category in before:
            result[place] = old[before.index(category)]
    if len(fresh) == len(now) + 1:
        result[-1] = old[-1]
    return result, bool(set(now) - set(before))


def _by_axis(base: StateModel, model: StateModel, old: Tensor, fresh: Tensor) -> tuple[Tensor, bool]:
    """Features of each axis keep their weights; those of a new axis start at 0."""
    theirs = {}
    first = 0
    for axis in base.axes:
        theirs[axis.name] = slice(first, first + feature_size([axis]))
        first += feature_size([axis])
    parts = []
    for axis in model.axes:
        known = old[:, theirs[axis.name]] if axis.name in theirs else None
        parts.append(fresh.new_zeros(len(fresh), feature_size([axis])) if known is None else known)
    return torch.cat(parts, dim=1), len(model.axes) > len(base.axes)


def _same_shape(name: str, old: Tensor, fresh: Tensor) -> Tensor:
    if old.shape != fresh.shape:
        raise AdaptationError(
            f"weights {name} have shape {list(old.shape)} in the model to start from, {list(fresh.shape)} by the recipe. "
            "Leave out the section model: it is inherited. If a stream has axes that the model has no room for, train a new model."
        )
    return old


def _require_same_tokens(stream: str, before: Codec, now: Codec) -> None:
    """Channels may differ and axes be added; steps and points of a token, and its known axes, may not change."""
    old, new = before.spec, now.spec
    if not new.is_like(old):
        raise AdaptationError(
            f"stream {stream}: the model knows it with tokens of {old.dimensions[1]} steps and {old.dimensions[2]} points, the recipe says "
            f"{new.dimensions[1]} and {new.dimensions[2]}, or other axes, rows or levels of a token. "
            "Give a stream with other tokens a name of its own."
        )
