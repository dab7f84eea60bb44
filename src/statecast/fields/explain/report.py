"""An explanation written out: labelled arrays as NetCDF, maps as one self-contained page and as files."""

from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from statecast.evaluation.report import as_png, section, write_page
from statecast.fields.explain import figures

SENSITIVITY = (
    "Change of the answer for one standard deviation of the anomaly of each input, through every path of the model, for the most "
    "influential channels. The cross marks the asked point."
)
ROLLOUT = (
    "How much of each token would reach the answer if every layer mixed by attention alone (Abnar & Zuidema 2020)."
)
DECODER = "Attention of the asked token to each visible one, by layer and head; each map sums to 1 over all streams and times."
ENCODER = "Attention inside the encoder, of the visible token that lies nearest to the asked one, from which the answer starts."
COUNTERFACTUAL = (
    "The answer to the same normalised anomalies, with another season or hour in all coordinates. The climatology of the anomalies is "
    "not changed."
)


def write_explanation(explained: xr.Dataset, model: str, store: str, out: Path) -> None:
    """Write `explain.nc`, `report.html` and each figure of it as a PNG file of its own into the directory `out`."""
    explained.to_netcdf(out / "explain.nc")
    sections = []
    for title, text, drawn in _parts(explained):
        images = {name: as_png(figure) for name, figure in drawn.items()}
        sections.append(section(title, text, list(images.values())))
        for name, image in images.items():
            (out / f"{name}.png").write_bytes(image)
    title = f"Explanation of the answer for {explained.attrs['query']}"
    write_page(title, _facts(explained, model, store), sections, out / "report.html")


def streams_of(explained: xr.Dataset) -> list[str]:
    """The visible streams."""
    suffix = "_rollout"
    return [str(name).removesuffix(suffix) for name in explained.data_vars if str(name).endswith(suffix)]


def _parts(explained: xr.Dataset) -> list[tuple[str, str, dict[str, Figure]]]:
    """Heading, text and figures by their names."""
    streams = streams_of(explained)
    parts = [
        ("Sensitivity", SENSITIVITY, {"sensitivity": figures.sensitivity_maps(explained)}),
        ("Attention roll-out", ROLLOUT, {"rollout": figures.rollout_maps(explained, streams)}),
    ]
    for part, text in (("decoder", DECODER), ("encoder", ENCODER)):
        name = f"{part}_attention"
        drawn = {f"{stream}_{name}": figures.head_maps(explained, stream, name) for stream in streams}
        parts.append((f"Attention of the {part}", text, drawn))
    if {"season", "hour_utc"} & set(explained.attrs):
        parts.append(("Another α", COUNTERFACTUAL, {"counterfactual": figures.counterfactual_maps(explained)}))
    return parts


def _facts(explained: xr.Dataset, model: str, store: str) -> list[tuple[str, str]]:
    members, units = explained.answer.values, explained.answer.attrs["units"]
    spread = f" ± {members.std(ddof=1):.4g}" if len(members) > 1 else ""
    facts = [
        ("model", model),
        ("data", store),
        ("visible up to", figures.short(explained.init_time.values)),
        (
            "asked",
            f"{explained.attrs['query']} at {float(explained.query_lat):.4g}° N, {float(explained.query_lon):.4g}° E",
        ),
        ("valid at", f"{figures.short(explained.valid_time.values)} ({float(explained.lead_time):g} h later)"),
        ("answer", f"{members.mean():.6g}{spread} {units} (mean and spread of {len(members)} head members)"),
    ]
    other = [
        f"{key.removesuffix('_utc')} {explained.attrs[key]}" for key in ("season", "hour_utc") if key in explained.attrs
    ]
    return [*facts, ("another α", ", ".join(other))] if other else facts
