"""Tokenizers: labelled arrays to `Tokens` and back, each with its exact inverse."""

from statecast.fields.tokenizers.fields import FieldTokenizer
from statecast.fields.tokenizers.first_guess import read_window
from statecast.fields.tokenizers.located import Located, StreamSource, located, sources_of, whole_window
from statecast.fields.tokenizers.windows import Place, Windows, WindowSampler, window_around
from statecast.patches import join_patches, split_patches

__all__ = [
    "FieldTokenizer",
    "Located",
    "Place",
    "StreamSource",
    "WindowSampler",
    "Windows",
    "join_patches",
    "located",
    "read_window",
    "sources_of",
    "split_patches",
    "whole_window",
    "window_around",
]
