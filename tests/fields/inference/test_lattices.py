"""Answers that are averaged over token lattices. Axes: K head, E member, T time, V channel, H row, W column."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from statecast.answer import answer
from statecast.config import read_recipe
from statecast.fields.evaluation.cases import ask
from statecast.fields.inference import complete, forecast
from statecast.fields.inference.blocks import forecast_block
from statecast.fields.inference.lattices import SHIFTS, asked_on, on_lattices
from statecast.fields.inference.members import draw_members
from statecast.fields.sources import Grid, Record
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer, Place, sources_of, whole_window
from statecast.fields.tokenizers.windows import whole_domain
from statecast.models import ModelOptions
from statecast.trained import ModelError, TrainedModel, build

GLOBAL = Grid(np.linspace(-82.5, 82.5, 12), np.arange(24) * 15.0)
REGIONAL = Grid(np.linspace(30, 57.5, 12), np.linspace(100, 146, 24))
INIT, STEPS, MEMBERS = "2001-02-05T06", 8, 4


@pytest.fixture
def away(make_trained):
    """A model away from its start, whose answers differ from lattice to lattice."""

    def make(lattices: int, **task) -> TrainedModel:
        trained = make_trained(**task)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1)
            for parameter in trained.model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return asked_on(trained, lattices)

    return make


def on_a_grid(grid: Grid, patch: tuple[int, int, int], lattices: int, **window) -> TrainedModel:
    """A model of one channel; only where it is asked counts."""
    stream = Stream(variables=("msl",), patch=patch)
    recipe = {
        "data": {"store": "a.zarr", "train": ["2001", "2002"]},
        "streams": {"air": stream.model_dump()},
        "task": {"kind": "forecast"},
        "window": {"lattices": lattices, **window},
    }
    codec = FieldTokenizer(stream, SimpleNamespace(grid=grid))
    return TrainedModel(SimpleNamespace(flow=None, draws_states=False), {"air": codec}, read_recipe(recipe))


# Where the windows lie


@pytest.mark.parametrize("lattices", [2, 4])
@pytest.mark.parametrize("patch", [(1, 2, 2), (1, 3, 4), (1, 4, 3), (1, 6, 12)])
@pytest.mark.parametrize("grid", [GLOBAL, REGIONAL], ids=["global", "regional"])
def test_every_point_is_answered_and_its_weights_sum_to_one(grid, patch, lattices):
    trained = on_a_grid(grid, patch, lattices)
    windows = [window["air"] for window in on_lattices(trained, [{"air": whole_domain(grid, 0, 1)}])]
    total, count = np.zeros(grid.shape), np.zeros(grid.shape, int)
    for tile in windows:
        assert len(set(tile.columns)) == len(tile.columns) and all(
            n % p == 0 for n, p in zip(tile.weight.shape, patch[1:], strict=True)
        )
        total[tile.rows, tile.columns] += tile.weight
        count[tile.rows, tile.columns] += 1
    np.testing.assert_allclose(total, 1.0)
    assert (
        len(windows) == count.max() == lattices
        and count[patch[1] // 2 : -patch[1], patch[2] // 2 : -patch[2]].min() == lattices
    )
    assert (count[patch[1] // 2 : -patch[1]].min() == lattices) == grid.is_periodic  # columns go round the globe
    firsts = {(tile.rows.start % patch[1], int(tile.columns[0]) % patch[2]) for tile in windows}
    assert len(firsts) == lattices  # each has its borders elsewhere


def test_the_weight_falls_towards_the_edges_of_tokens():
    trained = on_a_grid(GLOBAL, (1, 4, 6), 4)
    plain, *_ = on_lattices(trained, [{"air": whole_domain(GLOBAL, 0, 1)}])
    token = plain["air"].weight[4:8, 6:12]
    edge = np.concatenate([token[[0, -1]].ravel(), token[:, [0, -1]].ravel()])
    assert token[1:3, 1:5].min() > 2 * edge.min() and token.max() == token[1:3, 2:4].max()


def test_neighbourhoods_stay_within_their_windows():
    """A shifted one is a token shorter along an axis that doesn't go round."""
    trained = on_a_grid(GLOBAL, (1, 2, 2), 4, extent=(6, 8))
    plain = {"air": Place(0, 1, slice(2, 8), np.arange(20, 28) % 24)}
    shapes = [window["air"].weight.shape for window in on_lattices(trained, [plain])]
    assert shapes == [(6, 8), (6, 6), (4, 8), (4, 6)]
    for window in on_lattices(trained, [plain]):
        assert set(window["air"].columns) <= set(plain["air"].columns) and window["air"].rows.start >= 2


