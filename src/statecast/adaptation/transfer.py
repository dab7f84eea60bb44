"""Weights that a model takes over from another: streams are matched by name, what is in their tokens by variable and level.

Axes: W width, S value or whether it was observed, E member, V channel in a token, P value of a channel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from statecast.fields.tokenizers import FieldTokenizer
from statecast.models import StateModel
from statecast.trained import ModelError, TrainedModel


@dataclass(frozen=True)
class Transferred:
    """Names of the weights that are new, and of those that hold new channels beside old ones."""

    new: tuple[str, ...]
    mixed: tuple[str, ...]


NOTHING_TAKEN = Transferred((), ())


def transfer(base: TrainedModel, model: StateModel, tokenizers: Mapping[str, FieldTokenizer]) -> Transferred:
    """Copy what `base` has learned into `model`, whose streams have `tokenizers`.

    A stream may have other variables or levels than it had, in another order: those of the same name and pressure keep their weights.
    A channel that is new in an old token is not seen at first (weights 0), so that what is known is answered as
    before, but for the mean pressure of the token. Raises ModelError for a stream that the base knows with another patch.
    """
    old, state = base.model.state_dict(), model.state_dict()
    merged, new, mixed = dict(state), [], []
    for name, value in state.items():
        stream = _stream_of(name, tokenizers)
        if name not in old:
            new.append(name)
        elif stream is None:
            merged[name] = _same_shape(name, old[name], value)
        else:
            before, now = (token_channels(t[stream]) for t in (base.tokenizers, tokenizers))
            _require_same_patch(stream, base.tokenizers[stream], tokenizers[stream])
            merged[name] = _by_channel(name, old[name], value, before, now, model.head.members)
            mixed += [name] if set(now) - set(before) else []
    model.load_state_dict(merged)
    learned = {name for name, _ in model.named_parameters()}
    return Transferred(*(tuple(name for name in names if name in learned) for names in (new, mixed)))


def token_channels(tokenizer: FieldTokenizer) -> tuple[str, ...]:
    """What a token of a stream holds, in its order: `t@500`; without the level where each level has tokens of its own."""
    channels = [tokenizer.climatology.channels[i] for i in tokenizer.channel_order()]
    if tokenizer.groups == 1:
        return tuple(map(str, channels))
    return tuple(channel.variable for channel in channels[: len(channels) // tokenizer.groups])


CHANNEL_AXES = {"values": 2, "heads": 1, "correlation": 0, "guesses": 1, "guess_map": 0}
"""Modules with weights of each channel, and which axis V is, once `_split` has parted the axes."""


def _stream_of(name: str, tokenizers: Mapping[str, FieldTokenizer]) -> str | None:
    """The stream of weights whose shape depends on its channels."""
    module, _, rest = name.partition(".")
    stream = rest.split(".")[0]
    is_bias = name in (f"values.{stream}.bias", f"guesses.{stream}.bias")
    return stream if module in CHANNEL_AXES and stream in tokenizers and not is_bias else None


def _by_channel(
    name: str, old: Tensor, fresh: Tensor, before: Sequence[str], now: Sequence[str], members: int
) -> Tensor:
    """`fresh` with the weights of the channels that `old` has; those that read a new channel are 0."""
    if tuple(before) == tuple(now):
        return _same_shape(name, old, fresh)
    kind = name.split(".")[0]
    source, result = _split(kind, old, len(before), members), _split(kind, fresh.clone(), len(now), members)
    if kind in ("values", "guesses"):
        result.zero_()
    for position, channel in enumerate(now):
        if channel in before:
            result.select(CHANNEL_AXES[kind], position).copy_(source.select(CHANNEL_AXES[kind], before.index(channel)))
    return result.reshape(fresh.shape)


def _split(kind: str, weights: Tensor, channels: int, members: int) -> Tensor:
    if kind == "values":
        return weights.unflatten(1, (2, channels, -1))  # W S V P
    if kind == "guesses":
        return weights.unflatten(1, (channels, -1))  # W V P
    if kind == "heads":
        return weights.unflatten(0, (members, channels, -1))  # E V P, and W unless it is a bias
    return weights  # V


def _same_shape(name: str, old: Tensor, fresh: Tensor) -> Tensor:
    if old.shape != fresh.shape:
        raise ModelError(
            f"weights {name} have shape {list(old.shape)} in the model to start from, {list(fresh.shape)} by the recipe. "
            "Leave out the section model: it is inherited."
        )
    return old


def _require_same_patch(stream: str, before: FieldTokenizer, now: FieldTokenizer) -> None:
    if before.stream.patch != now.stream.patch or (before.groups == 1) != (now.groups == 1):
        raise ModelError(
            f"stream {stream}: the model knows it with tokens of {list(before.stream.patch)}, the recipe says {list(now.stream.patch)} or "
            "another levels_share_token. Give a stream with other tokens a name of its own."
        )
