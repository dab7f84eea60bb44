"""A window of two streams whose tokens can be told apart: the first value is the token's number."""

import numpy as np
import pytest
import torch

from statecast.axes import Axis, column_names
from statecast.streams import Tokens, TokenSpec, Window

AXES = (Axis("place", "sphere", "degree", 30.0), Axis("time", "time", "h"))
SPEC = TokenSpec(size=5, axes=AXES, order="time")


def stream_of(slabs: int, rows: int, columns: int, hours: float) -> Tokens:
    """Tokens of `slabs` x `rows` x `columns`, one a slab of `hours`; every fifth value is not observed."""
    lat, lon = np.linspace(-75, 75, rows), np.arange(columns) * 360 / columns
    offset = np.arange(slabs) * hours + hours / 2
    axes = np.meshgrid(offset, lat, lon, indexing="ij")
    names = column_names(AXES)
    coords = np.zeros((slabs * rows * columns, len(names)), np.float32)
    for name, axis in zip(("offset_h", "latitude_deg", "longitude_deg"), axes, strict=True):
        coords[:, names.index(name)] = axis.reshape(-1)
    values = torch.arange(1.0, len(coords) + 1)[:, None] + torch.zeros(1, 5)
    observed = torch.ones_like(values, dtype=torch.bool)
    observed[:, 4] = False
    return Tokens(values * observed, torch.from_numpy(coords), observed, SPEC)


@pytest.fixture
def window() -> Window:
    """Four slabs of 18 h: stream a has tokens as deep, those of b are half as deep."""
    return {"a": stream_of(4, 6, 10, 18.0), "b": stream_of(8, 3, 5, 9.0)}
