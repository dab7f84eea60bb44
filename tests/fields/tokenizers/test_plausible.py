"""Values far from what a model learned are refused, whatever their units are said to be."""

import numpy as np
import pytest
import xarray as xr

from statecast.fields.sources import Record, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.fields.tokenizers.plausible import require_plausible
from statecast.trained import ModelError

T2M, RAIN = Stream(variables=("t2m",)), Stream(variables=("tp",))


@pytest.fixture
def store(make_store) -> xr.Dataset:
    store = make_store(steps=40)
    random = np.random.default_rng(1)
    rain = np.where(random.random(store["t2m"].shape) < 0.6, 0, random.gamma(0.5, 2.0, store["t2m"].shape))
    return store.assign(tp=store["t2m"].copy(data=rain).assign_attrs(units="mm"))


def record(store: xr.Dataset, stream: Stream, change=lambda x: x, units: str | None = None) -> Record:
    name = stream.variables[0]
    changed = change(store[name]).assign_attrs(
        store[name].attrs if units is None else {"units": units} if units else {}
    )
    changed.attrs = {k: v for k, v in changed.attrs.items() if units != ""}
    return Record.open(open_fields(store.assign({name: changed})), stream)


@pytest.mark.parametrize(
    ("stream", "change", "units"),
    [
        (T2M, lambda x: x - 273.15, ""),
        (T2M, lambda x: x - 273.15, "K"),
        (T2M, lambda x: x * 9 / 5 - 459.67, ""),
        (RAIN, lambda x: x * 1000, ""),
        (RAIN, lambda x: x * 1000, "mm"),
        (RAIN, lambda x: x / 1000, ""),
    ],
)
def test_values_in_other_units_than_the_learned_ones_are_refused(store, stream, change, units):
    tokenizer = FieldTokenizer.fit(stream, record(store, stream))
    with pytest.raises(
        ModelError, match=f"variable '{stream.variables[0]}' runs from .* far from the .* Correct its values"
    ) as error:
        require_plausible(tokenizer, record(store, stream, change, units))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("stream", "change", "units"),
    [
        (T2M, lambda x: x, ""),
        (T2M, lambda x: x + 8, "K"),
        (RAIN, lambda x: x * 3, ""),
        (RAIN, lambda x: 0 * x, ""),
        (T2M, lambda x: x * np.nan, ""),
    ],
)
def test_another_climate_a_drought_and_missing_values_are_plausible(store, stream, change, units):
    tokenizer = FieldTokenizer.fit(stream, record(store, stream))
    require_plausible(tokenizer, record(store, stream, change, units))


@pytest.mark.parametrize(("factor", "is_refused"), [(1, False), (3, False), (1e-3, True), (1e3, True)])
def test_rain_on_a_logarithmic_scale_is_looked_at_too(store, factor, is_refused):
    stream = Stream(variables=("tp",), log_scale={"tp": 0.01})
    tokenizer = FieldTokenizer.fit(stream, record(store, stream))
    changed = record(store, stream, lambda x: x * factor, "")
    if not is_refused:
        require_plausible(tokenizer, changed)
        return
    with pytest.raises(ModelError, match="far from"):
        require_plausible(tokenizer, changed)
