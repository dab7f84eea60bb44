"""A roll-out in tokens, of all members as one batch, is that of each member by itself on the grid. Axes: E member, T V H W; K head, N P."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from statecast.answer import answer
from statecast.fields.inference import forecast, rollout
from statecast.fields.inference.lattices import on_lattices
from statecast.fields.inference.members import draw_member
from statecast.fields.inference.neighbourhoods import model_windows, slab_depth, tiled_places
from statecast.fields.inference.rollout import APART_H, rolled_out
from statecast.fields.inference.tiles import blend
from statecast.fields.recipe import WindowOptions
from statecast.fields.sources import Grid, Record
from statecast.fields.tokenizers import Place, located, read_window, sources_of
from statecast.fields.tokenizers.windows import whole_domain

BLOCKS, MEMBERS, INIT = 3, 3, "2001-02-05T06"


@pytest.fixture
def outspoken(make_trained):
    """A model away from its start, whose answers depend on all that is visible; nothing is usual at one point of one channel."""

    def make(extent=None, lattices=1, **task):
        trained = make_trained(**task)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1)
            for parameter in trained.model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        next(iter(trained.codecs.values())).climatology.mean[:, :, 1, 3, 4] = np.nan
        recipe = trained.recipe.model_copy(update={"window": WindowOptions(extent=extent, lattices=lattices)})
        return replace(trained, recipe=recipe)

    return make


@pytest.fixture
def records_of(global_store):
    """The streams of a model over the steps of a roll-out: of the steps ahead only the times are there."""

    def make(trained) -> dict[str, Record]:
        task, depth = trained.recipe.task, slab_depth(trained)
        history, steps = task.history * depth, (task.history + task.leads * BLOCKS) * depth
        store = global_store.isel(time=slice(0, steps))
        known = store.where(store.time < store.time[history]).assign(lsm=store.lsm)
        return {name: Record.open(known, codec.stream) for name, codec in trained.codecs.items()}

    return make


def block_of_a_member(trained, records, known, first: int, member: int) -> dict[str, np.ndarray]:
    """What a member continues with (T V H W): asked place by place, drawn on each place's own grid, blended."""
    task, depth = trained.recipe.task, slab_depth(trained)
    history, steps = task.history * depth, task.window_slabs * depth
    windows = on_lattices(trained, tiled_places(model_windows(trained), first, steps))
    parts = {name: [] for name in records}
    for window in windows:
        places = {name: tile.place(first, steps) for name, tile in window.items()}
        question = task.complete(read_window(located(sources_of(trained.codecs, records), places)))
        context = {}
        for name, tokens in question.context.items():
            here = known[name][first:, :, places[name].rows][..., places[name].columns]
            values = trained.codecs[name].from_anomalies(here)
            context[name] = replace(tokens, values=values.nan_to_num(), observed=values.isfinite())
        for name, heads in answer(trained, replace(question, context=context)).items():
            place, record, codec = places[name], records[name], trained.codecs[name]
            ahead = Place(first + history, place.steps - history, place.rows, place.columns)
            fields = np.where(
                np.isfinite(codec.climatology_at(record, ahead)), codec.to_anomalies(heads, ahead), np.nan
            )
            hours = record.hours[first + history : first + place.steps] + APART_H * first
            grid = Grid(record.grid.lat[place.rows], record.grid.lon[place.columns])
            parts[name].append(draw_member(fields, member, grid, hours))
    blended = {}
    for name, fields in parts.items():
        placed = [window[name] for window in windows]
        blended[name] = blend(zip(placed, fields, strict=True), records[name].grid.shape)
    return blended


def on_the_grid(trained, records, blocks: int) -> dict[str, np.ndarray]:
    """The roll-out as it is without batches: each member goes tokens -> grid -> tokens at every block."""
    task, depth = trained.recipe.task, slab_depth(trained)
    history, members = task.history * depth, {name: [] for name in records}
    for member in range(MEMBERS):
        known = {}
        for name, record in records.items():
            known[name] = trained.codecs[name].anomalies(record, whole_domain(record.grid, 0, history))
        for block in range(blocks):
            for name, fields in block_of_a_member(trained, records, known, block * task.leads * depth, member).items():
                known[name] = np.concatenate([known[name], fields])
        for name, fields in known.items():
            members[name].append(fields[history:])
    return {name: np.stack(fields) for name, fields in members.items()}


@pytest.mark.parametrize("blocks", [1, BLOCKS])
@pytest.mark.parametrize(
    ("extent", "lattices"), [(None, 1), ((6, 12), 1), (None, 2), (None, 4)], ids=["whole", "tiles", "two", "four"]
)
@pytest.mark.parametrize(("history", "leads", "name"), [(1, 2, "air"), (3, 1, "air"), (2, 1, "by_level")])
def test_members_are_those_that_are_drawn_one_by_one_on_the_grid(
    outspoken, records_of, history, leads, name, extent, lattices, blocks
):
    """Streams of different depth, values missing in the history, and a point that is never observed."""
    trained = outspoken(extent, lattices, names=(name, "surface"), history=history, leads=leads)
    records = records_of(trained)
    found = rolled_out(trained, trained.recipe.task, records, blocks, MEMBERS)
    expected = on_the_grid(trained, records, blocks)
    for stream, codec in trained.codecs.items():
        scale = codec.climatology.anomaly_std[:, None, None]
        np.testing.assert_allclose(found[stream] / scale, expected[stream] / scale, rtol=0, atol=2e-5)
        assert np.nan_to_num(found[stream] / scale).std(axis=0).mean() > 0.1  # members differ
    assert np.isnan(found[name][:, :, 1, 3, 4]).all() and np.isnan(found[name]).mean() < 0.01


def test_members_in_several_batches_are_those_of_one(outspoken, global_store, monkeypatch):
    trained = outspoken(history=1, leads=2)
    at_once = forecast(trained, global_store, INIT, 8, 5)
    for values in (1, 2**14):  # one member at a time, and a few
        monkeypatch.setattr(rollout, "VALUES_AT_ONCE", values)
        in_turns = forecast(trained, global_store, INIT, 8, 5)
        for name in ("t", "u", "msl"):
            scale = float(at_once[name].std())
            np.testing.assert_allclose(in_turns[name], at_once[name], rtol=0, atol=2e-5 * scale)


def test_a_batch_asks_the_model_once_a_block(outspoken, global_store, monkeypatch):
    """The first block, which all members share, as one sample; every later one as all members."""
    trained = outspoken(history=1, leads=2)
    asked, ask = [], trained.model.answer

    def counting(question):
        asked.append(len(question.context["air"].values))
        return ask(question)

    monkeypatch.setattr(trained.model, "answer", counting)
    forecast(trained, global_store, INIT, 12, 5)
    assert asked == [1, 5, 5]
