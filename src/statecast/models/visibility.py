"""Which tokens see which: padding is seen by none, and in a causal question nothing sees what comes later.

Axes: B sample, N query token, M key token.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from statecast.streams import Tokens, Window


def present_or_none(window: Window) -> Bool[Tensor, "B N"] | None:
    """Which tokens are no padding; None if none is padding."""
    return None if all(tokens.present is None for tokens in window.values()) else present_or_all(window)


def present_or_all(window: Window) -> Bool[Tensor, "B N"]:
    """Which tokens are no padding."""
    parts = [
        torch.ones(tokens.observed.shape[:-1], dtype=torch.bool, device=tokens.observed.device)
        if tokens.present is None
        else tokens.present
        for tokens in window.values()
    ]
    return torch.cat(parts, dim=1)


def ranks(window: Window) -> Float[Tensor, "B N"]:
    """Positions along the order axis, of all streams."""
    return torch.cat([rank_of(tokens) for tokens in window.values()], dim=1)


def rank_of(tokens: Tokens) -> Float[Tensor, "B N"]:
    """Position along the order axis; tokens without one come before all others."""
    order = tokens.order()
    if order is None:
        return tokens.values.new_full(tokens.observed.shape[:-1], -torch.inf)
    return order


def visible_keys(
    present: Bool[Tensor, "B M"] | None,
    of_query: Float[Tensor, "B N"] | None,
    of_key: Float[Tensor, "B M"] | None,
    *,
    is_encoder: bool,
) -> Bool[Tensor, "B #N M"] | None:
    """The keys that each query sees; None: all keys."""
    visible = None if present is None else present[:, None, :]
    if of_query is None or of_key is None:
        return visible
    keys, queries = of_key[:, None, :], of_query[:, :, None]
    before = keys <= queries if is_encoder else (keys < queries) | keys.isneginf()
    return before if visible is None else before & visible
