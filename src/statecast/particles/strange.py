"""Strange jets, and which of their particles are strange.

Axes: N token.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from statecast.outputs import new_output, require_place
from statecast.particles.features import MOMENTA, POSITION, quantity_values
from statecast.particles.inference.tables import write_table
from statecast.particles.jets import PARTICLE_KINDS
from statecast.particles.streams import JetStream, ParticleStream
from statecast.streams import Tokens, Window
from statecast.surprise.report import write_report
from statecast.surprise.strange import Anomalies, Search, facts, searched
from statecast.surprise.tables import Columns, by_coordinates
from statecast.trained import ModelError, TrainedModel, load

BATCH = 64  # jets that are asked at once
END = "end of the jet"


def anomalies(
    run: str | Path | TrainedModel,
    data: str | None = None,
    period: tuple[str, str] | None = None,
    out: str | Path = "anomalies",
    *,
    search: Search | None = None,
    report: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> Anomalies:
    """How surprising each particle and number of each jet is; write `samples.parquet`, `tokens.parquet` and `report.html` into `out`.

    data, period  file of jets, and the first and the last jet; None: the validation split of the model's recipe

    The columns are those of `surprise.tables.Tables`; a token has the rank, pT, direction and kind of its particle, or the name and the
    value of a number of the jet. Raises ModelError where there is no jet, or the task asks no content.
    """
    trained = load(run)
    search = search or Search(batch=BATCH)
    require_place(out, overwrite)
    source = trained.domain.open(trained.domain.with_data(trained.recipe, data, period), "validate", trained.codecs)
    if source is None:
        raise ModelError(
            "the recipe has no validation split, and no file is given. Give --data FILE or --period FIRST LAST."
        )
    found, usual = searched(trained, source.cases(), search, token_names, progress=progress)
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        for name in ("samples", "tokens"):
            write_table(iter([getattr(found, name)]), directory / f"{name}.parquet")
        if report:
            write_report(found, usual, facts(trained, data, search), directory / "report.html")
    return Anomalies(Path(out), found, usual)


def token_names(codecs: Mapping[str, Any], label: Any, window: Window, name: str) -> Columns:
    """Rank, pT, direction and kind of the particle that a token of particles, or of a target of them, is about; of a number its name."""
    particles, jet = (_stream_of(codecs, kind) for kind in (ParticleStream, JetStream))
    tokens = window[name]
    if particles is None or any(axis.name == "jet" for axis in tokens.spec.axes) or not tokens.spec.axes:
        return by_coordinates(codecs, label, window, name)  # of an event, or a label
    rank = tokens.coordinate("index").numpy()
    if jet is not None and len(rank) and (rank < 0).all():
        return _of_numbers(codecs[jet], window[jet], len(tokens))
    return _of_particles(codecs[particles], window[particles], rank)


def _stream_of(codecs: Mapping[str, Any], kind: type[Any]) -> str | None:
    """The stream of this kind, if there is one."""
    return next((name for name, codec in codecs.items() if isinstance(codec.stream, kind)), None)


def _of_numbers(codec: Any, tokens: Tokens, count: int) -> Columns:
    """Of numbers of the jet: their names, and their values in their units."""
    names = codec.stream.ordered
    scaled = torch.where(tokens.observed, tokens.values, torch.nan)[:, 0] * codec.std + codec.mean
    values = [quantity_values(value, name) for name, value in zip(names, scaled.double().numpy(), strict=True)]
    return {"quantity": np.array(names)[:count], "value": np.array(values)[:count]}


def _of_particles(codec: Any, tokens: Tokens, rank: np.ndarray) -> Columns:
    """Of particles, by their rank; one beyond the last is the end of the jet."""
    assert tokens.codes is not None
    features = torch.where(tokens.observed, tokens.values, torch.nan) * codec.std + codec.mean
    ended = torch.cat([features, torch.full((1, features.shape[1]), torch.nan)]).double().numpy()
    of_codes = np.array([*PARTICLE_KINDS, END, "unknown"])  # the last is that of the code -1
    kinds = of_codes[[*tokens.codes.tolist(), len(PARTICLE_KINDS)]]
    at = np.minimum(rank.astype(int), len(tokens))
    found = {"rank": rank.astype(float)}
    for name, values in zip(codec.channels, ended.T, strict=True):
        if name in MOMENTA:
            found[{"log_pt": "pt_gev", "log_pt_fraction": "pt_fraction"}[name]] = np.exp(values)[at]
        elif name in POSITION:
            found[name] = values[at]
    return found | {"kind": kinds[at]}
