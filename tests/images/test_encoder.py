"""Pictures read by a Hugging Face encoder."""

import torch

from statecast.images.codec import token_axes, token_coords
from statecast.models.lattice import Lattice
from statecast.streams import Tokens, TokenSpec


def test_patches_lie_on_the_lattice_that_an_encoder_reads():
    shape, patch = (1, 8, 12), (1, 4, 4)
    axes = token_axes(shape, patch)
    values = torch.zeros(1, 6, 16)
    spec = TokenSpec(size=16, axes=axes, layout=(1, 1, 16))
    lattice = Lattice.of(Tokens(values, token_coords(shape, patch)[None], values.bool(), spec), axes[0])
    assert (lattice.rows, lattice.columns) == (2, 3) and lattice.cell.tolist() == [[0, 1, 2, 3, 4, 5]]
