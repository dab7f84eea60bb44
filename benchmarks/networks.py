"""The networks on grids that ours is held against, and what is hidden from them. A library, not a script."""

from collections.abc import Callable

import numpy as np
from torch import nn

from statecast.fields.sources import Grid
from unet import UNET, Peer, zeroed

NO_HARMONICS = "sfno: is left out, torch-harmonics is not installed. `pip install --no-deps torch-harmonics` adds it."


def make_sfno(inputs: int, outputs: int, grid: Grid) -> nn.Module:
    """Bonev et al. 2023 as torch-harmonics has it; the sample's rows lie within 0.6 degrees of a Gauss-Legendre grid's.

    Its last map starts at zero, like the U-Net's. Raises ModuleNotFoundError without torch-harmonics.
    """
    from torch_harmonics.examples.models.sfno import SphericalFourierNeuralOperator

    network = SphericalFourierNeuralOperator(
        img_size=grid.shape,
        grid="legendre-gauss",
        scale_factor=1,
        in_chans=inputs,
        out_chans=outputs,
        embed_dim=64,
        num_layers=4,
        residual_prediction=True,
        bias=True,
    )
    zeroed(network.decoder[-1])
    return network


PEERS = {
    "unet": UNET,
    "sfno": Peer("SFNO", make_sfno, 5e-3, 0.01, 2),
}


def hide_tokens(
    shape: tuple[int, int, int], patch: tuple[int, int, int], share: tuple[float, float] = (0.5, 0.9)
) -> Callable[[np.random.Generator], np.ndarray]:
    """Masks of single tokens at random, a share of 50 to 90 %, as pre-training hides them."""

    def hide(generator: np.random.Generator) -> np.ndarray:
        tokens = tuple(n // p for n, p in zip(shape, patch, strict=True))
        count = round(generator.uniform(*share) * int(np.prod(tokens)))
        hidden = np.zeros(int(np.prod(tokens)), bool)
        hidden[generator.permutation(len(hidden))[:count]] = True
        return np.kron(hidden.reshape(tokens), np.ones(patch, bool))

    return hide


def available(models: list[str]) -> list[str]:
    """The models but those whose library is not installed, which is said in a line."""
    if "sfno" in models:
        try:
            import torch_harmonics  # noqa: F401
        except ModuleNotFoundError:
            print(NO_HARMONICS)
            return [m for m in models if m != "sfno"]
    return models
