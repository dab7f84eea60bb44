"""Pictures that ship with scikit-learn, of the extra `images`: small digits, and strips of two photographs."""

from types import ModuleType

import numpy as np

from statecast.images.channels import COLOURS
from statecast.images.errors import ImageError
from statecast.images.sources.decode import as_unit
from statecast.images.sources.stacks import Stack

STRIPS = 4  # that each photograph is cut into, from left to right


def datasets() -> ModuleType:
    """The module `sklearn.datasets`. Raises ImageError, which names the extra, if it is not installed."""
    try:
        from sklearn import datasets
    except ModuleNotFoundError:
        raise ImageError(
            "samples of images: need scikit-learn, which is not installed. pip install 'statecast[images]'"
        ) from None
    return datasets


def digits() -> Stack:
    """1797 handwritten digits of 8 × 8 pixels, from 0 to 1, and the label `digit` (Alpaydin & Kaynak 1998, UCI, CC BY 4.0)."""
    found = datasets().load_digits()
    pixels = (found.images / 16).astype(np.float32)
    return Stack(pixels[:, None, None], ("grey",), {"digit": found.target.tolist()})


def photographs() -> Stack:
    """Eight strips of 427 × 160 pixels: four of a temple and four of a flower in turn, so that the last two are of both."""
    pictures = np.stack(datasets().load_sample_images().images)
    strips = np.stack(np.split(as_unit(pictures), STRIPS, axis=2))  # strip, picture, H, W, C
    pixels = strips.reshape(-1, *strips.shape[2:]).transpose(0, 3, 1, 2)
    names = [f"{name}, strip {strip}" for strip in range(1, STRIPS + 1) for name in ("temple", "flower")]
    return Stack(pixels[:, None], COLOURS, {"strip": names})


SAMPLES = {"sample:digits": digits, "sample:photographs": photographs}
