"""Decode the coastlines that statecast draws on its maps from the TopoJSON of the npm package world-atlas (Natural Earth, 1:110m).

    npm pack world-atlas@2 && tar xzf world-atlas-2.*.tgz
    python scripts/make_coastlines.py package/land-110m.json src/statecast/evaluation/coastlines_110m.json

Lines are cut where they cross the date line, and the edges that only close a polygon along it are dropped.
"""

import json
import sys
from itertools import accumulate, pairwise
from pathlib import Path

Point = tuple[float, float]
DATE_LINE_DEG = 180.0


def decode_arcs(topology: dict) -> list[list[Point]]:
    """Arcs as (longitude, latitude) in degrees: quantised differences, summed up, scaled and moved (TopoJSON 1.0, section 2.1.4)."""
    (scale_x, scale_y), (origin_x, origin_y) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for arc in topology["arcs"]:
        corners = accumulate(arc, lambda a, b: (a[0] + b[0], a[1] + b[1]))
        arcs.append([(x * scale_x + origin_x, y * scale_y + origin_y) for x, y in corners])
    return arcs


def lies_on_date_line(start: Point, end: Point) -> bool:
    return abs(start[0]) == abs(end[0]) == DATE_LINE_DEG


def cut_at_date_line(line: list[Point]) -> list[list[Point]]:
    """The pieces of a line that has no step from one edge of the map to the other."""
    pieces = [[line[0]]]
    for start, end in pairwise(line):
        if lies_on_date_line(start, end):
            pieces.append([end])
        elif abs(end[0] - start[0]) <= DATE_LINE_DEG:
            pieces[-1].append(end)
        else:
            edge = DATE_LINE_DEG if start[0] > 0 else -DATE_LINE_DEG
            unwrapped = end[0] + 2 * edge
            share = (edge - start[0]) / (unwrapped - start[0]) if unwrapped != start[0] else 0.0
            crossing = start[1] + share * (end[1] - start[1])
            pieces[-1].append((edge, crossing))
            pieces.append([(-edge, crossing), end])
    return pieces


def rounded(line: list[Point]) -> list[Point]:
    """To 0.01 degrees (1 km), without repeated points."""
    points = [(round(lon, 2) + 0.0, round(lat, 2) + 0.0) for lon, lat in line]
    return points[:1] + [b for a, b in pairwise(points) if a != b]


def main(source: str, target: str) -> None:
    pieces = [
        rounded(piece) for arc in decode_arcs(json.loads(Path(source).read_text())) for piece in cut_at_date_line(arc)
    ]
    coastlines = {
        "source": "Natural Earth 1:110m land, version 4.1, by way of the npm package world-atlas 2.0.2 (scripts/make_coastlines.py)",
        "licence": "public domain",
        "coordinates": "lines of [longitude, latitude] in degrees, longitude from -180 to 180",
        "lines": [piece for piece in pieces if len(piece) > 1],
    }
    Path(target).write_text(json.dumps(coastlines, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
