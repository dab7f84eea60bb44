"""Tables of a cost estimate for the terminal."""

from rich.console import Group
from rich.table import Table

from statecast.costs.estimate import Estimate
from statecast.costs.sizes import ModelSize
from statecast.models import AS_LEARNED

DEVICES = (1, 8, 64)
UNITS = {
    "peak_tflops": "TFLOP/s",
    "utilisation": "of the peak",
    "power_w": "W",
    "pue": "",
    "intensity_g_per_kwh": "g CO2e/kWh",
    "price_per_hour": "per device hour",
}


def cost_tables(estimate: Estimate, size: ModelSize | None) -> Group:
    """The estimate, its assumptions, and the sizes of the model if they were computed from a recipe."""
    parts = [_estimate(estimate), _assumptions(estimate)]
    if size is not None:
        of_data = [_data(size)] if size.data_gib else []
        parts = [_size(size), _memory(size), *of_data, *parts]
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, header_style="bold", title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table


def _estimate(estimate: Estimate) -> Table:
    table = _table(f"on {estimate.assumptions.devices} × {estimate.assumptions.device}", "cost", "", "unit")
    rows: list[tuple[str, float | None, str]] = [
        ("operations", estimate.flops, "FLOP"),
        ("time", estimate.hours, "h"),
        ("device hours", estimate.device_hours, "h"),
        ("energy", estimate.energy_mwh, "MWh"),
        ("emissions", estimate.emissions_t, "t CO2e"),
        ("money", estimate.price, "in the unit of --price"),
    ]
    for name, value, unit in rows:
        table.add_row(name, "not known" if value is None else f"{value:,.4g}", unit)
    return table


def _assumptions(estimate: Estimate) -> Table:
    table = Table(title="assumptions, each an option of this command", header_style="bold", title_justify="left")
    for column in ("assumption", "value", "unit", "from"):
        table.add_column(column, justify="right" if column == "value" else "left", overflow="fold")
    for name, unit in UNITS.items():
        value = getattr(estimate.assumptions, name)
        shown = "none" if value is None else f"{value:g}"
        table.add_row(name.replace("_", " "), shown, unit, estimate.assumptions.sources[name])
    return table


def _size(size: ModelSize) -> Table:
    table = _table("model", "size", "")
    table.add_row("parameters", f"{size.parameters:,}")
    table.add_row("tokens per sample", f"{size.tokens_per_sample:,}")
    table.add_row("GFLOP per sample, forward and backward", f"{size.flops_per_sample / 1e9:,.4g}")
    if size.drawing_flops is not None:
        steps = f"{AS_LEARNED.steps} steps of {AS_LEARNED.solver}"
        table.add_row(f"GFLOP per sample, to draw its members in {steps}", f"{size.drawing_flops / 1e9:,.4g}")
    table.add_row("MiB of activations per sample, at most", f"{size.activation_bytes / 2**20:,.4g}")
    table.add_row("samples in the recipe", f"{size.samples:,}")
    table.caption = "\n".join(size.assumed)
    return table


def _memory(size: ModelSize) -> Table:
    table = _table(f"GiB per device, {size.batch_size} samples per step", "devices", *map(str, DEVICES))
    for name, shards in (("DDP", False), ("FSDP", True)):
        table.add_row(name, *(f"{size.memory_gib(devices, shards=shards):,.3g}" for devices in DEVICES))
    return table


def _data(size: ModelSize) -> Table:
    table = _table("GiB of the data side", "what", "")
    for name, gib in size.data_gib.items():
        table.add_row(name, f"{gib:,.3g}")
    return table
