"""First guesses: other streams' anomalies at the points of a stream, on its own grid. Axes as in the module."""

import numpy as np
import pytest
import xarray as xr

from statecast.fields.sources import Grid, Record, StoreError, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer, StreamSource, read_window, sources_of, whole_window
from statecast.fields.tokenizers.first_guess import (
    bilinear,
    first_guess,
    guess_gradient,
    guessed_channels,
    reference_of,
    tokenizers_of,
)
from statecast.fields.tokenizers.windows import Place, part_of

COARSE = Grid(np.linspace(-75, 75, 6), np.arange(12) * 30.0)
FINE = Grid(np.linspace(-60, 70, 14), np.arange(5.0, 355, 10))
REGION = Grid(np.linspace(31, 59, 8), np.linspace(-20, 22, 7))


@pytest.mark.parametrize("target", [FINE, REGION], ids=["global", "across Greenwich"])
def test_what_is_linear_in_latitude_and_longitude_is_interpolated_exactly(target):
    lat, lon = np.meshgrid(COARSE.lat, (COARSE.lon + 180) % 360 - 180, indexing="ij")
    wanted = np.meshgrid(target.lat, (target.lon + 180) % 360 - 180, indexing="ij")
    found = bilinear(np.stack([lat, 2 * lat + lon]), COARSE, target)
    inside = np.abs(wanted[1]) < 145  # the seam of a linear function lies at 180 degrees
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-5)
    np.testing.assert_allclose(found[1][inside], (2 * wanted[0] + wanted[1])[inside], atol=1e-4)


def test_a_wave_round_the_globe_is_continuous_across_the_seam():
    fields = np.broadcast_to(np.cos(np.deg2rad(COARSE.lon)), COARSE.shape)
    between = bilinear(fields, COARSE, Grid(np.array([0.0]), np.array([345.0])))
    assert between.item() == pytest.approx((1 + np.cos(np.deg2rad(30))) / 2)


def test_beyond_the_outermost_rows_the_nearest_is_taken():
    fields = np.arange(6.0)[:, None] * np.ones(12)
    assert bilinear(fields, COARSE, Grid(np.array([-89.0, 89.0]), np.array([10.0]))).ravel().tolist() == [0.0, 5.0]


@pytest.mark.parametrize("target", [Grid(REGION.lat, REGION.lon + 120), Grid(REGION.lat - 80, REGION.lon)])
def test_grids_that_do_not_overlap_are_refused(target):
    with pytest.raises(
        StoreError,
        match=r"covers .*, expected a part of the grid of its first guess, which covers 31 to 59 N, -20 to 22 E",
    ):
        bilinear(np.zeros(REGION.shape), REGION, target)


@pytest.mark.parametrize(
    "source",
    [Grid(np.array([5.0]), COARSE.lon), Grid(COARSE.lat, np.array([15.0])), Grid(np.array([5.0]), np.array([15.0]))],
)
def test_of_an_axis_with_one_point_that_is_the_nearest(source):
    lat, lon = np.clip([5.0, 6.0], source.lat[0], source.lat[-1]), np.clip([14.0, 15.0], source.lon[0], source.lon[-1])
    fields = source.lat[:, None] + 100 * source.lon
    found = bilinear(fields, source, Grid(np.array([5.0, 6.0]), np.array([14.0, 15.0])))
    np.testing.assert_allclose(found, lat[:, None] + 100 * lon)


@pytest.fixture
def pair(make_store):
    """A coarse stream and a fine, regional one whose climatology is 3 K warmer, with the tokenizers of both."""
    coarse = open_fields(make_store(steps=40))
    fine = coarse[["t2m"]].interp(lat=np.arange(31.0, 47, 4), lon=np.arange(40.0, 72, 4)) + 3.0
    fine.t2m.attrs = coarse.t2m.attrs
    streams = {
        "coarse": (coarse, Stream(variables=("msl", "t2m"), patch=(2, 2, 2))),
        "fine": (fine, Stream(variables=("t2m",), patch=(2, 2, 4), first_guess={"t2m": "coarse.t2m"})),
    }
    records = {name: Record.open(dataset, stream) for name, (dataset, stream) in streams.items()}
    return {n: StreamSource(record, FieldTokenizer.fit(streams[n][1], record)) for n, record in records.items()}


def with_record(source: StreamSource, dataset: xr.Dataset) -> StreamSource:
    return StreamSource(Record.open(dataset, source.tokenizer.stream), source.tokenizer)


def tokenized_by(tokenizer: FieldTokenizer, source: StreamSource) -> StreamSource:
    return StreamSource(source.record, tokenizer)


