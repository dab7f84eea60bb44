"""Tokenizers: labelled arrays to `Tokens` and back, each with its exact inverse."""

from statecast.fields.tokenizers.fields import FieldTokenizer
from statecast.fields.tokenizers.first_guess import read_window
from statecast.fields.tokenizers.patches import join_patches, split_patches
from statecast.fields.tokenizers.windows import Place, Windows, WindowSampler, window_around

__all__ = [
    "FieldTokenizer",
    "Place",
    "WindowSampler",
    "Windows",
    "join_patches",
    "read_window",
    "split_patches",
    "window_around",
]
