"""Training options: their limits."""

import pytest
from pydantic import ValidationError

from statecast.training import TrainingOptions


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"warm_up": 1.0},
        {"final_learning_rate": 1.5},
        {"weight_decay": -0.1},
        {"gradient_clip": 0.0},
        {"ema": 1.0},
        {"workers": -1},
        {"precision": "64"},
        {"loggers": ("paper",)},
        {"step": 10},
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        TrainingOptions(**wrong)


def test_options_cannot_be_changed_and_every_one_says_what_it_is():
    options = TrainingOptions()
    with pytest.raises(ValidationError, match="frozen"):
        options.steps = 3
    assert all(field.description for field in TrainingOptions.model_fields.values())
