"""Generation: what is drawn one after the other is what the causal model says in one pass, and nothing sees what comes later."""

from dataclasses import replace

import pytest
import torch

from statecast.axes import Axis
from statecast.models import ModelOptions, StateModel
from statecast.models.generation import ROOM, CausalState, generate
from statecast.streams import Tokens, TokenSpec, chosen_samples

RANK = Axis("rank", "index")
SPECS = {
    "track": TokenSpec(size=2, axes=(RANK,), order="rank"),
    "words": TokenSpec(vocabulary=5, axes=(RANK,), order="rank"),
    "label": TokenSpec(vocabulary=3),
    "cloud": TokenSpec(size=1, axes=(Axis("place", "plane"),)),
}
OPTIONS = ModelOptions(width=48, heads=3, encoder_layers=2, decoder_layers=2, members=4)
LENGTH = 6


def make_model(specs=SPECS, options=OPTIONS) -> StateModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return StateModel(options, specs).eval()


@pytest.fixture(scope="module")
def model() -> StateModel:
    return make_model()


def tokens_of(name: str, count: int = LENGTH, seed: int = 0) -> Tokens:
    """Two samples; ranks from 0 on."""
    spec, random = SPECS[name], torch.Generator().manual_seed(seed)
    values = torch.randn(2, count, spec.size, generator=random)
    columns = sum(len(axis.columns) for axis in spec.axes)
    coords = torch.randn(2, count, columns, generator=random)
    if spec.order:
        coords = torch.arange(float(count)).expand(2, -1)[..., None]
    codes = torch.randint(spec.vocabulary, (2, count), generator=random) if spec.vocabulary else None
    return Tokens(values, coords, torch.ones_like(values, dtype=torch.bool), spec, codes=codes)


def draw(model, condition, name, places, seed: int = 0, **options) -> Tokens:
    return generate(model, condition, name, places, torch.Generator().manual_seed(seed), **options)


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def test_values_are_drawn_from_the_members_that_the_model_gives_in_one_pass(model):
    drawn = draw(model, {}, "track", tokens_of("track"))
    assert drawn.values.shape == (2, LENGTH, 2) and drawn.observed.all()
    members = model({"track": drawn}, {"track": drawn}, "tokens", True)["track"].members
    random = torch.Generator().manual_seed(0)
    for position in range(LENGTH):
        close(drawn.values[:, position], model.head.sample(members[:, position : position + 1], random)[:, 0])


def test_what_the_places_hold_is_not_read(model):
    places = tokens_of("track")
    blank = places.replace(torch.zeros_like(places.values))
    assert torch.equal(draw(model, {}, "track", places).values, draw(model, {}, "track", blank).values)
    codes = tokens_of("words")
    other = replace(codes, codes=torch.zeros_like(codes.codes))
    assert torch.equal(draw(model, {}, "words", codes).codes, draw(model, {}, "words", other).codes)


def test_a_seed_gives_the_same_and_another_seed_other_values(model):
    one, same, other = (draw(model, {}, "track", tokens_of("track"), seed).values for seed in (3, 3, 4))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("name", ["track", "words"])
def test_the_cache_gives_what_encoding_all_again_gives(model, name):
    condition = {"label": tokens_of("label", 1), "cloud": tokens_of("cloud", 3)}
    cached, again = (draw(model, condition, name, tokens_of(name), is_cached=cached) for cached in (True, False))
    close(cached.values, again.values)
    assert name == "track" or torch.equal(cached.codes, again.codes)


CONDITIONS = [
    ("label",),
    ("cloud",),
    ("label", "cloud"),
    ("cloud", "label"),
]


@pytest.mark.parametrize("streams", CONDITIONS)
@torch.no_grad()
def test_the_cache_answers_what_one_pass_over_condition_and_sequence_answers(model, streams):
    condition = {name: tokens_of(name, 3) for name in streams}
    track = tokens_of("track")
    whole = model({**condition, "track": track}, {"track": track}, "tokens", True)["track"].members
    state = CausalState(model, {**condition, "track": track[:0]})
    state.extend(condition)
    for position in range(LENGTH):
        token = track[position : position + 1]
        close(state.ask("track", token).members[:, 0], whole[:, position])
        state.append("track", token)


