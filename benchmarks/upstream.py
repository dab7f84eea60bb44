"""A check on physics that we know: what a forecast at a middle latitude is sensitive to lies upstream, to the west.

    python benchmarks/upstream.py --model RUN [--data sample:atmosphere] [--lead-time-h 24] [--smoke]

For each variable, points between 40 and 60 degrees north and south at several longitudes, and starts in months that no training saw: the
longitude of the sensitivity's centre less that of the point, weighted by |gradient|² over all channels and times that are shown, each in
standard deviations of its anomaly. Prints its mean in degrees (negative is west) with the standard error over starts, and the share of
the cases where it lies to the west; and the same without the point's own column of values, where persistence sits.

The null is the same model with weights as they are drawn: it knows no flow, and its heads look to all sides alike.
"""

import argparse
from collections.abc import Iterator
from itertools import product

import numpy as np
import xarray as xr

from shared import SAMPLE, centre_offset_deg, given_or_tiny, require_model
from statecast import open_fields
from statecast.explain.sensitivity import as_batch, sensitivity
from statecast.fields.explain import ask_point
from statecast.fields.explain.labelled import gradient_fields, sensitivity_arrays
from statecast.fields.explain.point import value_in_token
from statecast.trained import TrainedModel, build

VARIABLES = ("z@500", "t@850")
LATITUDES = {"north": (42.0, 50.0, 58.0), "south": (-42.0, -50.0, -58.0)}
LONGITUDES = tuple(
    -180 + 52.5 * k for k in range(7)
)  # an odd number of columns of the sample apart: both halves of a token
STARTS = tuple(
    f"2001-{month:02d}-{day:02d}T{hour:02d}" for month in (1, 2) for day, hour in ((5, 0), (12, 6), (19, 12), (26, 18))
)


def offset_deg(field: xr.DataArray, lat: float, lon: float, *, without_point: bool = False) -> float:
    """Longitude of the centre of |gradient|² less that of the point, -180 to 180; westward is negative."""
    weight = (field.fillna(0) ** 2).sum(["time", "channel"])
    if without_point:
        weight = weight.where((weight.lat != lat) | (weight.lon != lon), 0.0)
    return centre_offset_deg(weight, lon)


def cases(smoke: bool) -> Iterator[tuple[str, str, float, float, str]]:
    """Variable, hemisphere, latitude, longitude, start."""
    variables, starts, longitudes = (
        (VARIABLES[:1], STARTS[:2], LONGITUDES[:2]) if smoke else (VARIABLES, STARTS, LONGITUDES)
    )
    for variable, hemisphere in product(variables, LATITUDES):
        for lat, lon, start in product(LATITUDES[hemisphere], longitudes, starts):
            yield variable, hemisphere, lat, lon, start


def offsets(trained: TrainedModel, dataset: xr.Dataset, lead_time_h: float, smoke: bool) -> xr.Dataset:
    """Both offsets of every case."""
    rows = []
    for variable, hemisphere, lat, lon, start in cases(smoke):
        asked = ask_point(trained, dataset, start, (lat, lon, variable), lead_time_h)
        found = sensitivity(trained.model, as_batch(asked.question, trained.model), value_in_token(asked))
        own = trained.codecs[asked.stream].climatology.anomaly_std[asked.index[1]]
        fields = gradient_fields(asked, found.shown)
        field = sensitivity_arrays(asked, fields, float(own)).sensitivity
        point = float(asked.grid.lat[asked.index[2]]), float(asked.grid.lon[asked.index[3]])
        centres = [offset_deg(field, *point, without_point=without) for without in (False, True)]
        rows.append((variable, hemisphere, start, *centres))
    names = ("variable", "hemisphere", "start", "offset", "offset_elsewhere")
    return xr.Dataset(
        {name: ("case", list(values)) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    )


def print_table(title: str, found: xr.Dataset) -> None:
    print(
        f"{title}: offset of the sensitivity's centre in degrees of longitude (west is negative), share of the cases to the west"
    )
    groups = product(dict.fromkeys(found.variable.values), dict.fromkeys(found.hemisphere.values))
    for variable, hemisphere in groups:
        rows = found.isel(case=((found.variable == variable) & (found.hemisphere == hemisphere)).values)
        parts = []
        for name in ("offset", "offset_elsewhere"):
            means = rows[name].groupby(rows.start).mean()
            error = float(means.std(ddof=1)) / np.sqrt(len(means))
            parts.append(f"{float(rows[name].mean()):6.1f} ± {error:.1f}, {float((rows[name] < 0).mean()):4.0%} west")
        print(
            f"  {variable:6s} {hemisphere:5s} {rows.sizes['case']:4d} cases   all {parts[0]}   without the point {parts[1]}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="run or model that forecasts; may be left out with --smoke")
    parser.add_argument("--data", default=SAMPLE)
    parser.add_argument("--lead-time-h", type=float, default=24.0)
    parser.add_argument("--smoke", action="store_true", help="a few cases")
    arguments = parser.parse_args()
    require_model(parser, "--model", arguments.model, arguments.smoke)
    trained, dataset = given_or_tiny(arguments.model), open_fields(arguments.data)
    print_table("trained", offsets(trained, dataset, arguments.lead_time_h, arguments.smoke))
    drawn = TrainedModel(build(trained.model.options, trained.codecs, 0).eval(), trained.codecs, trained.recipe)
    print_table("as drawn", offsets(drawn, dataset, arguments.lead_time_h, arguments.smoke))


if __name__ == "__main__":
    main()