def test_a_guess_is_the_climatology_there_and_the_interpolated_anomaly(pair):
    """The fine field is the interpolated coarse one plus a constant: a difference of climatologies, and so no error."""
    streams = whole_window(pair, 6, 4)
    np.testing.assert_allclose(first_guess("fine", streams), pair["fine"].record.read(slice(6, 10)), atol=2e-2)
    window = read_window(streams)
    assert window["coarse"].guess is None
    around = window["fine"].guess.unflatten(-1, (1, 2, 6, 12))  # V S H W, of a token of 2 x 4 points
    at_its_points = around[..., 2:4, 4:8].flatten(1)
    np.testing.assert_allclose(at_its_points, window["fine"].values, atol=5e-3)
    assert window["fine"][:3].guess.shape == (3, 9 * pair["fine"].tokenizer.values_per_token)


def test_a_stream_of_a_short_record_leans_on_what_is_known_of_the_one_it_is_guessed_from(pair):
    """Of two days the climatology is mostly the weather of these days; guesses for other days would be off by it."""
    stream = pair["fine"].tokenizer.stream
    short = {n: with_record(s, s.record.dataset.isel(time=slice(20, 28))) for n, s in pair.items()}
    own = FieldTokenizer.fit(stream, short["fine"].record)
    fine = short["fine"].record.dataset
    gaps = np.random.default_rng(0).uniform(size=fine.t2m.shape) < 0.3
    gappy = with_record(tokenized_by(own, short["fine"]), fine.assign(t2m=fine.t2m.where(~gaps)))
    leaning = FieldTokenizer.fit(stream, gappy.record, reference_of("fine", short | {"fine": gappy}))
    truth, error = pair["fine"].record.read(slice(0, 16)), {}
    for key, tokenizer in (("own", own), ("leaning", leaning)):
        guess = first_guess("fine", whole_window(pair | {"fine": tokenized_by(tokenizer, pair["fine"])}, 0, 16))
        error[key] = np.sqrt(((guess - truth) ** 2).mean())
    assert error["leaning"] < 0.02 < 0.2 < error["own"]
    spread = np.nanstd(tokenized_by(leaning, gappy).whole(0, 8).anomalies)
    assert leaning.climatology.anomaly_std == pytest.approx(spread, rel=0.3)


def test_what_a_short_record_never_had_below_zero_may_be_so_in_a_known_stream(pair):
    """Warm days in degrees Celsius are no reason for a climatology of frost to end at 0."""
    frost = {n: with_record(s, s.record.dataset.assign(t2m=s.record.dataset.t2m - 290)) for n, s in pair.items()}
    coarse = FieldTokenizer.fit(pair["coarse"].tokenizer.stream, frost["coarse"].record)
    warm = {n: with_record(s, s.record.dataset.assign(t2m=abs(s.record.dataset.t2m) + 50)) for n, s in frost.items()}
    fine = FieldTokenizer.fit(pair["fine"].tokenizer.stream, warm["fine"].record)
    assert fine.climatology.lowest[0] > 0
    known = {"coarse": tokenized_by(coarse, warm["coarse"]), "fine": tokenized_by(fine, warm["fine"])}
    leaning = FieldTokenizer.fit(fine.stream, warm["fine"].record, reference_of("fine", known))
    assert leaning.climatology.lowest[0] == coarse.climatology.lowest[1] < 0
    assert leaning.climatology.mean.min() < 0


def test_where_the_known_stream_has_nothing_the_climatology_is_the_records_own(pair):
    coarse, fine = pair["coarse"].record.dataset, pair["fine"]
    gone = with_record(pair["coarse"], coarse.assign(t2m=coarse.t2m.where(coarse.lon < 50)))
    reference = reference_of("fine", pair | {"coarse": gone})
    leaning = FieldTokenizer.fit(fine.tokenizer.stream, fine.record, reference)
    np.testing.assert_allclose(leaning.climatology.mean, fine.tokenizer.climatology.mean, atol=1e-3)


def test_the_climatology_of_the_same_record_is_that_without_a_reference(pair):
    fine = pair["fine"]
    leaning = FieldTokenizer.fit(fine.tokenizer.stream, fine.record, reference_of("fine", pair))
    np.testing.assert_allclose(leaning.climatology.mean, fine.tokenizer.climatology.mean, atol=1e-3)


def test_where_the_coarse_stream_has_no_value_the_guess_is_the_climatology(pair, make_store):
    nothing = with_record(pair["coarse"], open_fields(make_store(steps=40)) * np.nan)
    streams = whole_window(pair | {"coarse": nothing}, 0, 2)
    np.testing.assert_array_equal(first_guess("fine", streams), streams["fine"].climatology)


