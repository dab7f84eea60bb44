"""Adaptation: what a fine-tuning takes over from a model, and what of it may change."""

from statecast.adaptation.changes import (
    AdaptationOptions,
    learning_rate_shares,
    trainable_only,
    trainable_parameters,
)
from statecast.adaptation.transfer import (
    NOTHING_NEW,
    AdaptationError,
    TransferReport,
    all_but_the_encoder,
    transfer,
)

__all__ = [
    "NOTHING_NEW",
    "AdaptationError",
    "AdaptationOptions",
    "TransferReport",
    "all_but_the_encoder",
    "learning_rate_shares",
    "trainable_only",
    "trainable_parameters",
    "transfer",
]