@torch.no_grad()
def test_a_beginning_of_the_sequence_beside_a_condition_is_encoded_as_in_one_pass(model):
    track, label = tokens_of("track"), tokens_of("label", 1)
    for condition in ({"track": track[:3], "label": label}, {"label": label, "track": track[:3]}):
        whole = model({"label": label, "track": track}, {"track": track}, "tokens", True)["track"].members
        state = CausalState(model, condition)
        state.extend(condition)
        close(state.ask("track", track[3:4]).members[:, 0], whole[:, 3])


@torch.no_grad()
def test_what_was_generated_given_conditions_is_what_one_pass_gives(model):
    condition = {"label": tokens_of("label", 1), "cloud": tokens_of("cloud", 3)}
    drawn = draw(model, condition, "words", tokens_of("words"), temperature=0.0)
    logits = model({**condition, "words": drawn}, {"words": drawn}, "tokens", True)["words"].logits
    assert torch.equal(drawn.codes, logits.argmax(dim=-1))


@pytest.mark.parametrize("name", ["label", "cloud"])
@torch.no_grad()
def test_every_token_sees_a_condition(model, name):
    condition, other = ({name: tokens_of(name, 3, seed)} for seed in (0, 5))
    track = tokens_of("track")
    one, two = (
        model({**seen, "track": track}, {"track": track}, "tokens", True)["track"].members
        for seen in (condition, other)
    )
    assert ((one - two).abs().amax(dim=(-2, -1)) > 1e-5).all()
    values = [draw(model, seen, "track", track).values for seen in (condition, other)]
    assert ((values[0] - values[1]).abs().amax(dim=-1) > 1e-6).all()


@torch.no_grad()
def test_generation_goes_on_from_a_beginning(model):
    track = tokens_of("track")
    first = draw(model, {}, "track", track)
    rest = draw(model, {"track": first[:3]}, "track", track[3:], seed=1)
    assert len(rest) == 3
    members = model({"track": first[:3]}, {"track": track[3:4]}, "tokens", True)["track"].members
    close(rest.values[:, :1], model.head.sample(members, torch.Generator().manual_seed(1)))


def test_a_code_that_stops_ends_a_sample_and_what_follows_is_padding(model):
    places = replace(tokens_of("words"), coords=torch.arange(float(LENGTH)).expand(8, -1)[..., None])
    places = places.each(lambda part: part[:1].expand(8, *part.shape[1:]), lambda part: part[:1].expand(8, -1))
    places = replace(places, coords=torch.arange(float(LENGTH)).expand(8, -1)[..., None])
    drawn = draw(model, {}, "words", places, stop=1)
    for codes, present in zip(drawn.codes, drawn.present, strict=True):
        stops = (codes == 1).nonzero()
        last = int(stops[0]) if len(stops) else len(codes) - 1
        assert present[: last + 1].all() and not present[last + 1 :].any()
    assert drawn.present.any(dim=0).all()  # it ends with the last sample


@torch.no_grad()
def test_samples_go_on_without_those_that_are_finished(model):
    """More tokens than the room of a cache, of three samples, of which the second leaves."""
    count = ROOM + 2
    label, track = (
        replace(
            tokens.each(lambda part: part[[0, 1, 0]], lambda part: part[[0, 1, 0]]),
            values=torch.randn(3, len(tokens), tokens.values.shape[-1], generator=torch.Generator().manual_seed(1)),
        )
        for tokens in (tokens_of("label", 1), tokens_of("track", count))
    )
    whole = model({"label": label, "track": track}, {"track": track}, "tokens", True)["track"].members
    rest = torch.tensor([0, 2])
    all_three, two = (CausalState(model, {"label": label, "track": track[:0]}) for _ in range(2))
    for state in (all_three, two):
        state.extend({"label": label})
        state.append("track", track[: count - 2])
    two.keep(rest)
    for position in (count - 2, count - 1):
        token = track[position : position + 1]
        expected = all_three.ask("track", token).members[:, 0]
        torch.testing.assert_close(expected, whole[:, position], rtol=0, atol=5e-4)  # squares of ranks up to 66 round
        token_of_two = chosen_samples(token, rest)
        close(two.ask("track", token_of_two).members[:, 0], expected[rest])
        all_three.append("track", token)
        two.append("track", token_of_two)
    assert torch.equal(two.visible["track"].values, track.values[rest])
