"""Fields as tokens: exact inverses, and coordinates that know the globe."""

import numpy as np
import pytest
import torch

from statecast.fields.sources import Record, StoreError, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer, Place
from statecast.fields.tokenizers.fields import non_negative, solar_time_rad
from statecast.fields.tokenizers.windows import whole_domain

ACROSS_DATE_LINE = Place(4, 6, slice(3, 9), (np.arange(8) + 20) % 24)
AT_NORTH_POLE = Place(0, 2, slice(9, 12), np.arange(24))


def places(record):
    return [whole_domain(record.grid, 2, 8), ACROSS_DATE_LINE, AT_NORTH_POLE]


@pytest.fixture
def level_tokenizer(global_store):
    """A token for each of three levels, named in an order of their own."""
    stream = Stream(variables=("u", "t"), levels=(700, 850, 500), patch=(2, 3, 4), levels_share_token=False)
    record = Record.open(global_store, stream)
    return record, FieldTokenizer(stream, fit_climatology(record))


@pytest.mark.parametrize("kind", ["shared", "by level"])
@pytest.mark.parametrize("number", range(3), ids=["whole", "date line", "pole"])
def test_tokens_and_climatology_give_the_field_again(global_record, global_tokenizer, level_tokenizer, kind, number):
    record, tokenizer = (global_record, global_tokenizer) if kind == "shared" else level_tokenizer
    place = places(record)[number]
    tokens = tokenizer.tokenize(record, place)
    field = record.read(slice(place.start, place.start + place.steps), place.rows, place.columns)
    climatology = tokenizer.climatology_at(record, place)
    again = tokenizer.to_anomalies(tokens.values, place) + climatology
    seen = np.isfinite(field)
    rounding = 2 * np.finfo(np.float32).eps * (np.abs(field) + np.abs(climatology))
    assert 0 < (~seen).mean() < 0.2
    assert (np.abs(again - field) <= rounding)[seen].all()
    np.testing.assert_array_equal(again[~seen], climatology[~seen])  # 0 is climatology


@pytest.mark.parametrize("kind", ["shared", "by level"])
def test_from_anomalies_is_the_inverse_of_to_anomalies(global_record, global_tokenizer, level_tokenizer, kind):
    record, tokenizer = (global_record, global_tokenizer) if kind == "shared" else level_tokenizer
    for place in places(record):
        values = tokenizer.tokenize(record, place).values
        again = tokenizer.from_anomalies(tokenizer.to_anomalies(values, place))
        assert again.dtype == torch.float32
        torch.testing.assert_close(again, values, rtol=3e-7, atol=0)


def test_leading_axes_are_kept(global_record, global_tokenizer):
    place = whole_domain(global_record.grid, 0, 4)
    values = global_tokenizer.tokenize(global_record, place).values
    members = torch.stack([values, 2 * values]).expand(3, 2, *values.shape)
    fields = global_tokenizer.to_anomalies(members, place)
    assert fields.shape == (3, 2, 4, 5, 12, 24)
    np.testing.assert_array_equal(fields[2, 1], global_tokenizer.to_anomalies(2 * values, place))


def test_values_are_zero_and_unobserved_where_the_source_has_none(global_record, global_tokenizer):
    tokens = global_tokenizer.tokenize(global_record, whole_domain(global_record.grid, 0, 4))
    assert torch.isfinite(tokens.values).all()
    assert not tokens.values[~tokens.observed].any()
    assert (~tokens.observed).float().mean().item() == pytest.approx(0.1, abs=0.02)


def test_values_have_unit_variance(global_record, global_tokenizer):
    tokens = global_tokenizer.tokenize(global_record, whole_domain(global_record.grid, 0, 40))
    assert tokens.values[tokens.observed].std().item() == pytest.approx(1, abs=0.02)
    assert (
        tokens.values[tokens.observed].mean().abs().item() < 0.02
    )  # a mean of ten days holds for the middle of their month


