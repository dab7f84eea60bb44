"""Operations in closed form against torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from statecast.axes import Axis
from statecast.costs.memory import Counts, blank_question
from statecast.fields.anchors import field_spec
from statecast.models import Draws, ModelOptions, StateModel
from statecast.models.operations import count_flops, sample_flops, velocity_flops
from statecast.streams import TokenSpec

FIELDS = {
    "a": field_spec(2, (1, 2, 3), 6.0, token_deg=15.0),
    "b": field_spec(1, (2, 2, 2), 6.0, token_deg=15.0),
    "guessed": field_spec(3, (1, 2, 2), 6.0, token_deg=15.0, guessed=True),
}
RANK = (Axis("rank", "index"),)
SENTENCE = {"words": TokenSpec(vocabulary=11, axes=RANK), "pitch": TokenSpec(size=3, axes=RANK)}
SPLITS = (
    Counts({"a": 7, "b": 5}, {"a": 3, "b": 11}),
    Counts({"a": 9}, {"b": 4}),  # one stream from the other
    Counts({"b": 6}, {"b": 2}),
    Counts({"a": 9, "b": 3}, {"guessed": 5}),
)


@pytest.mark.parametrize("head", ["ensemble", "point", "flow", "noise"])
@pytest.mark.parametrize("counts", SPLITS)
def test_the_closed_form_is_what_torch_counts(counts, head):
    compare(FIELDS, counts, head)


@pytest.mark.parametrize("head", ["ensemble", "point", "flow", "noise"])
def test_the_closed_form_holds_where_blocks_are_recomputed(head):
    compare(FIELDS, SPLITS[0], head, recomputes=True)


@pytest.mark.parametrize("counts", [Counts({"words": 7}, {"words": 4}), Counts({"words": 7, "pitch": 5}, {"pitch": 6})])
@pytest.mark.parametrize("head", ["ensemble", "flow", "noise"])
def test_the_closed_form_holds_for_codes_and_for_streams_without_an_anchor(counts, head):
    compare(SENTENCE, counts, head)


def test_the_closed_form_holds_for_codes_where_blocks_are_recomputed():
    compare(SENTENCE, Counts({"words": 7, "pitch": 5}, {"words": 4, "pitch": 6}), "ensemble", recomputes=True)


def test_each_evaluation_of_the_velocity_for_each_member_costs_the_same():
    """What the members of a flow head take beside one encoding and decoding, as torch counts it."""
    options = ModelOptions(width=48, heads=3, head="flow", members=3, flow_layers=3)
    question = blank_question(SENTENCE, Counts({"words": 7}, {"words": 4, "pitch": 6}), samples=2).to("meta")
    with torch.device("meta"):
        model = StateModel(options, SENTENCE)
    counted = []
    for draws in (Draws(members=1, steps=1, solver="euler"), Draws(members=3, steps=2)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.answer(question, draws)
        counted.append(counter.get_total_flops())
    of_one = velocity_flops(options, SENTENCE, {"words": 4, "pitch": 6})
    assert (
        counted[1] - counted[0] == 2 * (3 * Draws(steps=2).evaluations - 1) * of_one and Draws(steps=2).evaluations == 4
    )


def compare(specs, counts: Counts, head: str, *, recomputes: bool = False) -> None:
    options = ModelOptions(width=48, encoder_layers=3, decoder_layers=2, heads=3, mlp_ratio=2.5, head=head, members=3)
    with torch.device("meta"):
        model = StateModel(options, specs)
    model.recomputes = recomputes
    counted = count_flops(model, blank_question(specs, counts, samples=2))
    assert 2 * sample_flops(options, specs, counts.shown, counts.asked, recomputes=recomputes) == counted
