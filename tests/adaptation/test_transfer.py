"""What a model takes over: matched by name, variable and level, never by position."""

from dataclasses import replace

import pytest
import torch

from statecast.adaptation import AdaptationError, transfer
from statecast.fields.sources import Record, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.fields.tokenizers.windows import whole_domain
from statecast.models import ModelOptions
from statecast.streams import stack_questions
from statecast.tasks import Forecast
from statecast.trained import TrainedModel, build

OPTIONS = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=4)


@pytest.fixture
def trained(make_store):
    """Makes a model of the streams that are given, with weights from a seed."""
    dataset = open_fields(make_store(steps=40))

    def make(seed: int, options: ModelOptions = OPTIONS, **streams: Stream) -> tuple[TrainedModel, dict[str, Record]]:
        records = {name: Record.open(dataset, stream) for name, stream in streams.items()}
        tokenizers = {name: FieldTokenizer(streams[name], fit_climatology(r)) for name, r in records.items()}
        return TrainedModel(build(options, tokenizers, seed), tokenizers, {}), records

    return make


def answers(trained: TrainedModel, records, stream: str = "air", hidden: tuple[str, ...] = ()):
    """Members of a forecast of `stream` by channel; the channels named in `hidden` are not observed."""
    tokenizer, place = trained.codecs[stream], whole_domain(records[stream].grid, 0, 4)
    question = stack_questions(
        [Forecast(history=1, leads=1).complete({stream: tokenizer.tokenize(records[stream], place)})]
    )
    context = question.context[stream]
    names = list(map(str, tokenizer.climatology.channels))
    observed = context.observed.unflatten(-1, (len(names), -1)).clone()
    for name in hidden:
        observed[:, :, names.index(name)] = False
    context = replace(context, observed=observed.flatten(-2), values=context.values * observed.flatten(-2))
    with torch.no_grad():
        members = trained.model.answer(replace(question, context={stream: context}))[stream].members.unflatten(
            -1, (len(names), -1)
        )
    return {name: members[..., index, :] for index, name in enumerate(names)}


AIR = Stream(variables=("t", "u", "msl"), levels=(500, 850), patch=(2, 3, 4))


def test_streams_in_another_order_keep_their_weights(trained):
    base, records = trained(0, air=AIR)
    other = AIR.model_copy(update={"variables": ("msl", "t", "u"), "levels": (850.0, 500.0)})
    new, new_records = trained(1, surface=Stream(variables=("t2m",), patch=(2, 3, 4)), air=other)
    report = transfer(base.model, base.codecs, new.model, new.codecs)
    assert all(".surface" in name for name in report.new) and not report.mixed and len(report.new) == 5
    before, after = answers(base, records), answers(new, new_records)
    assert list(before) != list(after)
    for name, members in before.items():
        torch.testing.assert_close(after[name], members, rtol=1e-4, atol=1e-5)


def test_a_level_that_is_new_in_a_token_changes_no_answer_until_it_is_shown(trained):
    base, records = trained(0, air=AIR)
    new, new_records = trained(1, air=AIR.model_copy(update={"levels": (500.0, 700.0, 850.0)}))
    report = transfer(base.model, base.codecs, new.model, new.codecs)
    assert not report.new and set(report.mixed) == {
        "values.air.weight",
        "heads.air.weight",
        "heads.air.bias",
    }
    before, after = answers(base, records), answers(new, new_records, hidden=("t@700", "u@700"))
    for name, members in before.items():
        torch.testing.assert_close(after[name], members, rtol=0, atol=2e-3)  # the token's mean pressure has moved
    assert after["t@700"].isfinite().all()


def test_a_level_with_tokens_of_its_own_needs_no_new_weights(trained):
    apart = Stream(variables=("t", "u"), levels=(500, 850), levels_share_token=False, patch=(2, 3, 4))
    base, _ = trained(0, air=apart)
    new, _ = trained(1, air=apart.model_copy(update={"levels": (500.0, 700.0, 850.0)}))
    report = transfer(base.model, base.codecs, new.model, new.codecs)
    assert not report.new and not report.mixed
    assert all(torch.equal(v, base.model.state_dict()[name]) for name, v in new.model.state_dict().items())


