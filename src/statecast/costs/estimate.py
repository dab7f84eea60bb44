"""Time, energy, emissions and money of a training run, from its operations. The user may replace every assumption."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from statecast.training.footprint import carbon_intensity

UTILISATION = 0.35  # of the peak; Chowdhery et al. 2022 (PaLM) list 0.21 to 0.46 for large models, less for small ones
PUE = 1.2  # power usage effectiveness of an efficient centre; the mean of the industry is near 1.56 (Uptime Institute 2024)
LARGEST = 1e30  # of any given figure: a larger one is a typing error


class CostError(ValueError):
    """An unknown device, or an impossible figure."""


@dataclass(frozen=True)
class Assumptions:
    """The assumptions of a cost estimate. `sources` gives the source of each figure.

    peak_tflops          of one device, in the arithmetic of the training
    utilisation          share of the peak that training reaches
    power_w              of one device during training
    pue                  power of the whole centre divided by that of its computers
    intensity_g_per_kwh  CO2 equivalent of the electricity
    price_per_hour       price of one device for one hour; None: money is not estimated
    """

    device: str
    devices: int
    peak_tflops: float
    utilisation: float
    power_w: float
    pue: float
    intensity_g_per_kwh: float
    price_per_hour: float | None
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Estimate:
    """The cost of a training run. `device_hours` is `hours` times the number of devices."""

    flops: float | None
    hours: float
    device_hours: float
    energy_mwh: float
    emissions_t: float
    price: float | None
    assumptions: Assumptions

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@cache
def known_devices() -> dict[str, dict[str, Any]]:
    """The table `devices.yaml`."""
    return yaml.safe_load(files("statecast.costs").joinpath("devices.yaml").read_text(encoding="utf-8"))


def assume(
    device: str, devices: int = 1, *, region: str = "WORLD", precision: str = "low", **given: float | None
) -> Assumptions:
    """The table's figures for a device and a region, replaced by those in `given`.

    precision  "low" for bf16 or fp16 autocast, "high" for fp32
    Raises CostError for an unknown device or an absurd figure, RegionError for an unknown region.
    """
    table = known_devices()
    if device not in table:
        raise CostError(f"device {device}: is not in the table. Known devices: {', '.join(table)}.")
    row = table[device]
    figures: dict[str, tuple[float | None, str]] = {
        "peak_tflops": (row[precision], row["source"]),
        "utilisation": (UTILISATION, "assumed; large models reach 0.21 to 0.46 (Chowdhery et al. 2022)"),
        "power_w": (row["power_w"], f"rated power; {row['source']}"),
        "pue": (PUE, "assumed for an efficient centre; the industry's mean is near 1.56 (Uptime Institute 2024)"),
        "intensity_g_per_kwh": (None, ""),
        "price_per_hour": (None, "not given"),
    }
    if given.get("intensity_g_per_kwh") is None:
        figures["intensity_g_per_kwh"] = (carbon_intensity(region), f"codecarbon's table, {region}")
    figures |= {name: (value, "given") for name, value in given.items() if value is not None}
    for name, (value, _) in figures.items():
        require_sane(name, value)
    require_sane("devices", devices)
    values = {name: value for name, (value, _) in figures.items()}
    return Assumptions(device, devices, **values, sources={n: source for n, (_, source) in figures.items()})  # type: ignore[arg-type]


def require_sane(name: str, value: float | None) -> None:
    """Raises CostError if a given figure is impossible."""
    if value is None:
        return
    low, high = {"utilisation": (0.0, 1.0), "pue": (1.0, 10.0), "devices": (1.0, 1e7)}.get(name, (0.0, LARGEST))
    if not (math.isfinite(value) and low <= value <= high and (value > 0 or name == "intensity_g_per_kwh")):
        expected = f"{low:g} to {high:g}" if high < LARGEST else "a positive number"
        raise CostError(f"{name.replace('_', '-')} {value:g}: expected {expected}.")


def training_flops(parameters: float, tokens: float) -> float:
    """6 N D: two operations per parameter and token forward, four backward (Kaplan et al. 2020, eq. 2.2; attention not included)."""
    for name, value in (("params", parameters), ("tokens", tokens)):
        require_sane(name, value)
    return 6 * parameters * tokens


def estimate(assumptions: Assumptions, flops: float | None = None, device_hours: float | None = None) -> Estimate:
    """Cost of a training run with a given number of operations, or of device hours if these are known.

        hours      = FLOPs / (devices · peak · utilisation)
        energy     = devices · hours · power · PUE                      Patterson et al. 2021, "Carbon emissions and large neural
        emissions  = energy · intensity                                 network training", section 2.5
        price      = devices · hours · price per device hour

    Raises CostError unless exactly one of the two is given and its value is possible.
    """
    if (flops is None) == (device_hours is None):
        raise CostError("give either the operations of the training or its device hours.")
    require_sane("flops", flops)
    require_sane("device_hours", device_hours)
    a = assumptions
    if device_hours is None:
        assert flops is not None
        device_hours = flops / (a.peak_tflops * 1e12 * a.utilisation) / 3600
    energy_mwh = device_hours * a.power_w * a.pue / 1e6
    price = None if a.price_per_hour is None else device_hours * a.price_per_hour
    return Estimate(
        flops, device_hours / a.devices, device_hours, energy_mwh, energy_mwh * a.intensity_g_per_kwh / 1e3, price, a
    )
