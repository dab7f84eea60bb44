"""A page of a report: one self-contained HTML file."""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from statecast.evaluation.bootstrap import Score


def write_page(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Write a self-contained page to the file `out`: a table of facts, then sections as `section` makes them."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(files("statecast.evaluation"))), autoescape=True
    )
    page = environment.get_template("report.html.j2").render(
        facts=facts, sections=sections, title=title, version=version("statecast")
    )
    out.write_text(page, encoding="utf-8")


def section(
    title: str, text: str, shown: Sequence[Figure | bytes], table: Any = None, tables: Sequence[Any] = ()
) -> dict[str, Any]:
    """One section of a page: a heading, a sentence or two, tables and figures, which may be PNG images already."""
    return {
        "title": title,
        "text": text,
        "figures": [_as_data_url(figure) for figure in shown],
        "tables": [*([table] if table else []), *tables],
    }


def score_table(scores: Sequence[Score]) -> list[list[str]]:
    """Rows of a table: each score of each forecast."""
    rows = [["forecast", "score", "value", "95 % interval"]]
    for score in scores:
        rows.append([score.forecast, score.metric, f"{score.value:.3f}", f"{score.low:.3f} to {score.high:.3f}"])
    return rows


def as_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _as_data_url(shown: Figure | bytes) -> str:
    image = shown if isinstance(shown, bytes) else as_png(shown)
    return "data:image/png;base64," + base64.b64encode(image).decode()
