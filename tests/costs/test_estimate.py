"""Costs of published trainings, and figures that can't be."""

import pytest

from statecast.costs import CostError, assume, estimate, training_flops
from statecast.costs.estimate import known_devices


def test_gpt_3_costs_what_was_published():
    """Patterson et al. 2021, table 4: 10 000 V100 at 24.6 TFLOP/s took 14.8 days, 1287 MWh, 552 t."""
    flops = training_flops(175e9, 300e9)
    assumptions = assume(
        "v100", 10_000, peak_tflops=24.6, utilisation=1.0, power_w=330, pue=1.10, intensity_g_per_kwh=429
    )
    cost = estimate(assumptions, flops)
    assert flops == pytest.approx(3.14e23, rel=0.01)
    assert cost.hours / 24 == pytest.approx(14.8, rel=0.01)
    assert cost.energy_mwh == pytest.approx(1287, rel=0.01)
    assert cost.emissions_t == pytest.approx(552, rel=0.01)


def test_llama_65b_costs_what_was_published():
    """Touvron et al. 2023, table 15: 1 022 362 A100 hours, 449 MWh, 173 t; section 2.4: 380 tokens a second and device."""
    utilisation = 6 * 65.2e9 * 380 / 312e12
    assumptions = assume("a100", 2048, utilisation=utilisation, pue=1.1, intensity_g_per_kwh=385)
    cost = estimate(assumptions, training_flops(65.2e9, 1.4e12))
    assert cost.device_hours == pytest.approx(1_022_362, rel=0.01)
    assert cost.energy_mwh == pytest.approx(449, rel=0.01)
    assert cost.emissions_t == pytest.approx(173, rel=0.01)


def test_bloom_176b_costs_what_was_published():
    """Luccioni et al. 2022, section 4.2: 1 082 990 A100 hours at 400 W, without the centre's share, 433 MWh, 24.7 t at 57 g/kWh."""
    cost = estimate(assume("a100", 384, pue=1.0, intensity_g_per_kwh=57), device_hours=1_082_990)
    assert cost.energy_mwh == pytest.approx(433, rel=0.005) and cost.emissions_t == pytest.approx(24.7, rel=0.005)
    assert cost.flops is None and cost.hours == pytest.approx(1_082_990 / 384)


def test_twice_the_devices_take_half_the_time_and_the_same_energy():
    one, two = (estimate(assume("h100", n, price_per_hour=2.0), 1e21) for n in (1, 2))
    assert two.hours == pytest.approx(one.hours / 2)
    assert (two.energy_mwh, two.price) == pytest.approx((one.energy_mwh, one.price))
    assert one.price == pytest.approx(2 * one.device_hours)


def test_money_is_not_guessed():
    assert estimate(assume("h100"), 1e21).price is None


def test_what_is_given_replaces_the_table_and_says_so():
    assumptions = assume("a100", power_w=250.0, region="FR")
    assert assumptions.power_w == 250 and assumptions.sources["power_w"] == "given"
    assert assumptions.peak_tflops == 312 and "A100" in assumptions.sources["peak_tflops"]
    assert assumptions.intensity_g_per_kwh < 100 and "FR" in assumptions.sources["intensity_g_per_kwh"]


@pytest.mark.parametrize("device", known_devices())
def test_every_device_has_sane_figures_and_a_source(device):
    row = known_devices()[device]
    assert row["low"] >= row["high"] > 0 and row["memory_gb"] > 0 and row["power_w"] > 0 and len(row["source"]) > 10


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"utilisation": 1.2}, "utilisation 1.2: expected 0 to 1"),
        ({"utilisation": 0.0}, "utilisation 0: expected"),
        ({"pue": 0.9}, "pue 0.9: expected 1 to 10"),
        ({"power_w": -5.0}, "power-w -5: expected a positive number"),
        ({"peak_tflops": float("nan")}, "peak-tflops nan"),
        ({"price_per_hour": float("inf")}, "price-per-hour inf"),
    ],
)
def test_absurd_figures_are_refused(figures, message):
    with pytest.raises(CostError, match=message):
        assume("h100", **figures)


def test_an_unknown_device_gets_the_list_and_no_devices_are_refused():
    with pytest.raises(CostError, match=r"device z9: is not in the table\. Known devices: v100, a100"):
        assume("z9")
    with pytest.raises(CostError, match="devices 0: expected 1 to"):
        assume("h100", 0)
    with pytest.raises(CostError, match="params -1"):
        training_flops(-1, 1e9)
    with pytest.raises(CostError, match="give either"):
        estimate(assume("h100"))
