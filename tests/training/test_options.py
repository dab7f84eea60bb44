"""Training options: their limits."""

import pytest
from pydantic import ValidationError

from statecast.training import TrainingOptions


@pytest.mark.parametrize(
    ("option", "wrong", "right", "reason"),
    [
        ("steps", 0, 1, "greater_than_equal"),
        ("batch_size", 0, 1, "greater_than_equal"),
        ("accumulate", 0, 1, "greater_than_equal"),
        ("optimiser", "sgd", "adamw", "literal_error"),
        ("learning_rate", 0.0, 1e-9, "greater_than"),
        ("warm_up", -0.1, 0.0, "greater_than_equal"),
        ("warm_up", 1.0, 0.99, "less_than"),
        ("final_learning_rate", -0.1, 0.0, "greater_than_equal"),
        ("final_learning_rate", 1.5, 1.0, "less_than_equal"),
        ("weight_decay", -0.1, 0.0, "greater_than_equal"),
        ("gradient_clip", 0.0, 1e-9, "greater_than"),
        ("largest_loss", 0.0, 1e-9, "greater_than"),
        ("ema", 0.0, 0.001, "greater_than"),
        ("ema", 1.0, 0.999, "less_than"),
        ("validate_every", 0, 1, "greater_than_equal"),
        ("validation_samples", 0, 1, "greater_than_equal"),
        ("checkpoint_every", 0, 1, "greater_than_equal"),
        ("keep_checkpoints", 0, 1, "greater_than_equal"),
        ("result", "first", "best", "literal_error"),
        ("workers", -1, 0, "greater_than_equal"),
        ("precision", "64", "bf16-mixed", "literal_error"),
        ("loggers", ("paper",), ("csv",), "literal_error"),
    ],
)
def test_what_cannot_be_is_refused_and_what_just_can_be_is_not(option, wrong, right, reason):
    assert getattr(TrainingOptions(**{option: right}), option) == right
    with pytest.raises(ValidationError) as refused:
        TrainingOptions(**{option: wrong})
    (error,) = refused.value.errors()
    assert (error["loc"][0], error["type"]) == (option, reason)


def test_an_option_that_is_none_is_refused():
    with pytest.raises(ValidationError, match=r"step\n  Extra inputs are not permitted"):
        TrainingOptions(step=10)


def test_options_cannot_be_changed_and_every_one_says_what_it_is():
    options = TrainingOptions()
    with pytest.raises(ValidationError, match="frozen"):
        options.steps = 3
    assert all(field.description for field in TrainingOptions.model_fields.values())