@pytest.mark.parametrize("coarse", [GLOBAL, REGIONAL], ids=["another grid", "its grid"])
def test_streams_on_the_grid_of_an_asked_one_are_shifted_with_it_and_others_stay(coarse, capsys):
    """A finer grid is told of: its tokens have learned how they lie on the coarse one."""
    streams = {
        "coarse": Stream(variables=("msl",), patch=(1, 2, 2)),
        "fine": Stream(variables=("msl",), patch=(1, 2, 2), first_guess={"msl": "coarse.msl"}),
    }
    grids = {"coarse": coarse, "fine": REGIONAL}
    recipe = {
        "data": {"store": "a.zarr", "train": ["2001", "2002"]},
        "streams": {name: stream.model_dump() for name, stream in streams.items()},
        "task": {"kind": "translate", "to": ["fine"]},
    }
    codecs = {name: FieldTokenizer(stream, SimpleNamespace(grid=grids[name])) for name, stream in streams.items()}
    trained = asked_on(TrainedModel(SimpleNamespace(flow=None, draws_states=False), codecs, read_recipe(recipe)), 2)
    assert ("may have larger errors" in capsys.readouterr().err) == (coarse is GLOBAL)
    places = {name: whole_domain(grid, 0, 1) for name, grid in grids.items()}
    firsts = [
        {name: int(tile.columns[0]) for name, tile in window.items()} for window in on_lattices(trained, [places])
    ]
    assert firsts == [{"coarse": 0, "fine": 0}, {"coarse": 0 if coarse is GLOBAL else 1, "fine": 1}]


# What is averaged


@pytest.mark.parametrize("lattices", [2, 4])
def test_what_does_not_depend_on_the_tokens_stays(persistent, global_store, lattices):
    """Of damped persistence, at every point to the poles, after a roll-out too."""
    trained = persistent(history=1, leads=1)
    plain, averaged = (forecast(asked_on(trained, n), global_store, INIT, STEPS, 2) for n in (1, lattices))
    for name in ("t", "u", "msl"):
        np.testing.assert_allclose(averaged[name], plain[name], rtol=1e-4, atol=1e-4 * float(plain[name].std()))
    assert "comment" not in plain.attrs and str(lattices) in averaged.attrs["comment"]


