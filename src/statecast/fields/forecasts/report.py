"""The report on verified forecasts. Axes: E member, L lead time, V channel, H row, W column."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from statecast.evaluation.differences import Difference
from statecast.evaluation.report import section, write_page
from statecast.fields.evaluation import figures
from statecast.fields.evaluation.report import mapped_channels
from statecast.fields.evaluation.skill import TABLE_LEADS_H, skill_sections
from statecast.fields.forecasts.pairing import BESIDE, FORECAST, Pairing
from statecast.fields.forecasts.scoring import told

if TYPE_CHECKING:
    from statecast.fields.forecasts.write import Verified

ENSEMBLE = "Continuous ranked probability score, lower is better: of an ensemble the fair score, of one value the absolute error."
DIFFERENCE = (
    "Score of the forecast less that of the one beside it, on the same initial times and values, and its 95 % interval from the same "
    "resamplings of both: where it excludes 0, marked *, they differ by more than chance. Of twenty that don't differ one is expected to "
    "be marked."
)


def write_report(
    verified: "Verified", maps: Mapping[str, Any] | None, wall_time_s: Mapping[str, float], out: Path
) -> None:
    """Write the report to the file `out`."""
    sections = skill_sections(verified.scored, (FORECAST, BESIDE), ENSEMBLE)
    if verified.difference is not None:
        lead_times = verified.scored[0].labels("lead_time_h")
        leads = [lead for lead in lead_times if lead in TABLE_LEADS_H] or lead_times[-1:]
        _, rows = difference_table(verified.difference, leads)
        sections.append(section("Difference", DIFFERENCE, [], table=rows))
    if maps is not None:
        sections.append(dict(maps))
    write_page("Verification", _facts(verified, wall_time_s), sections, out)


def _facts(verified: "Verified", wall_time_s: Mapping[str, float]) -> list[tuple[str, str]]:
    settings, first = verified.settings, verified.scored[0]
    rows = [
        ("forecast", ", ".join(settings["forecasts"])),
        ("beside", ", ".join(settings["beside"]) or "none"),
        ("analyses", str(settings["against"])),
        ("initial times", f"{len(first.positions)}, {' to '.join(settings['period'])}"),
        ("points", str(settings["points"])),
        ("channels", ", ".join(first.labels("channel"))),
        ("climatology", " to ".join(settings["climatology_period"] or ("none",))),
        *((f"missing: {name}", text) for name, text in told(verified.availability)),
    ]
    seconds = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in wall_time_s.items())
    return [*rows, ("wall time", seconds)] if seconds else rows


def difference_table(difference: Difference, leads: Sequence[float | None]) -> tuple[str, list[list[str]]]:
    """A titled table: rows of channels, columns of metrics at lead times; * marks an interval that excludes 0."""
    forecast = difference.forecast
    metrics = [metric for metric in ("rmse", "crps") if metric in difference.metrics]
    columns = [(i, lead, m) for m in metrics for i, lead in enumerate(forecast.labels("lead_time_h")) if lead in leads]
    rows = [["difference", "units", *(f"{m} +{lead:g} h" for _, lead, m in columns)]]
    numbers = {m: (difference.value(m), *difference.interval(m)) for m in metrics}
    for c, (channel, units) in enumerate(zip(forecast.labels("channel"), forecast.labels("units"), strict=True)):
        cells = []
        for i, _, metric in columns:
            value, low, high = (array[i, c] for array in numbers[metric])
            cells.append(f"{value:+.4g} ({low:+.4g} to {high:+.4g}){' *' if low > 0 or high < 0 else ''}")
        rows.append([channel, units, *cells])
    return f"{forecast.forecast} less {difference.other.forecast}", rows


def example_maps(pairing: Pairing) -> dict[str, Any] | None:
    """Maps of the forecast in the middle, at its last lead time with an analysis; None if there are no values to draw."""
    init = pairing.inits[len(pairing.inits) // 2]
    ticks, forecaster = pairing.valid_ticks(init), pairing.forecasters[FORECAST]
    lead = int(np.flatnonzero(np.isin(ticks, pairing.times.ticks))[-1])
    chosen, rows = mapped_channels(pairing.channels), []
    places = [(group, v) for group in pairing.groups for v in range(len(group.record.channels))]
    for group, v in (places[c] for c in chosen):
        truth = group.truth(pairing.times, ticks[lead : lead + 1])[0, v]
        leads = slice(lead, lead + 1)
        members = forecaster.read(init, group.variable, group.levels, leads, pairing.points.grid.shape)[:, 0, v]
        if np.isfinite(truth).any() and (np.isfinite(members).all(axis=0) & np.isfinite(truth)).any():
            rows.append((group.record.channels[v], group.record.units[v], truth, members))
    if not rows:
        return None
    text = f"One forecast from {pairing.times.at([init])[0]}, {pairing.lead_time_h[lead]:g} h ahead."
    return section("Maps", text, [figures.forecast_maps(pairing.points.grid, rows)])
