"""A model that is not told the calendar: in training and wherever it is asked, its answer knows no hour and no season."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import statecast as sc
from statecast.axes import column_names
from statecast.fields.tokenizers.first_guess import CALENDAR, without_calendar
from statecast.fields.verbs import explain
from statecast.streams import stack_questions
from statecast.tasks import Interpolate

TRAINING = {"steps": 1, "batch_size": 2, "validation_samples": 2, "footprint": False}
HIDDEN = {"window": {"hide_calendar": True}}


@pytest.fixture(scope="module")
def models(runs, tmp_path_factory) -> dict[str, sc.TrainedModel]:
    """By task, without the calendar."""
    folder = tmp_path_factory.mktemp("hidden")
    masked = runs.recipe | HIDDEN | {"training": TRAINING}
    forecast = masked | {"task": {"kind": "forecast", "history": 1, "leads": 1}}
    trained = sc.pretrain(masked, folder / "masked", progress=False)
    interpolate = trained.recipe.model_copy(update={"task": Interpolate()})
    return {
        "masked": trained,
        "interpolate": replace(trained, recipe=interpolate),
        "forecast": sc.pretrain(forecast, folder / "forecast", progress=False),
    }


def question(trained, source, *, hidden: bool, hours: float = 0.0):
    """Of the first window, as if it were some hours later in the year."""
    window = {}
    for name, tokens in source.cases()[0].items():
        coords = tokens.coords.clone()
        for column, per_hour, period in (
            ("hour_utc", 1.0, 24.0),
            ("solar_time_rad", np.pi / 12, 2 * np.pi),
            ("year_fraction", 1 / 8766, 1.0),
        ):
            c = column_names(tokens.spec.axes).index(column)
            coords[:, c] = (coords[:, c] + hours * per_hour) % period
        moved = replace(tokens, coords=coords)
        window[name] = without_calendar(moved) if hidden else moved
    return stack_questions([trained.recipe.task.complete(window, 0)])


@torch.no_grad()
def test_the_answer_is_independent_of_hour_and_season_to_the_bit(models):
    trained = models["masked"]
    recipe = trained.recipe.model_copy(
        update={"window": trained.recipe.window.model_copy(update={"hide_calendar": False})}
    )
    source = trained.domain.open(recipe, "train", trained.codecs)
    for hidden in (True, False):
        asked = (question(trained, source, hidden=hidden, hours=hours) for hours in (0.0, 1500.0))
        now, later = (trained.model.answer(each)["fields"].members for each in asked)
        assert now.isfinite().all() and torch.equal(now, later) == hidden


def test_windows_lack_the_calendar_and_keep_the_order_of_their_steps(models):
    trained = models["masked"]
    tokens = trained.domain.open(trained.recipe, "train", trained.codecs).draw(np.random.default_rng(0))["fields"]
    assert tokens.partial == CALENDAR
    for column in column_names(tokens.spec.axes):
        assert tokens.coordinate(column).isnan().all() == (column in CALENDAR), column
    assert len(tokens.coordinate("offset_h").unique()) == 2


def with_a_gap(store: str) -> xr.Dataset:
    """The store without the first variable at some places."""
    return xr.open_zarr(store, consolidated=False).where(lambda fields: (fields.lat < 0) | (fields.lon > 90))


FILLED, EMBEDDED, VERIFIED = ("2000-02-10", "2000-02-12"), ("2000-02-10", "2000-02-11"), ("2000-02-10", "2000-02-16")
POINT = {"at": "2000-02-12T00", "query": (30.0, 45.0, "t@500")}
VERBS = {
    "evaluate": (
        "masked",
        lambda model, runs, out: sc.evaluate(model, runs.store, VERIFIED, out, progress=False, report=False),
    ),
    "evaluate a forecast": (
        "forecast",
        lambda model, runs, out: sc.evaluate(
            model, runs.store, VERIFIED, out, progress=False, report=False, every_h=96.0
        ),
    ),
    "evaluate an interpolation": (
        "interpolate",
        lambda model, runs, out: sc.evaluate(
            model, runs.store, VERIFIED, out, progress=False, report=False, every_h=96.0
        ),
    ),
    "predict": ("forecast", lambda model, runs, out: sc.predict(model, runs.store, "2000-02-12T00", 4)),
    "complete": ("masked", lambda model, runs, out: sc.complete(model, with_a_gap(runs.store), FILLED, progress=False)),
    "explain": ("forecast", lambda model, runs, out: explain(model, runs.store, **POINT)),
    "embed": ("masked", lambda model, runs, out: sc.embed(model, runs.store, EMBEDDED)),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_shows_the_calendar_to_a_model_that_never_saw_it(verb, models, runs, tmp_path):
    task, run = VERBS[verb]
    trained = models[task]
    seen = []
    hook = trained.model.coordinates.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    try:
        run(trained, runs, tmp_path / "out")
    finally:
        hook.remove()
    columns = column_names(trained.model.axes)
    assert seen
    for coords in seen:
        for column in CALENDAR:
            assert coords[..., columns.index(column)].isnan().all(), column
        assert coords[..., columns.index("offset_h")].isfinite().all()


def test_a_label_may_be_visible_beside_fields_without_the_calendar(runs, tmp_path):
    """The offset in the window stays, so the fields lack no axis that attention measures; the label lacks all of them."""
    with xr.open_zarr(runs.store, consolidated=False) as store:
        times = store.indexes["time"]
    names = np.where(np.arange(len(times)) % 3, "dry", "wet")
    pd.DataFrame({"time": times, "weather": names}).to_csv(tmp_path / "labels.csv", index=False)
    label = {"labels": str(tmp_path / "labels.csv"), "column": "weather"}
    fields = {"variables": ["t"], "levels": [500, 850], "levels_share_token": False, "patch": [2, 2, 2]}
    recipe = runs.recipe | HIDDEN | {"training": TRAINING, "streams": {"fields": fields, "label": label}}
    trained = sc.pretrain(recipe, tmp_path / "run", progress=False)
    source = trained.domain.open(trained.recipe, "train", trained.codecs)
    question = stack_questions([trained.recipe.task.complete(source.cases()[0], 0)])
    assert "label" in question.context
    assert len(trained.model.partly_present(question.context)) == 1
    with torch.no_grad():
        assert trained.model.answer(question)["fields"].members.isfinite().all()
