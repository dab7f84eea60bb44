"""End to end: a small model learns to move the waves of `conftest.weather`; one that has not learned it, or is shown others, is of no use.

    t(lon, lat, h) = 250 + p / 50 + 10 cos(lat) sin(2 lon - h / 20)   K,  and noise of 0.1 K

One step is shown, so a point alone doesn't tell whether its wave rises or falls: that is in the points beside it, and in the weights that
know that waves travel eastwards.
"""

import copy

import numpy as np
import pytest
import torch

import statecast
from statecast.fields.sources import open_fields
from statecast.trained import TrainedModel, build

AMPLITUDE, PERIOD_H, NOISE = 10.0, 2 * np.pi * 20, 0.1
LEADS_H = np.array([6.0, 12.0, 18.0, 24.0])
MARGIN = 0.2  # of the better of persistence and climatology; a model of single points stays above 0.9


@pytest.fixture(scope="module")
def travelling(runs, tmp_path_factory) -> TrainedModel:
    recipe = runs.recipe | {
        "data": {"store": runs.store, "train": ["2000-01-01", "2000-01-31"]},
        "streams": {"fields": {"variables": ["t", "msl"], "levels": [500, 850], "patch": [1, 2, 2]}},
        "task": {"kind": "forecast", "history": 1, "leads": len(LEADS_H)},
        "training": {"steps": 200, "batch_size": 2, "footprint": False},
    }
    return statecast.pretrain(recipe, tmp_path_factory.mktemp("waves") / "run", progress=False)


@pytest.fixture
def rmse_of(runs, tmp_path):
    """The RMSE of a model and its baselines at each lead time, by variable and level."""

    def evaluate(trained, store=runs.store) -> dict[str, np.ndarray]:
        found = statecast.evaluate(
            trained, store, runs.held_out, tmp_path / "s", overwrite=True, every_h=24, progress=False, report=False
        )
        assert all(np.array_equal(v.labels("lead_time_h"), LEADS_H) for v in found.verifications)
        return {v.forecast: v.value("rmse") for v in found.verifications}

    return evaluate


def better_baseline(rmse: dict[str, np.ndarray]) -> np.ndarray:
    return np.minimum(rmse["persistence"], rmse["climatology"])


def test_a_trained_model_is_far_better_than_climatology_and_persistence_at_every_lead_time(travelling, rmse_of):
    rmse = rmse_of(travelling)
    assert rmse["model"].shape == (4, 3) and (rmse["model"] < MARGIN * better_baseline(rmse)).all(), rmse


def test_climatology_and_persistence_err_as_much_as_the_waves_say(travelling, rmse_of):
    """RMS over the sphere of 10 cos(lat) sin(..) and of 10 cos(lat) 2 sin(ω τ / 2) cos(..): <cos²(lat)> is 2 / 3."""
    rmse, rms = rmse_of(travelling), AMPLITUDE / np.sqrt(3)
    apart = 2 * np.sin(np.pi * LEADS_H / PERIOD_H)
    np.testing.assert_allclose(rmse["climatology"][:, 0], rms, rtol=0.02)
    np.testing.assert_allclose(rmse["persistence"][:, 0], np.hypot(rms * apart, np.sqrt(2) * NOISE), rtol=0.02)


def shuffled(model: torch.nn.Module) -> torch.nn.Module:
    """The weights of each map in another order."""
    model, order = copy.deepcopy(model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(weights.flatten()[torch.randperm(weights.numel(), generator=order)].view_as(weights))
    return model


@pytest.mark.parametrize("weights", ["untrained", "shuffled"])
def test_other_weights_are_hardly_better_than_persistence_and_climatology(travelling, rmse_of, weights):
    untrained = build(travelling.model.options, travelling.codecs, seed=1).eval()
    model = untrained if weights == "untrained" else shuffled(travelling.model)
    rmse = rmse_of(TrainedModel(model, travelling.codecs, travelling.recipe))
    assert (rmse["model"] > 0.8 * better_baseline(rmse)).all(), rmse


def test_waves_that_travel_westwards_are_moved_the_wrong_way(travelling, runs, rmse_of):
    """What it has learned is a direction: the answer to a mirrored history is off by twice the way that the waves went."""
    eastwards = open_fields(runs.store).load().drop_vars("nothing")
    rmse = rmse_of(travelling, eastwards.isel(lon=slice(None, None, -1)).assign_coords(lon=eastwards.lon))
    apart = 2 * np.sin(2 * np.pi * LEADS_H / PERIOD_H)
    np.testing.assert_allclose(rmse["model"][:, 0], AMPLITUDE / np.sqrt(3) * apart, rtol=0.1)


def test_a_forecast_of_three_days_by_roll_out_stays_on_the_wave(travelling, runs):
    """Three blocks, held against the wave itself and not by statecast's own scores."""
    found = statecast.predict(travelling, runs.store, "2000-02-20T00", 12).t.mean("number").isel(init_time=0)
    hours = (found.valid_time - np.datetime64("2000-01-01")) / np.timedelta64(1, "h")
    wave = np.sin(np.deg2rad(2 * found.lon) - hours / 20) * np.cos(np.deg2rad(found.lat))
    truth = 250 + found.level / 50 + AMPLITUDE * wave
    error = np.sqrt(((found - truth) ** 2).mean(("level", "lat", "lon")))
    assert float(error.max()) < 5 * NOISE, error.values
