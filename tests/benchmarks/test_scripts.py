"""Parts of the benchmarks that their smoke runs don't show, and how the scripts hang together."""

import ast
import itertools
import json
import operator
import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LIBRARIES = {"atmorep", "jet_peers", "networks", "rain", "shared", "unet"}
FILES = sorted(BENCHMARKS.glob("*.py"))


def imported_by(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_script_is_imported_and_libraries_are_no_scripts(path):
    scripts = {file.stem for file in FILES} - LIBRARIES
    assert not imported_by(path) & scripts
    assert ("__main__" in path.read_text()) == (path.stem in scripts)


def test_libraries_are_imported():
    everything = set().union(*map(imported_by, FILES))
    assert everything >= LIBRARIES


def test_runs_go_to_processes_of_their_own_and_come_back_in_order(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # it sets it, for good
    import scaling
    import shared
    import transfer

    *powers, process = shared.in_parallel(operator.call, [*(partial(pow, 2, n) for n in range(5)), os.getpid], 2)
    assert powers == [1, 2, 4, 8, 16] and process != os.getpid()
    sweep, study = transfer.Sweep(tmp_path, 2, 2), scaling.small_study(tmp_path)
    for work in (partial(transfer.result_of, sweep), partial(scaling.result_of, study)):
        assert pickle.loads(pickle.dumps(work)).args == work.args


def test_a_study_of_other_axes_and_seeds_leaves_the_runs_of_the_same_settings_in_the_file(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from scaling import others_kept

    def results(teraflop: float, *runs: tuple[str, int, float]) -> dict:
        rows = [
            {"seed": seed, "learning_rate": 1e-3, "size": size, "forecast": score, "cpu_s": 1.0}
            for size, seed, score in runs
        ]
        return {"settings": {"teraflop": teraflop, "default": {"size": "M"}}, "runs": rows}

    file = tmp_path / "scaling.json"
    found = results(0.5, ("M", 0, 0.3), ("S", 1, 0.5))
    assert others_kept(file, found) == []
    file.write_text(json.dumps(results(0.5, ("M", 0, 0.2), ("S", 0, 0.4))))
    assert [(row["size"], row["seed"], row["forecast"]) for row in others_kept(file, found)] == [("S", 0, 0.4)]
    file.write_text(json.dumps(results(2.0, ("S", 0, 0.4))))
    assert others_kept(file, found) == []


def test_scores_of_another_store_patch_or_scale_lie_apart(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from skill import folder_of

    stores = [tmp_path / "a" / "era5.zarr", tmp_path / "b" / "era5.zarr"]
    for store in stores:
        store.mkdir(parents=True)
    options = [("sample:atmosphere", 4, 1.0), ("sample:atmosphere", 3, 1.0), ("sample:atmosphere", 4, 0.5)]
    options += [(str(store), 4, 1.0) for store in stores]
    folders = [folder_of(*each, tmp_path) for each in options]
    assert len(set(folders)) == len(options) and all(folder.parent == tmp_path for folder in folders)
    monkeypatch.chdir(tmp_path)
    assert folder_of("a/era5.zarr", 4, 1.0, tmp_path) == folders[3]


def test_a_step_is_refused_that_became_15_percent_slower_than_the_recorded_ratio(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from regression import KINDS, RECORDED, slower

    recorded = json.loads(RECORDED.read_text())["ratios"]
    assert set(recorded) == set(KINDS)
    assert slower({kind: 1.14 * ratio for kind, ratio in recorded.items()}, recorded) == []
    (line,) = slower(recorded | {"flow": 1.16 * recorded["flow"]}, recorded)
    assert line.startswith("flow: a step takes") and "--record" in line


def test_the_time_to_a_skill_is_linear_between_readings_and_counts_when_it_is_kept(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from cost_to_skill import seconds_to

    readings = [{"seconds": float(n), "skill": skill} for n, skill in enumerate((1.0, 0.6, 0.7, 0.5))]
    assert seconds_to(readings, 0.6) == pytest.approx(2.5)
    assert seconds_to(readings, 0.8) == pytest.approx(0.5)
    assert seconds_to(readings, 1.0) == 0 and seconds_to(readings, 0.4) == float("inf")


def test_the_statistical_loss_of_atmorep_has_its_closed_form_and_falls_as_the_ensemble_nears_the_truth(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import torch

    from atmorep import statistical_loss

    members = torch.tensor([[-1.0], [1.0]])  # of mean 0 and deviation sqrt 2
    density = np.exp(-(2.0**2) / 4)
    expected = (1 - density) ** 2 + 2**0.25 + (9 + 1) / 2
    assert statistical_loss(members, torch.tensor([2.0])).item() == pytest.approx(expected)
    assert statistical_loss(members, torch.tensor([0.5])) < statistical_loss(members, torch.tensor([2.0]))


def row(forecast: str, value: float, variable: str = "t2m", lead: float | None = 24.0) -> dict:
    return {
        "task": "forecast",
        "forecast": forecast,
        "lead_time_h": lead,
        "variable": variable,
        "level_hpa": None,
        "metric": "rmse",
        "value": value,
    }


def test_ratios_are_means_over_channels_of_a_score_over_that_of_each_baseline(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from shared import mean_ratios, worst_ratio

    rows = [row("model", 1.0), row("persistence", 2.0), row("model", 3.0, "msl"), row("persistence", 4.0, "msl")]
    rows += [row("model", 9.0, "tp"), row("persistence", 0.0, "tp"), row("model", 5.0, lead=6.0)]
    rows += [row("model", 7.0) | {"metric": "crps"}]
    found = mean_ratios(rows, "rmse")
    assert found["forecast", "model", 24.0, "persistence"] == (1 / 2 + 3 / 4) / 2
    assert found["forecast", "persistence", 24.0, "persistence"] == 1
    assert not [key for key in found if key[2] == 6.0]
    assert worst_ratio(rows[:4], "forecast", 24.0, "persistence") == (0.75, "msl@None")


def test_a_result_that_is_kept_is_not_made_again_and_a_failed_one_is_not_kept(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from shared import kept

    path = tmp_path / "a" / "found.json"
    with pytest.raises(ZeroDivisionError):
        kept(path, lambda: 1 / 0)
    assert not path.exists()
    assert kept(path, lambda: [{"x": 1}]) == [{"x": 1}]
    assert kept(path, lambda: 1 / 0) == [{"x": 1}]
    assert [file.name for file in path.parent.iterdir()] == ["found.json"]


@pytest.mark.parametrize(("lon", "offset"), [(170.0, 20.0), (-170.0, 0.0), (0.0, -170.0)])
def test_the_centre_of_a_weight_is_told_from_a_point_the_short_way_round(monkeypatch, lon, offset):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import xarray as xr

    from shared import centre_offset_deg

    weight = xr.DataArray([[0.0, 0.0, 3.0]], {"lat": [0.0], "lon": [0.0, 90.0, 190.0]}, ("lat", "lon"))
    assert centre_offset_deg(weight, lon) == pytest.approx(offset)


def test_the_interval_over_seeds_is_that_of_students_distribution(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import numpy as np
    from scipy.stats import ttest_1samp

    from jets import over_seeds

    values = np.array([0.010, 0.014, 0.006, 0.011, 0.009])
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert over_seeds(values) == pytest.approx([expected.low, expected.high], abs=1e-5)
    assert over_seeds(values[:1]) is None


def test_seeds_of_up_to_1000_labels_share_no_jet_and_none_is_held_out(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from jets import Plan

    plan = Plan(tmp_path, seeds=(0, 1, 2, 3, 4), labels=(100, 1000, 10_000), rates=(1e-3,))
    spans = [plan.labelled(1000, seed) for seed in plan.seeds]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))
    for labels in plan.labels:
        first, last = plan.labelled(labels, plan.seeds[-1])
        assert last - first + 1 == labels and plan.train[0] <= first and last <= plan.train[1]


def test_what_peers_are_shown_sums_to_the_jet_and_turns_about_its_axis(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import numpy as np
    import torch

    from jet_peers import Clouds, random_turns
    from statecast.particles.jets import momentum_components, summed_momentum
    from statecast.particles.sources.files import read_jets

    jets = read_jets("sample:jets", 0, 20)
    clouds = Clouds.of(jets, np.arange(20) % 2)
    batch = clouds.batch(torch.arange(20))
    assert batch.is_particle.sum(dim=1).tolist() == jets.multiplicity.tolist()
    px, py, pz, energy = momentum_components(summed_momentum(jets))
    summed = batch.momenta.sum(dim=1).numpy()
    np.testing.assert_allclose(summed, np.stack([energy, px, py, pz], axis=1), rtol=1e-4, atol=0.05)
    assert not batch.features[~batch.is_particle].any()

    turns = random_turns(20, torch.Generator().manual_seed(0))
    turned = clouds.batch(torch.arange(20), turns)
    assert set(torch.linalg.det(turns).round().tolist()) == {-1.0, 1.0}
    before, after = (one.features[..., -2:] for one in (batch, turned))
    assert not torch.allclose(before, after, atol=0.01)
    torch.testing.assert_close(torch.cdist(before, before), torch.cdist(after, after), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1))
    torch.testing.assert_close(batch.features[..., [0, 2]], turned.features[..., [0, 2]])
    assert torch.equal(batch.features[..., 5:11], turned.features[..., 5:11])


def test_a_peer_is_trained_for_its_time_and_keeps_its_best_weights(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import numpy as np
    import torch

    from jet_peers import Clouds, cross_entropy, train
    from statecast.particles.sources.files import read_jets

    class Mean(torch.nn.Module):
        """A linear map of the mean features."""

        def __init__(self) -> None:
            super().__init__()
            self.map = torch.nn.Linear(13, 2)

        def forward(self, batch):
            return self.map(batch.features.mean(dim=1))

    jets = read_jets("sample:jets", 0, 80)
    clouds = Clouds.of(jets, (jets.labels == "Tbqq").astype(int))
    torch.manual_seed(0)
    model = Mean()
    untrained = cross_entropy(model, clouds)
    found = train(model, clouds, clouds, 0.3, 3e-2, seed=0)
    assert found.steps > 1 and 0.3 <= found.cpu_s < 3
    assert found.validation < untrained and cross_entropy(model, clouds) == pytest.approx(found.validation)
    assert np.isfinite(found.validation)


@pytest.mark.parametrize("name", ["part", "lgatr", "pet"])
def test_padding_does_not_change_the_answer_of_a_peer(name, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import torch

    from jet_peers import PEERS, Clouds
    from statecast.particles.sources.files import read_jets

    pytest.importorskip(PEERS[name].module)
    jets = read_jets("sample:jets", 0, 12)
    clouds = Clouds.of(jets, (jets.labels == "Tbqq").astype(int))
    longest = int(jets.multiplicity.argmax())
    shortest = int(jets.multiplicity.argmin())
    torch.manual_seed(0)
    model = PEERS[name].make(**PEERS[name].sizes["small"]).eval()
    with torch.inference_mode():
        alone = model(clouds.batch(torch.tensor([shortest])))
        beside = model(clouds.batch(torch.tensor([shortest, longest])))
    torch.testing.assert_close(alone[0], beside[0], atol=1e-4, rtol=1e-3)


def test_the_decorrelation_time_is_that_of_an_autoregression(monkeypatch):  # (1 + r) / (1 - r)
    monkeypatch.syspath_prepend(BENCHMARKS)
    from rain import decorrelation

    noise = np.random.default_rng(0).standard_normal(100_000)
    series = np.zeros_like(noise)
    for step in range(1, len(noise)):
        series[step] = 0.8 * series[step - 1] + noise[step]
    assert decorrelation(series) == pytest.approx(9, rel=0.1)
    assert decorrelation(noise) == pytest.approx(1, abs=0.1)


def test_scores_of_probabilities_have_their_closed_forms(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from rain import brier_scores, hits, log_scores

    said, truth = np.array([[1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0], [0.5, 0.3, 0.2]]), np.array([2, 0, 1])
    assert log_scores(said, truth) == pytest.approx([np.log(3), 0, -np.log(0.3)])
    assert brier_scores(said, truth) == pytest.approx([2 / 3, 0, 0.25 + 0.49 + 0.04])
    assert hits(said, truth).tolist() == [0, 1, 0]


def test_terciles_of_rain_are_those_of_the_training_period_and_a_label_is_of_the_four_steps_after_its_window(
    monkeypatch,
):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import pandas as pd

    from rain import CLASSES, classified
    from shared import WHOLE

    times = pd.date_range("2000-01-01T06", "2001-02-28T18", freq="6h")
    index = pd.Series(np.random.default_rng(0).standard_normal(len(times)), times)
    other = index.where(times < "2000-12-21", 5.0)  # all later days wet
    train, held_out = slice("2000-01-01", "2000-12-20"), slice("2001-01-01", "2001-02-28")
    assert classified(index, WHOLE)[train].equals(classified(other, WHOLE)[train])
    assert set(classified(other, WHOLE)[held_out]) == {"wet"}
    shares = classified(index, WHOLE)[train].value_counts(normalize=True)
    assert shares.to_list() == pytest.approx([1 / 3] * 3, abs=1e-3)
    last = pd.Timestamp("2000-06-01T12")
    coming = index[last + pd.Timedelta("6h") : last + pd.Timedelta("24h")]
    assert len(coming) == 4
    of_extremes = [classified(index.where(~times.isin(coming.index), value), WHOLE)[last] for value in (-9.0, 9.0)]
    assert of_extremes == [CLASSES[0], CLASSES[2]]


def test_drawn_labels_are_the_same_for_a_seed_and_hold_each_class(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from rain import ALL, CLASSES, REGIONS, drawn, parts_of
    from shared import WHOLE

    parts = parts_of(WHOLE)
    assert parts.stop.index[-1] < parts.learn.index[0] < parts.learn.index[-1] < parts.held_out.index[0]
    assert drawn(parts, ALL, 0) is parts
    for seed in range(5):
        few = drawn(parts, 10, seed)
        assert (len(few.stop), len(few.learn)) == (2, 8) and few.held_out is parts.held_out
        assert few.known.equals(drawn(parts, 10, seed).known) and not few.known.equals(drawn(parts, 10, seed + 1).known)
        assert all(set(few.learn[region]) == set(CLASSES) for region in REGIONS)


def test_a_regression_finds_the_component_that_matters_and_a_class_it_lacks_is_not_impossible(monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(BENCHMARKS)
    from labels import Study, chosen_by_folds, regression

    random = np.random.default_rng(0)
    features = random.standard_normal((200, 40))
    codes = np.digitize(features[:, 5], [-0.5, 0.5])
    count, penalty = chosen_by_folds(Study(Path("nowhere")), features, codes)
    assert count == 10 and penalty == 1.0  # 3 lack it, 30 hold more that says nothing
    said = regression(features[codes > 0], codes[codes > 0], features, 1.0)
    assert said.sum(axis=1) == pytest.approx(1) and (said > 0).all()
    assert said[:, 0] == pytest.approx(1 / ((codes > 0).sum() + 3))
    alone = regression(features[codes == 1], codes[codes == 1], features[:2], 1.0)
    assert alone[0].argmax() == 1 and alone.sum(axis=1) == pytest.approx(1)
