"""Energy and emissions of a training, estimated offline by codecarbon."""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pycountry
from codecarbon import OfflineEmissionsTracker
from codecarbon.input import DataSource

from statecast.training.options import TrainingOptions, is_first_process

SENSORS = ("RAPL", "Power Gadget", "powermetrics", "GPU")  # codecarbon's names for hardware with a power sensor
FILE = "footprint.json"
SUMMED = ("energy_kwh", "cpu_kwh", "gpu_kwh", "memory_kwh", "emissions_kg", "duration_s", "parts")


class RegionError(ValueError):
    """A region is not in the table of carbon intensities."""


@dataclass(frozen=True)
class Footprint:
    """Energy in kWh and emissions in kg of CO2 equivalent of one run, summed over its parts if it was resumed.

    `measured` is False if any part of the machine has no power sensor. codecarbon then estimates power from the rated power and load of
    the processor and from the size of the memory, whose share it often overestimates.
    """

    energy_kwh: float
    cpu_kwh: float
    gpu_kwh: float
    memory_kwh: float
    emissions_kg: float
    duration_s: float
    intensity_g_per_kwh: float
    region: str
    measured: bool
    hardware: tuple[str, ...]
    parts: int = 1

    def __add__(self, other: "Footprint") -> "Footprint":
        sums = {key: getattr(self, key) + getattr(other, key) for key in SUMMED}
        is_measured = self.measured and other.measured
        return Footprint(**{**asdict(other), **sums, "measured": is_measured, "hardware": other.hardware})

    def __str__(self) -> str:
        how = "measured" if self.measured else "estimated: some parts of the machine have no power sensor"
        return (
            f"{self.energy_kwh:.3g} kWh, {self.emissions_kg:.3g} kg CO2e at {self.intensity_g_per_kwh:.0f} g/kWh ({self.region}); "
            f"{how}; of which memory {self.memory_kwh / max(self.energy_kwh, 1e-12):.0%}; codecarbon on {', '.join(self.hardware)}"
        )

    def save(self, directory: Path) -> None:
        (directory / FILE).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")


def load_footprint(directory: Path) -> Footprint | None:
    path = directory / FILE
    if not path.is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    return Footprint(**values | {"hardware": tuple(values["hardware"])})


def carbon_intensities() -> Mapping[str, float]:
    """g CO2e per kWh of each country, by three-letter ISO 3166 code, from codecarbon's table; `WORLD`: mean weighted by generation."""
    table = DataSource().get_global_energy_mix_data()
    known = {code: row for code, row in table.items() if row.get("carbon_intensity") is not None}
    total = sum(row["total_TWh"] for row in known.values())
    world = sum(row["carbon_intensity"] * row["total_TWh"] for row in known.values()) / total
    return {code: row["carbon_intensity"] for code, row in known.items()} | {"WORLD": world}


def region_code(region: str) -> str:
    """WORLD, or the three-letter ISO code of a two- or three-letter code. Raises RegionError if it is not in the table."""
    code, table = region.upper(), carbon_intensities()
    if len(code) == 2:
        three_letters = {country.alpha_2: country.alpha_3 for country in pycountry.countries}
        code = three_letters.get(code, code)
    if code not in table:
        raise RegionError(
            f"region {region}: expected WORLD or an ISO code, such as {', '.join(sorted(table)[:3])}, DEU or FR."
        )
    return code


def carbon_intensity(region: str) -> float:
    """g CO2e per kWh of a country or WORLD. Raises RegionError if it is not in the table."""
    return carbon_intensities()[region_code(region)]


@contextlib.contextmanager
def footprint_of(out: Path, options: TrainingOptions) -> Iterator[Callable[[], None]]:
    """Measures the block and adds the result to `out / "footprint.json"`, even if the block fails. Does nothing if the recipe disables it.

    Yields a function that writes the footprint so far. It is called at each checkpoint, so that the footprint up to there survives if the
    process is killed. With several nodes, only the first one is measured. Raises RegionError before the block starts.
    """
    if not options.footprint or not is_first_process():
        yield lambda: None
        return
    region, intensity = region_code(options.region), carbon_intensity(options.region)
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # it reports before it reads `log_level`
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA" if region == "WORLD" else region,  # required, although the next line overrides it
        force_carbon_intensity_g_co2e_kwh=intensity,
        output_methods=[],
        log_level="critical",
        allow_multiple_runs=True,
    )
    before = load_footprint(out)

    def write() -> None:
        tracker.flush()
        part = _footprint(tracker, intensity, region)
        if out.is_dir():
            (before + part if before else part).save(out)

    tracker.start()
    try:
        yield write
    finally:
        write()
        tracker.stop()


def _footprint(tracker: OfflineEmissionsTracker, intensity: float, region: str) -> Footprint:
    data = tracker._prepare_emissions_data()
    hardware = tuple(str(part) for part in tracker._conf["hardware"])
    return Footprint(
        energy_kwh=data.energy_consumed,
        cpu_kwh=data.cpu_energy,
        gpu_kwh=data.gpu_energy,
        memory_kwh=data.ram_energy,
        emissions_kg=data.energy_consumed * intensity / 1000,
        duration_s=data.duration,
        intensity_g_per_kwh=intensity,
        region=region,
        measured=all(any(sensor in part for sensor in SENSORS) for part in hardware),
        hardware=hardware,
    )
