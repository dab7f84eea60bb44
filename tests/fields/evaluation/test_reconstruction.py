"""Verification of masked reconstruction."""

import json

import numpy as np
import pytest
import torch

from statecast.evaluation import write_scores
from statecast.fields.evaluation import verify_reconstruction
from statecast.fields.evaluation.answers import asked_points, on_grid
from statecast.fields.evaluation.reconstruction import fold_time, masked_task, plain_mask, reconstruct
from statecast.fields.recipe import WindowOptions
from statecast.fields.sources import Record
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer, StreamSource
from statecast.trained import ModelError, TrainedModel, build


def test_each_share_is_verified_beside_climatology_and_interpolation(make_trained, held_out, tmp_path):
    trained, told = make_trained(kind="masked"), []
    found = verify_reconstruction(trained, held_out, hidden=(0.5, 0.9), every_h=1000, progress=told.append)
    assert [(v.forecast, v.task) for v in found] == [
        (name, task) for task in ("masked 50%", "masked 90%") for name in ("model", "climatology", "interpolation")
    ]
    assert told[-1] == 1.0 and told == sorted(told)
    write_scores(found, tmp_path)
    records = json.loads((tmp_path / "scores.json").read_text())
    assert all(r["lead_time_h"] is None for r in records) and {r["n"] for r in records} == {1}
    assert {r["forecast"] for r in records if r["metric"] == "rmse"} == {"model", "climatology", "interpolation"}


def test_climatology_of_noise_errs_by_its_spread(make_trained, held_out):
    found = verify_reconstruction(make_trained(kind="masked"), held_out, hidden=(0.75,), interpolation=False)
    assert [v.forecast for v in found] == ["model", "climatology"]
    assert found[1].value("rmse")[0, 0] == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_what_is_shown_stays_the_truth_and_the_share_is_hidden(make_trained, held_out, share):
    case = reconstruct(make_trained(kind="masked"), {"air": held_out}, 0, plain_mask(share, 3))["air"]
    shown = np.broadcast_to(~case.hidden, case.members.shape)
    truth = np.broadcast_to(case.truth, case.members.shape)
    np.testing.assert_array_equal(case.members[shown], truth[shown])
    assert case.hidden.mean() == pytest.approx(share, abs=0.03)
    assert case.members[~shown].std() > 0 and np.isfinite(case.members[~shown]).all()


@pytest.mark.parametrize("share_token", [True, False])
def test_answers_lie_on_the_grid_where_they_were_asked(make_trained, held_out, share_token):
    stream = Stream(variables=("t",), levels=(500, 850), patch=(2, 6, 6), levels_share_token=share_token)
    trained = make_trained(stream=stream, kind="masked")
    record, tokenizer = Record.open(held_out.dataset, stream), trained.codecs["air"]
    air = StreamSource(record, tokenizer).whole(0, 6)
    window = air.tokens()
    index = torch.tensor([7, 2, 11])
    anomalies = on_grid(air, window, window[index], window[index].values[None])
    asked = asked_points(air, window, window[index])
    truth = np.nan_to_num(record.read(slice(0, 6)) - air.climatology)
    np.testing.assert_allclose(anomalies[0][asked], truth[asked], rtol=1e-4, atol=1e-3)
    assert asked.sum() == 3 * tokenizer.values_per_token and not anomalies[0][~asked].any()
    verify_reconstruction(trained, record, hidden=(0.5,), every_h=1000)  # each level is hidden at places of its own


def test_folding_time_keeps_the_mean_over_space_and_time():
    fields = np.random.default_rng(0).standard_normal((5, 4, 3, 6, 8))
    folded = fold_time(fields)
    assert folded.shape == (5, 3, 24, 8)
    np.testing.assert_allclose(folded.mean(axis=(-1, -2)), fields.mean(axis=(1, 3, 4)))


def test_a_model_of_another_task_is_refused(make_trained, held_out):
    with pytest.raises(ModelError, match="expected masked: give the pre-trained model"):
        verify_reconstruction(make_trained(kind="forecast"), held_out)
    assert masked_task(make_trained(kind="masked", slabs=5)).slabs == 5


def test_of_several_streams_each_is_hidden_and_scored(make_trained, training, held_out):
    streams = {
        "air": Stream(variables=("t",), levels=(500,), patch=(2, 6, 6)),
        "sea": Stream(variables=("msl",), patch=(1, 6, 6)),
    }
    tokenizers = {n: FieldTokenizer.fit(s, Record.open(training.dataset, s)) for n, s in streams.items()}
    one = make_trained(kind="masked")
    both = TrainedModel(build(one.model.options, tokenizers, 0), tokenizers, one.recipe)
    records = {n: Record.open(held_out.dataset, stream) for n, stream in streams.items()}
    found = verify_reconstruction(both, records, hidden=(0.75,), every_h=1000, interpolation=False)
    assert [(v.forecast, v.task, len(v.labels("channel"))) for v in found] == [
        (name, f"masked 75% {stream}", 1) for stream in ("air", "sea") for name in ("model", "climatology")
    ]
    cases = reconstruct(both, records, 0, plain_mask(0.75, 3))
    assert all(case.hidden.mean() == pytest.approx(0.75, abs=0.05) for case in cases.values())


def with_extent(trained: TrainedModel, extent: tuple[int, int]) -> TrainedModel:
    recipe = trained.recipe.model_copy(update={"window": WindowOptions(extent=extent)})
    return TrainedModel(trained.model, trained.codecs, recipe)


def on_neighbourhoods(trained: TrainedModel) -> TrainedModel:
    return with_extent(trained, (6, 12))


def test_a_model_of_neighbourhoods_is_verified_on_one_at_each_start(make_trained, held_out):
    trained = on_neighbourhoods(make_trained(kind="masked"))
    cases = [reconstruct(trained, {"air": held_out}, start, plain_mask(0.5, 3))["air"] for start in range(8)]
    assert len({(case.located.place.rows.start, case.located.place.columns[0]) for case in cases}) > 4
    for start, case in enumerate(cases):
        place = case.located.place
        known = held_out.read(slice(start, start + 6))[..., place.rows, :][..., place.columns]
        np.testing.assert_array_equal(case.truth, known)
        assert case.truth.shape == (6, 3, 6, 12) and case.hidden.mean() == pytest.approx(0.5, abs=0.05)


def test_scores_of_a_neighbourhood_are_weighted_by_the_areas_of_its_own_cells(make_trained, held_out):
    trained = on_neighbourhoods(make_trained(kind="masked"))
    found = verify_reconstruction(trained, held_out, hidden=(0.5,), every_h=1000, interpolation=False)
    case = reconstruct(trained, {"air": held_out}, 0, plain_mask(0.5, 3))["air"]
    scored = case.hidden[:, 0] & np.isfinite(case.truth[:, 0])
    weight = (
        scored * np.cos(np.deg2rad(held_out.grid.lat[case.located.place.rows]))[:, None]
    )  # equal rows: area goes as cos(lat)
    squared = np.where(scored, (case.climatology[:, 0] - case.truth[:, 0]) ** 2, 0.0)
    expected = np.sqrt((weight * squared).sum() / weight.sum())
    assert found[1].value("rmse")[0, 0] == pytest.approx(expected, rel=1e-3)


def test_an_extent_of_the_whole_grid_is_verified_as_the_whole_to_the_bit(make_trained, held_out):
    trained = make_trained(kind="masked")
    wide = with_extent(trained, (12, 24))
    one, other = (reconstruct(t, {"air": held_out}, 3, plain_mask(0.5, 3))["air"] for t in (trained, wide))
    np.testing.assert_array_equal(one.members, other.members)