def test_a_token_of_a_level_holds_the_variables_of_that_level(level_tokenizer):
    record, tokenizer = level_tokenizer
    place = whole_domain(record.grid, 0, 2)
    tokens = tokenizer.tokenize(record, place)
    assert tokenizer.groups == 3 and tokens.values.shape == (3 * 4 * 6, tokenizer.values_per_token)
    anomalies = tokenizer.to_anomalies(tokens.values, place)  # channels u@700 u@850 u@500 t@700 t@850 t@500
    per_level = tokens.values.reshape(3, 4, 6, 2, 2, 3, 4)
    std = tokenizer.climatology.anomaly_std
    for group, pressure in enumerate((700, 850, 500)):
        assert set(tokens.coordinate("pressure_hpa").reshape(3, -1)[group].round().tolist()) == {pressure}
        for variable, channel in enumerate((group, 3 + group)):
            expected = anomalies[:, channel, :3, :4] / std[channel]
            np.testing.assert_allclose(per_level[group, 0, 0, variable], expected, rtol=1e-6)


def test_coordinates_are_those_of_the_centre_of_the_token(global_record, global_tokenizer):
    tokens = global_tokenizer.tokenize(global_record, whole_domain(global_record.grid, 3, 4))
    grid = {name: tokens.coordinate(name).reshape(2, 4, 6) for name in ("latitude_deg", "longitude_deg", "offset_h")}
    np.testing.assert_allclose(grid["latitude_deg"][0, :, 0], [-67.5, -22.5, 22.5, 67.5])
    np.testing.assert_allclose(grid["longitude_deg"][1, 2], 22.5 + 60 * np.arange(6))
    np.testing.assert_allclose(grid["offset_h"][:, 1, 1], [3, 15])  # two steps of 6 h: 0 and 6, 12 and 18
    hour = tokens.coordinate("hour_utc").reshape(2, -1)[:, 0]
    np.testing.assert_allclose(hour, [21, 9])  # the record starts at midnight
    day = 29 + (3 + 0.5) / 4 + np.array([0, 0.5])
    np.testing.assert_allclose(tokens.coordinate("year_fraction").reshape(2, -1)[:, 0], day / 365, rtol=1e-6)
    sun = (np.array([21, 9])[:, None, None] / 12 + grid["longitude_deg"].numpy() / 180) * np.pi
    np.testing.assert_allclose(tokens.coordinate("solar_time_rad").reshape(2, 4, 6), sun, rtol=1e-6)
    np.testing.assert_allclose(
        tokens.weight.reshape(2, 4, 6)[1, :, 2], np.cos(np.deg2rad([-67.5, -22.5, 22.5, 67.5])), rtol=1e-6
    )
    assert set(tokens.coordinate("spacing_deg").tolist()) == {15.0}
    expected = (1013.25 * 850**2 * 500**2) ** (1 / 5)  # the geometric mean of what shares the token
    np.testing.assert_allclose(tokens.coordinate("pressure_hpa"), expected, rtol=1e-6)


def test_it_is_noon_where_the_sun_stands_highest():
    hour, longitude = torch.tensor([12.0, 0.0, 18.0]), torch.tensor([0.0, 180.0, -90.0])
    torch.testing.assert_close(solar_time_rad(hour, longitude), torch.full((3,), torch.pi))
    assert solar_time_rad(torch.tensor([23.0]), torch.tensor([350.0])).item() == pytest.approx(
        (23 / 24 + 350 / 360) * 2 * np.pi
    )


def test_the_weights_of_the_tokens_of_a_globe_are_as_the_areas_of_its_rows(global_record, global_tokenizer):
    """In the middle of a row of tokens: of tokens of 45 degrees within a tenth."""
    tokens = global_tokenizer.tokenize(global_record, whole_domain(global_record.grid, 0, 2))
    of_rows = global_record.grid.cell_area.sum(axis=1).reshape(4, 3).sum(axis=1)
    weight = tokens.weight.reshape(4, 6).sum(dim=1).numpy()
    np.testing.assert_allclose(weight / weight.sum(), of_rows / of_rows.sum(), rtol=0.1)


def test_longitudes_of_tokens_across_the_date_line_lie_between_their_columns(global_record, global_tokenizer):
    place = Place(0, 2, slice(0, 3), (np.arange(8) + 22) % 24)  # 330 345 | 0 15, then 30 45 60 75
    tokens = global_tokenizer.tokenize(global_record, place)
    lon = tokens.coordinate("longitude_deg")
    np.testing.assert_allclose(lon, [352.5, 52.5])
    turned = (np.arange(4) + 21) % 24  # 315 330 345 0
    across = global_tokenizer.tokenize(global_record, Place(0, 2, slice(0, 3), turned))
    np.testing.assert_allclose(across.coordinate("longitude_deg"), [337.5])


