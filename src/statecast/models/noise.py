"""Random numbers that are a function of their place, such as sample, member and token, and of nothing else.

There is no generator and no order of drawing: a number is the same in any batch, on any number of processes and on any device. Axes: * any.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

GOLDEN, FIRST, SECOND = (
    -0x61C8864680B583EB,
    -0x40A7B892E31B1A47,
    -0x6B2FB644ECCEEE15,
)  # of splitmix64, as signed integers
BITS = 52  # of a fraction: with one more, the largest number would be rounded to 1

Key = Int[Tensor, "*B"] | int


def normal(*keys: Key) -> Float[Tensor, "*B"]:
    """A standard normal number for each place; the keys broadcast against one another, at least one is a tensor."""
    return torch.special.ndtri(uniform(*keys)).float()


def uniform(*keys: Key) -> Float[Tensor, "*B"]:
    """A number between 0 and 1, in 64 bits, for each place; never 0 or 1."""
    return (_shifted(hashed(*keys), 64 - BITS).double() + 0.5) * 2.0**-BITS


def hashed(*keys: Key) -> Int[Tensor, "*B"]:
    """64 bits for each place: a counter-based generator (Salmon et al. 2011), with splitmix64's mixer (Steele et al. 2014) for each key."""
    state: Key = 0
    for key in keys:
        state = _mixed(state ^ _mixed(key))
    assert isinstance(state, Tensor)
    return state


def _mixed(key: Key) -> Int[Tensor, "*B"]:
    bits = torch.as_tensor(key, dtype=torch.int64) + GOLDEN
    bits = (bits ^ _shifted(bits, 30)) * FIRST  # wraps, as the generator wants it
    bits = (bits ^ _shifted(bits, 27)) * SECOND
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Int[Tensor, "*B"], by: int) -> Int[Tensor, "*B"]:
    """Shifted to the right, with zeros on the left: torch keeps the sign."""
    return (bits >> by) & (2 ** (64 - by) - 1)
