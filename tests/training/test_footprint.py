"""Energy and emissions: what is written, what is summed, what is refused."""

import json

import pytest

from statecast.training import TrainingOptions
from statecast.training.fit import fit
from statecast.training.footprint import (
    Footprint,
    RegionError,
    carbon_intensities,
    carbon_intensity,
    footprint_of,
    load_footprint,
)

PART = Footprint(0.3, 0.1, 0.0, 0.2, 0.06, 100.0, 200.0, "DEU", False, ("RAM", "CPU"))


def test_a_training_leaves_its_energy_and_emissions_and_says_that_they_are_estimated(questions, make_model, tmp_path):
    options = TrainingOptions(steps=2, loggers=(), region="FRA")
    fit(make_model(), questions, None, options, tmp_path, progress=False)
    footprint = load_footprint(tmp_path)
    assert footprint.region == "FRA" and footprint.energy_kwh > 0 and footprint.duration_s > 0
    assert footprint.emissions_kg == pytest.approx(footprint.energy_kwh * carbon_intensity("FRA") / 1000)
    assert footprint.energy_kwh == pytest.approx(footprint.cpu_kwh + footprint.gpu_kwh + footprint.memory_kwh)
    assert ("estimated" in str(footprint)) is not footprint.measured


def test_one_key_turns_it_off(tmp_path):
    with footprint_of(tmp_path, TrainingOptions(footprint=False)):
        pass
    assert load_footprint(tmp_path) is None and not list(tmp_path.iterdir())


def test_the_parts_of_a_resumed_run_add_up(tmp_path):
    PART.save(tmp_path)
    with pytest.raises(RuntimeError), footprint_of(tmp_path, TrainingOptions(region="DEU")):
        raise RuntimeError
    both = load_footprint(tmp_path)
    assert both.parts == 2 and both.energy_kwh > PART.energy_kwh and both.duration_s > PART.duration_s
    assert json.loads((tmp_path / "footprint.json").read_text())["region"] == "DEU"


def test_a_run_that_is_killed_keeps_what_it_had_used_at_its_last_checkpoint(tmp_path):
    PART.save(tmp_path)
    with footprint_of(tmp_path, TrainingOptions(region="DE")) as write:
        write()
        first = load_footprint(tmp_path)
        write()
        second = load_footprint(tmp_path)
    assert (first.parts, second.parts) == (2, 2) and PART.duration_s < first.duration_s <= second.duration_s


def test_memory_share_and_kind_of_figure_are_told():
    assert "of which memory 67%" in str(PART) and "no power sensor" in str(PART) and "200 g/kWh (DEU)" in str(PART)


def test_the_mean_of_the_world_lies_between_its_extremes_and_a_region_that_is_none_is_refused():
    table = carbon_intensities()
    assert 300 < table["WORLD"] < 600 and min(table.values()) < table["WORLD"] < max(table.values())
    with pytest.raises(RegionError, match="region XX: expected WORLD or an ISO code"):
        carbon_intensity("XX")
    assert carbon_intensity("DE") == carbon_intensity("DEU") == table["DEU"]