def test_longitudes_of_a_region_across_greenwich_are_0_to_360(make_store):
    dataset = open_fields(make_store(steps=40, lat=np.arange(40.0, 46), lon=np.arange(-6.0, 6) % 360))
    stream = Stream(variables=("msl",), patch=(1, 3, 4))
    record = Record.open(dataset, stream)
    tokens = FieldTokenizer(stream, fit_climatology(record)).tokenize(record, whole_domain(record.grid, 0, 1))
    np.testing.assert_allclose(tokens.coordinate("longitude_deg")[:3], [355.5, 359.5, 3.5])


def test_the_turn_of_the_year_is_between_its_days(make_store):
    stream = Stream(variables=("msl",), patch=(4, 12, 24))
    record = Record.open(open_fields(make_store(steps=40, start="2000-12-31T12")), stream)
    tokens = FieldTokenizer(stream, fit_climatology(record)).tokenize(record, whole_domain(record.grid, 0, 4))
    assert tokens.coordinate("hour_utc").item() == 21
    assert tokens.coordinate("year_fraction").item() == pytest.approx(1 - 3 / 24 / 366, abs=1e-5)


def test_a_patch_that_does_not_divide_the_window_is_refused(global_record, global_tokenizer):
    with pytest.raises(ValueError, match="2 does not divide the 3 time steps"):
        global_tokenizer.tokenize(global_record, whole_domain(global_record.grid, 0, 3))


def test_what_was_never_negative_in_training_is_never_answered_negative(make_store):
    store = make_store(steps=48)
    store["rain"] = np.abs(store["msl"] - store["msl"].mean())
    record = Record.open(open_fields(store), Stream(variables=("rain", "u"), levels=(500,), patch=(2, 2, 2)))
    tokenizer = FieldTokenizer(Stream(variables=("rain", "u"), levels=(500,), patch=(2, 2, 2)), fit_climatology(record))
    climatology = tokenizer.climatology_at(record, whole_domain(record.grid, 0, 4))
    fields = tokenizer.to_fields(np.full_like(climatology, -1e6)[None], climatology)[0]
    assert (fields[:, 0][np.isfinite(climatology[:, 0])] == 0).all() and (
        fields[:, 1][np.isfinite(climatology[:, 1])] < -1e5
    ).all()


def test_members_without_negative_values_keep_their_mean():
    members = np.random.default_rng(0).normal(0.3, 1.0, size=(16, 500))
    kept = non_negative(members)
    assert (kept >= 0).all()
    np.testing.assert_allclose(kept.mean(axis=0), np.maximum(members.mean(axis=0), 0.0), atol=1e-3)


@pytest.fixture
def rain(make_store):
    """Skewed and never negative, beside a pressure."""
    store = make_store(steps=60)
    dry = np.random.default_rng(0).uniform(size=store.t2m.shape) < 0.3
    amount = np.exp(np.random.default_rng(1).standard_normal(store.t2m.shape)).astype(np.float32)
    amount[dry] = 0.0
    return Record.open(
        open_fields(store.assign(rain=(("time", "lat", "lon"), amount, {"units": "mm"}))),
        Stream(variables=("rain", "msl"), patch=(2, 3, 4), log_scale={"rain": 0.1}),
    )


def test_what_has_a_log_scale_enters_as_its_logarithm_with_a_spread_of_one(rain):
    stream = Stream(variables=("rain", "msl"), patch=(2, 3, 4), log_scale={"rain": 0.1})
    tokenizer = FieldTokenizer.fit(stream, rain)
    place = whole_domain(rain.grid, 0, 60)
    fields, climatology = rain.read(slice(0, 60)), tokenizer.climatology_at(rain, place)
    anomalies = tokenizer.anomalies(rain, place)
    np.testing.assert_allclose(
        anomalies[:, 0], np.log1p(fields[:, 0] / 0.1) - np.log1p(climatology[:, 0] / 0.1), rtol=1e-5, atol=1e-6
    )
    scaled = anomalies / tokenizer.climatology.anomaly_std[:, None, None]
    spread = np.sqrt((scaled**2 * rain.grid.cell_area).sum(axis=(2, 3)).mean(axis=0))
    np.testing.assert_allclose(spread, 1.0, rtol=1e-3)
    plain = fit_climatology(rain).anomaly_std
    assert tokenizer.climatology.anomaly_std[1] == plain[1] and tokenizer.climatology.anomaly_std[0] != plain[0]
    np.testing.assert_allclose(tokenizer.to_fields(anomalies[None], climatology)[0], fields, rtol=1e-3, atol=1e-4)


