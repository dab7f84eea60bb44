"""Memory: what is modelled against what autograd keeps and what is alive in a real step."""

from functools import cache
from itertools import accumulate

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from statecast.costs.memory import (
    Counts,
    MemoryNeedError,
    Weights,
    activation_bytes,
    blank_question,
    require_memory,
    saved_storages,
)
from statecast.fields.anchors import field_spec
from statecast.models import ModelOptions, StateModel
from statecast.models.losses import question_loss
from statecast.training import TrainingOptions

SPECS = {
    "fields": field_spec(3, (2, 3, 3), 3.0, token_deg=15.0),
    "rain": field_spec(1, (2, 3, 3), 3.0, token_deg=15.0),
}
COUNTS = Counts({"fields": 150, "rain": 60}, {"fields": 200, "rain": 90})
OPTIONS = ModelOptions(width=96, encoder_layers=4, decoder_layers=2, heads=4)


@cache
def modelled(*, low_precision: bool = False, recomputes: bool = False) -> float:
    return activation_bytes(OPTIONS, SPECS, COUNTS, low_precision=low_precision, recomputes=recomputes)


def peak_of_a_real_step(samples: int, *, recomputes: bool = False) -> float:
    """Largest sum of the tensors that are alive at once while a model is built and takes two steps."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model, question = StateModel(OPTIONS, SPECS), blank_question(SPECS, COUNTS, samples)
        model.recomputes = recomputes
        optimiser = torch.optim.AdamW(model.parameters(), fused=True)
        for _ in range(2):
            loss = question_loss(model, model.answer(question), question)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return max(accumulate(change for _, change in changes))


@pytest.mark.parametrize("recomputes", [False, True])
def test_a_small_step_takes_what_is_modelled(recomputes):
    """Of a sample: what two more samples take, by halves; within a fifth."""
    more = (peak_of_a_real_step(4, recomputes=recomputes) - peak_of_a_real_step(2, recomputes=recomputes)) / 2
    assert modelled(recomputes=recomputes) == pytest.approx(more, rel=0.2)


def test_weights_take_what_is_modelled():
    held = Weights.of(StateModel(OPTIONS, SPECS)).held_bytes(1, shards=False, low_precision=False)
    activations = 2 * modelled()
    assert held + activations == pytest.approx(peak_of_a_real_step(2), rel=0.2)


def test_what_is_kept_grows_with_the_blocks_as_if_all_were_there():
    """Deeper models are reckoned from shallow ones: autograd of the whole one keeps the same."""
    kept = []
    for samples in (1, 2):
        model, question = StateModel(OPTIONS, SPECS), blank_question(SPECS, COUNTS, samples)
        with saved_storages(model) as storages:
            loss = question_loss(model, model.answer(question), question)
        kept.append(sum(storages.values()))
        del loss
    asked = sum(n * SPECS[name].size for name, n in COUNTS.asked.items())
    assert modelled() - 2 * 4 * 16 * asked == pytest.approx(kept[1] - kept[0], rel=0.02)


def test_bfloat16_and_checkpointing_keep_less():
    assert modelled(low_precision=True) < modelled()
    assert modelled(recomputes=True) < 0.7 * modelled()


def test_what_devices_hold_has_its_closed_form():
    weights = Weights(all=1000, largest_block=100, outside=50)
    assert weights.held_bytes(1, shards=False, low_precision=False) == 16000
    assert weights.held_bytes(1, shards=True, low_precision=True) == 18000  # nothing to shard to
    assert weights.held_bytes(8, shards=False, low_precision=True) == 22000
    assert weights.held_bytes(8, shards=True, low_precision=False) == 2000 + 4 * (300 + 100)


def test_parts_of_the_model_add_up():
    """Four encoder blocks, two decoder blocks, which are the larger ones since their norms are modulated, and the rest."""
    model = StateModel(OPTIONS, SPECS)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    count = lambda *prefixes: sum(size for name, size in sizes.items() if name.startswith(prefixes))  # noqa: E731
    weights = Weights.of(model)
    assert weights.all == sum(sizes.values())
    assert weights.largest_block == count("decoder.0.") == count("decoder.1.") > count("encoder.0.")
    assert weights.outside == weights.all - count("encoder.", "decoder.")


def test_a_training_without_memory_is_refused_before_anything_is_built(monkeypatch):
    question, training = blank_question(SPECS, COUNTS), TrainingOptions()
    require_memory(OPTIONS, SPECS, question, training, 1)
    wide = OPTIONS.model_copy(update={"width": 2**16, "encoder_layers": 200})
    with pytest.raises(MemoryNeedError, match=r"needs at least .* GiB of memory for .* Choose a smaller model\.width"):
        require_memory(wide, SPECS, question, training, 1)
    monkeypatch.setattr("statecast.costs.memory.device_memory_gib", lambda: 0.1)
    with pytest.raises(MemoryNeedError, match=r"Lower training\.batch_size"):
        require_memory(OPTIONS, SPECS, question, TrainingOptions(batch_size=2**16), 1)


def test_the_least_that_a_training_needs_is_less_than_what_it_is_estimated_to_need():
    question, training = blank_question(SPECS, COUNTS), TrainingOptions(batch_size=1)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(MemoryNeedError) as caught:
        patch.setattr("statecast.costs.memory.device_memory_gib", lambda: 0.0)
        require_memory(OPTIONS, SPECS, question, training, 1)
    assert f"{Weights.of(StateModel(OPTIONS, SPECS)).all:,} weights" in str(caught.value)