def test_the_grid_of_a_window_across_the_date_line_goes_on_rising():
    part = part_of(COARSE, Place(0, 1, slice(2, 4), np.array([10, 11, 0, 1])))
    assert part.lon.tolist() == [300.0, 330.0, 360.0, 390.0] and part.lat.tolist() == [-15.0, 15.0]


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        ("ocean.t2m", "there is no other stream 'ocean'. Streams: coarse"),
        ("fine.t2m", "there is no other stream 'fine'"),
        ("coarse.sst", "stream coarse has no sst. It has msl, t2m"),
        ("coarse.msl", "t2m is in 'K', coarse.msl in 'Pa'"),
    ],
)
def test_a_guess_from_what_is_not_there_is_refused(pair, guess, message):
    tokenizers = tokenizers_of(pair)
    stream = tokenizers["fine"].stream.model_copy(update={"first_guess": {"t2m": guess}})
    with pytest.raises(StoreError, match=message):
        guessed_channels("fine", tokenizers | {"fine": FieldTokenizer(stream, tokenizers["fine"].climatology)})


def test_a_guess_of_what_is_never_negative_is_not_negative(make_store):
    rain = xr.Dataset({"rain": np.abs(make_store(steps=40).msl - 1e5).assign_attrs(units="mm")})
    stream = Stream(variables=("rain",), patch=(2, 2, 2))
    model = Record.open(open_fields(rain), stream)
    fine = open_fields(rain * 0.1).isel(lat=slice(2, 8))
    fine.rain.attrs = rain.rain.attrs
    guided = stream.model_copy(update={"first_guess": {"rain": "model.rain"}})
    radar = Record.open(fine, guided)
    sources = {
        "model": StreamSource(model, FieldTokenizer.fit(stream, model)),
        "radar": StreamSource(radar, FieldTokenizer.fit(guided, radar)),
    }
    assert first_guess("radar", whole_window(sources, 0, 2)).min() == 0


@pytest.mark.parametrize("log_scale", [{}, {"rain": 2.0}], ids=["plain", "logarithmic"])
@pytest.mark.parametrize("gaps", ["none", "source", "target"])
@pytest.mark.parametrize("lowest", [0.0, -1e-6], ids=["never negative", "rounded below 0"])
def test_the_gradient_of_a_guess_is_its_transposed_derivative(make_store, log_scale, gaps, lowest):
    """<J d, y> = <d, Jᵀ y> for random d and y, J by finite differences; across Greenwich, with gaps and where the guess is cut off at 0."""
    coarse = open_fields(make_store(steps=40))
    coarse = coarse.assign(rain=((coarse.msl - 1.0e5) / 100).clip(min=lowest).assign_attrs(units="mm"))
    lat, lon = np.linspace(31.0, 59.0, 8), np.linspace(-20.0, 22.0, 8)
    fine = coarse[["rain"]].reindex(lat=lat, lon=lon % 360, method="nearest").assign_coords(lat=lat, lon=lon)
    if gaps == "source":
        coarse["rain"] = coarse.rain.where(np.random.default_rng(2).uniform(size=coarse.rain.shape) > 0.2).assign_attrs(
            units="mm"
        )
    if gaps == "target":
        fine = fine.where(fine.lon > 0).assign(rain=fine.rain.where(fine.lon > 0).assign_attrs(units="mm"))
    of = {
        "coarse": (coarse, Stream(variables=("rain",), patch=(2, 2, 2), log_scale=log_scale)),
        "fine": (
            fine,
            Stream(variables=("rain",), patch=(2, 2, 4), first_guess={"rain": "coarse.rain"}, log_scale=log_scale),
        ),
    }
    records = {name: Record.open(dataset, stream) for name, (dataset, stream) in of.items()}
    tokenizers = {name: FieldTokenizer.fit(of[name][1], record) for name, record in records.items()}
    sources = sources_of(tokenizers, records)
    random = np.random.default_rng(1)
    outputs, shape = random.standard_normal((4, 1, 8, 8)), (4, 1, *records["coarse"].grid.shape)
    values = records["coarse"].read(slice(6, 10))
    direction = random.standard_normal(shape) * tokenizers["coarse"].slope(np.nan_to_num(values))

    def guessed(step: float) -> np.ndarray:
        """In normalised units, as a model reads it."""
        changed = coarse.copy(deep=True)
        changed.rain[6:10] += step * direction[:, 0]
        moved = whole_window(sources | {"coarse": with_record(sources["coarse"], changed)}, 6, 4)
        departures = tokenizers["fine"].departures(first_guess("fine", moved), moved["fine"].climatology)
        return np.nan_to_num(departures / tokenizers["fine"].climatology.anomaly_std[:, None, None])

    step = 1e-3
    expected = ((guessed(step) - guessed(-step)) / (2 * step) * outputs).sum()
    gradient = guess_gradient("fine", whole_window(sources, 6, 4), outputs)["coarse"]
    found = (gradient * direction / tokenizers["coarse"].slope(np.nan_to_num(values))).sum()
    assert found == pytest.approx(expected, rel=0.02, abs=0.05)
