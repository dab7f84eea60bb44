"""Adaptation: what a fine-tuning takes over from a model, and what of it may change."""

from statecast.adaptation.changes import AdaptationOptions, free, learning_rate_shares, trainable_parameters
from statecast.adaptation.transfer import NOTHING_TAKEN, Transferred, transfer

__all__ = [
    "NOTHING_TAKEN",
    "AdaptationOptions",
    "Transferred",
    "free",
    "learning_rate_shares",
    "trainable_parameters",
    "transfer",
]
