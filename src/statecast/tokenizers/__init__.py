"""Tokenizers: labelled arrays to `Tokens` and back, each with its exact inverse."""

from statecast.tokenizers.fields import FieldTokenizer
from statecast.tokenizers.first_guess import read_window
from statecast.tokenizers.patches import join_patches, split_patches
from statecast.tokenizers.windows import Place, WindowSampler, window_around

__all__ = ["FieldTokenizer", "Place", "WindowSampler", "join_patches", "read_window", "split_patches", "window_around"]
