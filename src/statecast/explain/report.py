"""An explanation written out: labelled arrays as NetCDF, maps as one self-contained page."""

from pathlib import Path
from typing import Any

import xarray as xr

from statecast.evaluation.report import section, write_page
from statecast.explain import figures

SENSITIVITY = (
    "Change of the answer for one standard deviation of the anomaly of each input, through every path of the model, of the channels that "
    "count most. The cross is the point that is asked."
)
ROLLOUT = (
    "How much of each token would reach the answer if every layer mixed by attention alone (Abnar & Zuidema 2020)."
)
DECODER = "What the asked token takes from each shown one, layer by layer and head by head; each sums to 1 over all streams and times."
ENCODER = (
    "The same inside the encoder, of the shown token that lies nearest to the asked one: the answer starts from it."
)
COUNTERFACTUAL = (
    "The same normalised anomalies shown, with another season or hour in all coordinates. The climatology that anomalies depart from is "
    "left as it is."
)


def write_explanation(explained: xr.Dataset, model: str, store: str, out: Path) -> None:
    """Write `explain.nc` and `report.html` into the directory `out`."""
    explained.to_netcdf(out / "explain.nc")
    title = f"What the answer for {explained.attrs['query']} comes from"
    write_page(title, _facts(explained, model, store), _sections(explained), out / "report.html")


def streams_of(explained: xr.Dataset) -> list[str]:
    """The streams that are shown."""
    suffix = "_rollout"
    return [str(name).removesuffix(suffix) for name in explained.data_vars if str(name).endswith(suffix)]


def _sections(explained: xr.Dataset) -> list[dict[str, Any]]:
    streams = streams_of(explained)
    sections = [
        section("Sensitivity", SENSITIVITY, [figures.sensitivity_maps(explained)]),
        section("Attention roll-out", ROLLOUT, [figures.rollout_maps(explained, streams)]),
    ]
    for part, text in (("decoder", DECODER), ("encoder", ENCODER)):
        maps = [figures.head_maps(explained, stream, f"{part}_attention") for stream in streams]
        sections.append(section(f"Attention of the {part}", text, maps))
    if {"season", "hour_utc"} & set(explained.attrs):
        sections.append(section("Another α", COUNTERFACTUAL, [figures.counterfactual_maps(explained)]))
    return sections


def _facts(explained: xr.Dataset, model: str, store: str) -> list[tuple[str, str]]:
    members, units = explained.answer.values, explained.answer.attrs["units"]
    spread = f" ± {members.std(ddof=1):.4g}" if len(members) > 1 else ""
    facts = [
        ("model", model),
        ("data", store),
        ("shown up to", figures.short(explained.init_time.values)),
        (
            "asked",
            f"{explained.attrs['query']} at {float(explained.query_lat):.4g}° N, {float(explained.query_lon):.4g}° E",
        ),
        ("valid at", f"{figures.short(explained.valid_time.values)} ({float(explained.lead_time):g} h later)"),
        ("answer", f"{members.mean():.6g}{spread} {units} (mean and spread of {len(members)} members)"),
    ]
    other = [
        f"{key.removesuffix('_utc')} {explained.attrs[key]}" for key in ("season", "hour_utc") if key in explained.attrs
    ]
    return [*facts, ("another α", ", ".join(other))] if other else facts