def test_whatever_is_answered_for_a_log_scale_is_a_number_and_not_negative(rain):
    stream = Stream(variables=("rain", "msl"), patch=(2, 3, 4), log_scale={"rain": 0.1})
    tokenizer = FieldTokenizer.fit(stream, rain)
    climatology = tokenizer.climatology_at(rain, whole_domain(rain.grid, 0, 4))
    for size in (-1e3, 1e3):
        fields = tokenizer.to_fields(np.full_like(climatology, size)[None], climatology)
        assert np.isfinite(fields).all() and fields[:, :, 0].min() >= 0


def test_a_static_field_is_read_as_its_departure_from_its_mean_over_the_area(global_store):
    stream = Stream(variables=("lsm",), patch=(2, 3, 4))
    record = Record.open(global_store, stream)
    tokenizer = FieldTokenizer.fit(stream, record)
    anomalies = tokenizer.anomalies(record, whole_domain(record.grid, 0, 4))[:, 0]
    area = record.grid.cell_area / record.grid.cell_area.sum()
    mask = global_store.lsm.values
    np.testing.assert_allclose(anomalies, np.broadcast_to(mask - (mask * area).sum(), anomalies.shape), atol=1e-6)
    spread = np.sqrt(((mask - (mask * area).sum()) ** 2 * area).sum())
    assert tokenizer.climatology.anomaly_std[0] == pytest.approx(spread, rel=1e-5)


def test_the_slope_of_fields_is_that_of_their_values(global_store):
    """∂field / ∂value of a logarithmic and a plain channel, by finite differences of what is written."""
    wet = global_store.assign(msl=((global_store.msl - 1.0e5) / 100).clip(min=0.1).assign_attrs(units="mm"))
    stream = Stream(variables=("msl", "t2m"), patch=(2, 3, 4), log_scale={"msl": 2.0})
    record = Record.open(wet, stream)
    tokenizer, place = FieldTokenizer.fit(stream, record), whole_domain(record.grid, 2, 2)
    climatology, step = tokenizer.climatology_at(record, place).astype(float), 1e-3
    values = np.random.default_rng(0).standard_normal(climatology.shape) + 2.0
    spread = tokenizer.climatology.anomaly_std[:, None, None].astype(float)
    low, middle, high = (tokenizer.to_fields(((values + d) * spread)[None], climatology)[0] for d in (-step, 0.0, step))
    np.testing.assert_allclose(tokenizer.slope(middle), (high - low) / (2 * step), rtol=1e-3)
    assert tokenizer.slope(np.full_like(middle, np.nan))[:, 1] == pytest.approx(tokenizer.climatology.anomaly_std[1])


def test_a_logarithmic_channel_is_never_negative(make_store):
    store = make_store(steps=40)
    rain = np.random.default_rng(0).gamma(0.5, 2e-3, store["t2m"].shape)
    rain[:, 0] = -1e-4  # as differences of accumulations leave
    record = Record.open(
        open_fields(store.assign(tp=store["t2m"].copy(data=rain))), Stream(variables=("tp",), log_scale={"tp": 1e-5})
    )
    tokenizer = FieldTokenizer.fit(Stream(variables=("tp",), log_scale={"tp": 1e-5}), record)
    climatology = tokenizer.climatology_at(record, whole_domain(record.grid, 0, 4))
    assert tokenizer.climatology.lowest < 0
    assert tokenizer.to_fields(np.full((2, *climatology.shape), -9.0), climatology).min() == 0


def test_a_log_scale_of_what_is_often_negative_is_refused(make_store):
    stream = Stream(variables=("u",), levels=(500,), log_scale={"u": 1.0})
    with pytest.raises(
        StoreError, match=r"'u@500' has a log_scale, but negative values down to .*Leave its log_scale out"
    ):
        FieldTokenizer.fit(stream, Record.open(open_fields(make_store(steps=40)), stream))
