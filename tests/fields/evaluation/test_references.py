"""What a specialist would try first, on records made so that the right answer is known. Axes as in the module."""

import numpy as np
import pytest
import xarray as xr

from statecast.fields.evaluation.references import QuantileMapping, Regression, is_wholly_guessed, map_quantiles
from statecast.fields.sources import Record, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer, Place, StreamSource, sources_of, whole_window
from statecast.fields.tokenizers.first_guess import first_guess, tokenizers_of

PATCH = (2, 2, 2)


def record_of(fields: dict[str, xr.DataArray], stream: Stream) -> Record:
    return Record.open(open_fields(xr.Dataset(fields)), stream)


def with_record(source: StreamSource, dataset: xr.Dataset) -> StreamSource:
    return StreamSource(Record.open(dataset, source.tokenizer.stream), source.tokenizer)


@pytest.fixture
def pair(make_store):
    """A stream on the global grid, and on a finer, regional one 2 t2m + msl / 300 with a twentieth missing."""
    store = make_store(steps=120)
    lat, lon = np.arange(-22.5, 24, 7.5), np.arange(45.0, 136, 15)
    known = store[["t2m", "msl"]].interp(lat=lat, lon=lon)
    target = (2 * known.t2m + known.msl / 300).assign_attrs(units="K")
    hidden = np.random.default_rng(0).uniform(size=target.shape) < 0.05
    streams = {
        "coarse": Stream(variables=("t2m", "msl"), patch=PATCH),
        "fine": Stream(variables=("t2m",), patch=PATCH, first_guess={"t2m": "coarse.t2m"}),
    }
    records = {
        "coarse": record_of({"t2m": store.t2m, "msl": store.msl}, streams["coarse"]),
        "fine": record_of({"t2m": target.where(~hidden)}, streams["fine"]),
    }
    tokenizers = {name: FieldTokenizer.fit(stream, records[name]) for name, stream in streams.items()}
    return sources_of(tokenizers, records), target.values[10:14]


def test_regression_finds_a_linear_relation_on_another_grid(pair):
    sources, truth = pair
    window = whole_window(sources, 10, 4)
    climatology = window["fine"].climatology[:, 0]
    estimate = Regression.fit(("coarse",), "fine", sources, 4)(window)[:, 0] + climatology
    assert np.sqrt(np.mean((estimate - truth) ** 2)) < 0.1 * np.sqrt(np.mean((climatology - truth) ** 2))


def test_a_band_without_values_gets_no_weights(pair):
    sources, _ = pair
    dataset = sources["fine"].record.dataset.copy(deep=True)
    dataset["t2m"] = dataset.t2m.where(dataset.lat > -20)
    blind = sources | {"fine": with_record(sources["fine"], dataset)}
    assert not Regression.fit(("coarse",), "fine", blind, 4).weights[0].any()


def test_quantile_mapping_undoes_a_monotone_distortion(make_store):
    """Observed is exp of the model: the map is estimated from quantiles at each point and season."""
    store = make_store(steps=600)
    model = (store.t2m - 285) / 12
    streams = {
        "model": Stream(variables=("t2m",), patch=PATCH),
        "station": Stream(variables=("t2m",), patch=PATCH, first_guess={"t2m": "model.t2m"}),
    }
    attrs = {"units": "K"}
    records = {
        "model": record_of({"t2m": model.assign_attrs(attrs)}, streams["model"]),
        "station": record_of({"t2m": np.exp(model).assign_attrs(attrs)}, streams["station"]),
    }
    tokenizers = {name: FieldTokenizer.fit(stream, records[name]) for name, stream in streams.items()}
    sources = sources_of(tokenizers, records)
    mapping = QuantileMapping.fit("station", sources, 2)
    window = whole_window(sources, 20, 40)
    truth = records["station"].read(slice(20, 60))
    error = lambda fields: np.median(np.abs(fields - truth))  # noqa: E731
    assert error(mapping(window)) < 0.4 * error(first_guess("station", window))


def test_quantiles_are_mapped_point_by_point_as_numpy_interpolates_also_where_many_are_the_same():
    random = np.random.default_rng(0)
    guessed = np.sort(np.maximum(random.normal(size=(51, 6, 7)), -0.3), axis=0)  # dry days
    observed = np.sort(random.normal(size=(51, 6, 7)), axis=0)
    values = np.maximum(2 * random.normal(size=(6, 7)), -0.3)
    values[0], values[1], values[2] = guessed[-1, 0], guessed[0, 1], -1.0
    mapped = map_quantiles(values, guessed, observed)
    for at in np.ndindex(values.shape):
        x, y, wanted = guessed[:, *at], observed[:, *at], values[at]
        beyond = max(wanted - x[-1], 0) + min(wanted - x[0], 0)
        assert mapped[at] == pytest.approx(np.interp(wanted, x, y) + beyond)


def test_quantile_mapping_leaves_the_guess_where_nothing_was_ever_observed(pair):
    sources, _ = pair
    dataset = sources["fine"].record.dataset.copy(deep=True)
    dataset["t2m"] = dataset.t2m.where(dataset.lon > 50)
    blind = sources | {"fine": with_record(sources["fine"], dataset)}
    window = whole_window(blind, 10, 4)
    mapped, plain = QuantileMapping.fit("fine", blind, 4)(window), first_guess("fine", window)
    np.testing.assert_array_equal(mapped[..., 0], plain[..., 0])
    assert not np.allclose(mapped[..., 1:], plain[..., 1:])


def test_a_guess_of_some_channels_is_not_whole(pair):
    tokenizers = tokenizers_of(pair[0])
    assert is_wholly_guessed("fine", tokenizers) and not is_wholly_guessed("coarse", tokenizers)


def test_what_was_learned_of_the_whole_domain_is_applied_to_the_rows_and_columns_of_a_window(pair):
    sources, _ = pair
    whole_domain = whole_window(sources, 10, 4)
    window = whole_domain | {"fine": sources["fine"].at(Place(10, 4, slice(3, 6), np.array([1, 2, 3, 4])))}
    for baseline in (Regression.fit(("coarse",), "fine", sources, 4), QuantileMapping.fit("fine", sources, 4)):
        whole, part = baseline(whole_domain), baseline(window)
        np.testing.assert_allclose(part, whole[..., 3:6, 1:5], rtol=1e-5, atol=1e-6)