@pytest.mark.parametrize("lattices", [2, 4])
def test_an_answer_is_the_average_of_those_on_each_lattice_alone(away, global_store, lattices):
    """By brute force: patches of six rows and columns are shifted by three, as slices of a field that is rolled."""
    trained = away(lattices, names=("air",), history=1, leads=1)
    records = {"air": Record.open(global_store, trained.codecs["air"].stream)}
    found = forecast_block(trained, trained.recipe.task, records, 3)["air"]
    ramp = np.sin(np.pi * (np.arange(6) + 0.5) / 6) ** 2
    total, weights = 0.0, 0.0
    for by_rows, by_columns in SHIFTS[lattices]:
        place = whole_domain(GLOBAL, 3, 4)
        rows = slice(3, 9) if by_rows else slice(0, 12)
        columns = np.roll(np.arange(24), -3 if by_columns else 0)
        window = {"air": sources_of(trained.codecs, records)["air"].at(replace(place, rows=rows, columns=columns))}
        question = trained.recipe.task.complete({"air": window["air"].tokens()})
        heads = np.sort(answer(trained, question)["air"], axis=0)
        asked = window["air"].from_step(2)
        fields, weight = np.zeros((4, 2, 4, 12, 24)), np.zeros((12, 24))
        fields[..., rows, columns] = trained.codecs["air"].to_anomalies(torch.from_numpy(heads), asked.place)
        weight[rows, columns] = np.outer(np.tile(ramp, (rows.stop - rows.start) // 6), np.tile(ramp, 4))
        total, weights = total + weight * fields, weights + weight
    np.testing.assert_allclose(found, total / weights, rtol=1e-4, atol=1e-4 * found.std())
    alone = forecast_block(asked_on(trained, 1), trained.recipe.task, records, 3)["air"]
    assert np.abs(found.mean(axis=0) - alone.mean(axis=0)).max() > 0.02 * alone.std()


@pytest.mark.parametrize("lattices", [1, 2, 4])
def test_what_is_scored_is_what_a_forecast_writes(away, global_store, lattices):
    trained = away(lattices, history=1, leads=2)
    records = {name: Record.open(global_store, codec.stream) for name, codec in trained.codecs.items()}
    start = list(global_store.time.values).index(np.datetime64(INIT)) - 1
    blocks = forecast_block(trained, trained.recipe.task, records, start)
    written = forecast(trained, global_store, INIT, 4, MEMBERS)
    for name, variable in (("air", "u"), ("surface", "msl")):
        record, codec = records[name], trained.codecs[name]
        hours = record.hours[:6][2:]  # of the records of a forecast, which begin with its history
        anomalies = draw_members(blocks[name], MEMBERS, record.grid, hours)
        fields = codec.to_fields(anomalies, codec.climatology_at(record, whole_domain(record.grid, start + 2, 4)))
        scored = fields[:, :, [c.variable == variable for c in record.channels]]
        found = written[variable].isel(init_time=0).values.reshape(scored.shape)
        np.testing.assert_allclose(found, scored, rtol=1e-4, atol=1e-3 * scored.std())


FILL = {"kind": "fill", "slabs": 1, "hidden": 0.5, "slab_h": 12.0}


@pytest.mark.parametrize("lattices", [1, 2, 4])
def test_what_is_scored_is_what_fills_the_gaps(away, make_store, lattices, capsys):
    """The points that evaluation hides are missing in the store that is filled. Tokens that are visible in part are told of."""
    trained = away(1, names=("air",))
    trained = asked_on(replace(trained, recipe=read_recipe(trained.recipe.as_dict() | {"task": FILL})), lattices)
    assert ("visible in part" in capsys.readouterr().err) == (lattices > 1)
    codec, steps = trained.codecs["air"], trained.recipe.window_steps
    store = make_store(steps=steps).isel(level=[0, 2])
    streams = whole_window(sources_of(trained.codecs, {"air": Record.open(store, codec.stream)}), 0, steps)
    cases, answers = ask({"model": trained}, streams)
    heads, asked = answers["air"]["model"], cases["air"].asked
    gappy = store[["t", "u"]].copy(deep=True)
    for number, channel in enumerate(streams["air"].record.channels):
        at = {"level": channel.pressure_hpa}
        gappy[channel.variable].loc[at] = gappy[channel.variable].sel(at).where(~asked[:, number])
    period = tuple(str(time)[:19] for time in store.time.values[[0, -1]])
    written = complete(trained, {"air": gappy}, period, MEMBERS)
    anomalies = draw_members(heads - cases["air"].climatology, MEMBERS, GLOBAL, streams["air"].record.hours[:steps])
    for number, channel in enumerate(streams["air"].record.channels):
        found = written[channel.variable].sel(level=channel.pressure_hpa).values
        expected = (anomalies + cases["air"].climatology)[:, :, number]
        hidden = asked[:, number]
        assert hidden.any() and not hidden.all()
        np.testing.assert_allclose(found[:, hidden], expected[:, hidden], rtol=1e-4, atol=0.02)


# What is refused


@pytest.mark.parametrize("lattices", [0, 3, -1, 8])
def test_another_number_of_lattices_is_refused(make_trained, lattices):
    with pytest.raises(ModelError, match=rf"lattices is {lattices}, expected 1, 2 or 4\."):
        asked_on(make_trained(), lattices)


@pytest.mark.parametrize(
    ("patch", "lattices", "words"),
    [
        ((2, 2, 1), 2, "has one column"),
        ((2, 1, 2), 4, "has one row"),
        ((2, 12, 2), 4, "has the rows of one"),
        ((2, 2, 24), 2, "has the columns of one"),
    ],
)
def test_tokens_that_can_not_be_shifted_are_refused_in_one_line(patch, lattices, words):
    with pytest.raises(ModelError, match=words) as refused:
        asked_on(on_a_grid(GLOBAL, patch, 1), lattices)
    assert "\n" not in str(refused.value) and "Ask on one lattice." in str(refused.value)


def test_two_lattices_shift_columns_alone():
    assert asked_on(on_a_grid(GLOBAL, (2, 1, 2), 1), 2).recipe.window.lattices == 2


def test_states_that_a_flow_head_draws_are_not_averaged(make_trained):
    trained = make_trained()
    options = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=4, head="flow")
    with pytest.raises(ModelError, match="draws states"):
        asked_on(replace(trained, model=build(options, trained.codecs, 0)), 4)
