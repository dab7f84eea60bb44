"""Tokenizers: labelled arrays to `Tokens` and back, each with its exact inverse."""

from statecast.tokenizers.fields import FieldTokenizer
from statecast.tokenizers.patches import join_patches, split_patches
from statecast.tokenizers.windows import Place, WindowSampler

__all__ = ["FieldTokenizer", "Place", "WindowSampler", "join_patches", "split_patches"]