@pytest.mark.parametrize("change", [{"patch": (2, 6, 4)}, {"patch": (2, 6, 2)}, {"levels_share_token": False}])
def test_other_tokens_need_another_name(trained, change):
    stream = Stream(variables=("t", "u"), levels=(500, 850), patch=(2, 3, 4))
    base, _ = trained(0, air=stream)
    new, _ = trained(1, air=stream.model_copy(update=change))
    with pytest.raises(
        AdaptationError, match=r"stream air: the model knows it with tokens of 2 steps and 12 points.*name of its own"
    ):
        transfer(base.model, base.codecs, new.model, new.codecs)


FLOW = OPTIONS.model_copy(update={"head": "flow"})
NOISE = OPTIONS.model_copy(update={"head": "noise"})


def test_a_flow_head_takes_its_channels_over_by_name(trained):
    """A channel that is new is not seen until it is shown: the velocity of the old ones is that of before, where the new is missing."""
    base, _ = trained(0, FLOW, air=AIR)
    new, _ = trained(1, FLOW, air=AIR.model_copy(update={"variables": ("msl", "t", "u")}))
    report = transfer(base.model, base.codecs, new.model, new.codecs)
    assert not report.new and not report.mixed
    names, now = base.codecs["air"].channels, new.codecs["air"].channels
    assert names != now and sorted(names) == sorted(now)
    old, fresh = (m.model.state_dict()["flow.heads.air.weight"] for m in (base, new))
    old, fresh = old.unflatten(0, (len(names), -1)), fresh.unflatten(0, (len(names), -1))
    old_in, fresh_in = (m.model.state_dict()["flow.values.air.weight"] for m in (base, new))
    old_in, fresh_in = (w.unflatten(1, (2, len(names), -1)) for w in (old_in, fresh_in))
    for place, name in enumerate(now):
        assert torch.equal(fresh[place], old[names.index(name)])
        assert torch.equal(fresh_in[:, :, place], old_in[:, :, names.index(name)])


def test_a_noise_head_takes_its_channels_over_by_name(trained):
    weights = "noise.mixing.air.weight"
    base, _ = trained(0, NOISE, air=AIR)
    new, _ = trained(1, NOISE, air=AIR.model_copy(update={"variables": ("msl", "t", "u")}))
    transfer(base.model, base.codecs, new.model, new.codecs)
    names, now = base.codecs["air"].channels, new.codecs["air"].channels
    old, fresh = (m.model.state_dict()[weights].unflatten(0, (len(names), -1)) for m in (base, new))
    assert names != now and all(torch.equal(fresh[now.index(name)], old[names.index(name)]) for name in names)


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        (OPTIONS, FLOW, "flow."),
        (FLOW, OPTIONS, "heads."),
        (OPTIONS, NOISE, "noise."),
        (NOISE, OPTIONS, None),
        (OPTIONS, OPTIONS.model_copy(update={"members": 6}), "heads."),
        (FLOW, FLOW.model_copy(update={"flow_path": "cosine"}), "flow."),
        (FLOW, FLOW.model_copy(update={"flow_skip": True}), "flow."),
        (FLOW, FLOW.model_copy(update={"flow_layers": 3}), "flow.blocks.2."),
        (FLOW, FLOW.model_copy(update={"members": 6}), None),
    ],
)
def test_another_head_is_new_and_the_body_is_taken_over(trained, before, after, new):
    (base, _), (model, _) = trained(0, before, air=AIR), trained(1, after, air=AIR)
    report = transfer(base.model, base.codecs, model.model, model.codecs)
    fresh = {name for name, _ in model.model.named_parameters() if new and name.startswith(new)}
    assert set(report.new) == fresh and bool(fresh) == bool(new) and not report.mixed
    old = base.model.state_dict()
    assert all(torch.equal(value, old[n]) for n, value in model.model.state_dict().items() if n not in fresh)
