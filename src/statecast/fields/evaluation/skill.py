"""Skill of forecasts beside their baselines: tables, sections of a report, what an evaluation leaves. Axes: L lead time, V channel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from statecast.evaluation import Verification
from statecast.evaluation.report import section
from statecast.fields.evaluation import figures

TABLE_LEADS_H = (6.0, 24.0, 72.0)
REFERENCES = ("persistence", "climatology", "linear", "interpolation", "bilinear", "regression", "quantile_mapping")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation leaves: its directory, what was verified, and further tables with their titles."""

    out: Path
    verifications: list[Verification] = field(default_factory=list)
    further: list[tuple[str, list[list[str]]]] = field(default_factory=list)

    @property
    def written(self) -> Path:
        """The file to look at."""
        report = self.out / "report.html"
        return report if report.exists() else self.out / "scores.json"

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """A titled table of each task at its last lead time, and the further ones."""
        return skill_tables(self.verifications) + self.further


def relative_table(verifications: Sequence[Verification], leads: Sequence[float | None]) -> list[list[str]]:
    """Rows of a table: each channel's RMSE by forecast and lead time, and the mean over channels of RMSE over that of each baseline."""
    first = verifications[0]
    lead_times = first.labels("lead_time_h")
    columns = []  # lead time by its number, and forecast
    for i, lead in enumerate(lead_times):
        if lead in leads:
            columns += [(i, v) for v in verifications if v.forecast != "climatology_distribution"]
    rows = [["RMSE", "units", *(f"{v.forecast}{_lead(lead_times[i])}" for i, v in columns)]]
    for c, (channel, units) in enumerate(zip(first.labels("channel"), first.labels("units"), strict=True)):
        rows.append([channel, units, *(f"{v.value('rmse')[i, c]:.4g}" for i, v in columns)])
    for name in REFERENCES:
        reference = next((v for v in verifications if v.forecast == name), None)
        if reference is not None:
            ratios = [f"{mean_ratio(v, reference)[i]:.3f}" for i, v in columns]
            rows.append([f"mean RMSE / {name}", "1", *ratios])
    return rows


def skill_tables(
    verifications: Sequence[Verification], *, before: str = "", lead_time_h: float | None = None
) -> list[tuple[str, list[list[str]]]]:
    """A titled table of each task, at its last lead time if none is given; `before` stands before each title."""
    tables = []
    for task in dict.fromkeys(v.task for v in verifications):
        shown = [v for v in verifications if v.task == task]
        leads, ahead = shown[0].labels("lead_time_h")[-1:], ""
        if lead_time_h is not None and leads != (None,):
            leads, ahead = (lead_time_h,), f" {lead_time_h:g} h ahead"
        tables.append((f"{before}{task}, RMSE{ahead}", relative_table(shown, leads)))
    return tables


def mean_ratio(verification: Verification, reference: Verification, metric: str = "rmse") -> Float[np.ndarray, " L"]:
    """Mean over channels of a score over the reference's, for each lead time."""
    values, others = verification.value(metric), reference.value(metric)
    ratios = np.divide(values, others, out=np.full(values.shape, np.nan), where=others > 0)
    return np.asarray(ratios.mean(axis=-1))


def _lead(lead: float | None) -> str:
    return "" if lead is None else f" +{lead:g} h"


def skill_sections(
    forecasts: Sequence[Verification], ensembles: Sequence[str], of_ensemble: str
) -> list[dict[str, Any]]:
    """Sections of a report on the forecasts of one task: skill by lead time, and the CRPS.

    ensembles    names of the forecasts whose reliability is drawn, if they have several members
    of_ensemble  what the page says of the CRPS
    """
    of = forecasts[0].task.removeprefix("forecast")
    lead_times = forecasts[0].labels("lead_time_h")
    leads = [lead for lead in lead_times if lead in TABLE_LEADS_H] or [lead_times[-1]]
    starts = len(forecasts[0].positions)
    text = f"Area-weighted scores over {starts} starts; bands are 95 % intervals from resampling the starts in blocks of five days."
    reliable = [figures.reliability(v) for v in forecasts if v.forecast in ensembles and v.members > 1]
    return [
        section(
            f"Forecast skill{of}", text, [figures.skill_by_lead_time(forecasts)], table=relative_table(forecasts, leads)
        ),
        section(
            f"Ensemble{of}",
            of_ensemble,
            [figures.skill_by_lead_time(forecasts, "crps"), *reliable],
        ),
    ]
