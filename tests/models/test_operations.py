"""Operations in closed form against torch's own counter."""

import pytest
import torch

from statecast.costs.memory import Counts, blank_question
from statecast.models import ModelOptions, StateModel
from statecast.models.operations import count_flops, sample_flops
from statecast.streams import TokenSpec

SPECS = {
    "a": TokenSpec(channels=2, patch=(1, 2, 3), step_h=6.0),
    "b": TokenSpec(channels=1, patch=(2, 2, 2), step_h=6.0),
    "guessed": TokenSpec(channels=3, patch=(1, 2, 2), step_h=6.0, guessed=True),
}
SPLITS = (
    Counts({"a": 7, "b": 5}, {"a": 3, "b": 11}),
    Counts({"a": 9}, {"b": 4}),  # one stream from the other
    Counts({"b": 6}, {"b": 2}),
    Counts({"a": 9, "b": 3}, {"guessed": 5}),
)


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("head", ["ensemble", "point"])
@pytest.mark.parametrize("counts", SPLITS)
def test_the_closed_form_is_what_torch_counts(counts, head, recomputes):
    options = ModelOptions(width=48, encoder_layers=3, decoder_layers=2, heads=3, mlp_ratio=2.5, head=head, members=3)
    with torch.device("meta"):
        model = StateModel(options, SPECS)
    model.recomputes = recomputes
    counted = count_flops(model, blank_question(SPECS, counts, samples=2))
    assert 2 * sample_flops(options, SPECS, counts.shown, counts.asked, recomputes=recomputes) == counted
