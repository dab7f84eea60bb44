"""A small recipe on the embedded atmosphere."""

import pytest

from statecast.config import Recipe, read_recipe


@pytest.fixture
def recipe() -> Recipe:
    overrides = [
        "data.train=[2000-01-01, 2000-01-31]",
        "model.width=32",
        "model.heads=2",
        "model.encoder_layers=2",
        "model.members=4",
        "training.batch_size=4",
    ]
    return read_recipe("quickstart", overrides)
