"""Fields asked causally, by the task `next`: nothing that comes later is seen, also through the anchor."""

from dataclasses import replace

import pytest
import torch

from statecast.fields.anchors import field_spec
from statecast.models import ModelOptions, StateModel
from statecast.models.generation import CausalState
from statecast.streams import Tokens
from statecast.tasks import Next

FIELD = field_spec(2, (1, 1, 2), step_h=6.0, token_deg=30.0)


def field_tokens(times: int = 4) -> Tokens:
    """Two samples of three places at each time; a tenth of the values missing."""
    random = torch.Generator().manual_seed(1)
    offset, place = torch.cartesian_prod(torch.arange(float(times)), torch.arange(3.0)).T
    columns = {
        "latitude_deg": 30.0 * place - 30.0,
        "longitude_deg": 40.0 * place,
        "offset_h": 6.0 * offset,
        "hour_utc": 6.0 * offset % 24,
        "solar_time_rad": offset,
        "year_fraction": torch.full_like(offset, 0.3),
        "pressure_hpa": torch.full_like(offset, 500.0),
    }
    names = [column for axis in FIELD.axes for column in axis.columns]
    coords = torch.stack([columns.get(name, torch.full_like(offset, 30.0)) for name in names], dim=-1)
    observed = torch.rand(2, 3 * times, 4, generator=random) > 0.1
    values = torch.randn(2, 3 * times, 4, generator=random) * observed
    return Tokens(values, coords.expand(2, -1, -1), observed, FIELD)


@pytest.fixture(scope="module")
def field_model() -> StateModel:
    options = ModelOptions(width=48, heads=3, encoder_layers=1, decoder_layers=1, members=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = StateModel(options, {"air": FIELD}).eval()
    with torch.no_grad():  # at the start norms don't know the lead time
        for name, parameter in model.named_parameters():
            if "modulation" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return model


def answer(model, tokens) -> torch.Tensor:
    with torch.no_grad():
        said = model({"air": tokens}, {"air": tokens}, "tokens", True)["air"]
    return torch.cat([said.members, said.spread.expand(-1, -1, 4)[:, :, None]], dim=2)


@pytest.mark.parametrize("time", [0, 1, 3])
def test_a_field_that_is_asked_causally_sees_nothing_later_also_through_its_anchor(field_model, time):
    tokens = field_tokens()
    values, observed = tokens.values.clone(), tokens.observed.clone()
    now = slice(3 * time, None)
    values[:, now], observed[:, now] = 9.0, ~observed[:, now]
    before, after = answer(field_model, tokens), answer(field_model, replace(tokens, values=values, observed=observed))
    asked = slice(0, 3 * (time + 1))  # what is of the changed time is not seen either when it is asked
    assert torch.equal(before[:, asked], after[:, asked])
    assert time == 3 or not torch.equal(before[:, 3 * (time + 1) :], after[:, 3 * (time + 1) :])


def test_the_anchor_of_a_causal_question_is_what_came_before(field_model):
    tokens = field_tokens()
    anchored = field_model.anchored("air", tokens, tokens, torch.ones(2, 12, 48), causal=True)
    assert not anchored.base[:, :3].any() and (anchored.spread[:, :3] == 1).all()  # nothing came before the first time
    assert anchored.base[:, 3:].any() and not anchored.neighbour[:, :3].any() and anchored.neighbour[:, 3:].all()
    both = field_model.anchored("air", tokens, tokens, torch.ones(2, 12, 48), causal=False)
    assert both.base[:, :3].any()


def test_next_of_a_field_is_a_causal_question():
    sample = field_tokens().each(lambda part: part[0], lambda part: part[0])
    question = Next().complete({"air": sample})
    assert question.causal and len(question.queries["air"]) == 12


@torch.no_grad()
def test_fields_go_on_from_a_beginning_as_in_one_pass(field_model):
    tokens = field_tokens()
    at_a_time = [tokens[3 * time : 3 * time + 3] for time in range(4)]
    whole = answer(field_model, tokens)
    state = CausalState(field_model, {"air": tokens[:0]})
    state.append("air", at_a_time[0])
    for time in (1, 2, 3):
        said = state.ask("air", at_a_time[time])
        torch.testing.assert_close(said.members, whole[:, 3 * time : 3 * time + 3, :4], rtol=0, atol=2e-5)
        state.append("air", at_a_time[time])
