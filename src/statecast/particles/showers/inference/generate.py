"""Showers drawn from a model, stream after stream, and written as the CaloChallenge writes them.

Axes: B shower of a batch, S shower, V voxel.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from statecast.evaluation.progress import progress_bar
from statecast.models import Draws
from statecast.outputs import new_output
from statecast.particles.showers.codec import IncidentCodec, Parts, ShareCodec, energies_of
from statecast.particles.showers.geometry import ShowerError
from statecast.particles.showers.sources.files import Showers, open_showers, write_showers
from statecast.particles.showers.sources.profile import MEV
from statecast.particles.showers.streams import IncidentStream, LayerStream, ResponseStream, VoxelStream
from statecast.streams import Question, StreamOptions, Tokens, Window
from statecast.tasks import Cascade
from statecast.trained import ModelError, TrainedModel, load

BATCH = 128
STEPS = 8  # of the solver, two evaluations each
SHOWERS = 1000
MARGIN = 1e-6  # relative, of the range of incident energies


def generate(
    run: str | Path | TrainedModel,
    showers: int | None = None,
    out: str | Path | None = None,
    *,
    energy_gev: tuple[float, float] | None = None,
    like: str | Path | None = None,
    steps: int = STEPS,
    seed: int = 0,
    batch: int = BATCH,
    overwrite: bool = False,
    progress: bool = False,
) -> Showers:
    """Draw showers, and write them to `out` (HDF5 of the CaloChallenge) if it is given.

        p(voxels | E) = p(response, layers | E) p(voxels | response, layers, E)        in the order of the task `cascade`

    showers     number of them; None: as many as `like` holds, or 1000
    energy_gev  range of the incident energies, uniform in their logarithm; None: that of training
    like        a file whose incident energies are taken, in its order
    steps       of Heun's solver of the flow
    seed        the same seed gives the same showers, also when more of them are drawn

    Raises ShowerError for no showers, and for energies outside those of training; ModelError for a model that can't generate showers.
    """
    trained = load(run)
    require_generator(trained)
    incident = incident_energies(trained, showers, energy_gev, like, seed)
    drawn = draw(trained, incident, steps=steps, seed=seed, batch=batch, progress=progress)
    if out is not None:
        attributes = {"statecast.generated": {"seed": seed, "steps": steps}}
        with new_output(out, overwrite=overwrite) as path:
            write_showers(path, iter([drawn]), len(drawn), drawn.voxels_mev.shape[1], attributes)
    return drawn


def require_generator(trained: TrainedModel) -> None:
    """Raises ModelError for a model that can't generate showers."""
    recipe = trained.recipe
    if recipe.data.domain != "showers":
        raise ModelError(f"the model is of the domain {recipe.data.domain}, expected showers.")
    asked = {name for together in recipe.task.order for name in together} if isinstance(recipe.task, Cascade) else set()
    missing = [
        name for name, stream in recipe.streams.items() if not isinstance(stream, IncidentStream) and name not in asked
    ]
    if missing or recipe.model.head != "flow":
        lacks = f"its task does not ask for {missing[0]}" if missing else f"its head is {recipe.model.head}"
        raise ModelError(f"the model can't generate showers: {lacks}. Fine-tune it by the recipe showers-generate.")


def incident_energies(
    trained: TrainedModel,
    showers: int | None,
    energy_gev: tuple[float, float] | None,
    like: str | Path | None,
    seed: int,
) -> Float[np.ndarray, " S"]:
    """In MeV. Raises ShowerError for energies that the model has not learned."""
    if showers is not None and showers < 1:
        raise ShowerError(f"showers is {showers}, expected at least 1.")
    if like is not None and energy_gev is not None:
        raise ShowerError("energy and like are both given, expected one of them. Leave one out.")
    codec = incident_codec(trained)
    if like is not None:
        files = open_showers(like)
        if showers is not None and showers > len(files):
            raise ShowerError(f"file {like}: holds {len(files)} showers, {showers} are asked. Ask for at most as many.")
        energies = np.concatenate([block.incident_mev for block in files.blocks()])[:showers]
    else:
        low, high = (codec.low_mev, codec.high_mev) if energy_gev is None else (MEV * energy for energy in energy_gev)
        if not 0 < low <= high:
            raise ShowerError(f"energy is {low / MEV:g} to {high / MEV:g} GeV, expected a range above 0.")
        uniform = np.random.default_rng(seed).random(showers or SHOWERS)
        energies = np.exp(np.log(low) + uniform * (np.log(high) - np.log(low)))
    low, high = float(energies.min()), float(energies.max())
    if low < codec.low_mev * (1 - MARGIN) or high > codec.high_mev * (1 + MARGIN):
        raise ShowerError(
            f"incident energies are {low / MEV:.4g} to {high / MEV:.4g} GeV, but the model learned from {codec.low_mev / MEV:.4g} to "
            f"{codec.high_mev / MEV:.4g} GeV. Ask within this range, or train on a wider one."
        )
    return energies


def incident_codec(trained: TrainedModel) -> IncidentCodec:
    """The codec of the incident energy."""
    return trained.codecs[trained.recipe.stream_of(IncidentStream)]


@torch.inference_mode()
def draw(
    trained: TrainedModel,
    incident_mev: Float[np.ndarray, " S"],
    *,
    steps: int = STEPS,
    seed: int = 0,
    batch: int = BATCH,
    progress: bool = False,
) -> Showers:
    """A shower for each incident energy, in batches."""
    with progress_bar("showers", progress) as report:
        parts = list(_batches(trained, incident_mev, Draws(members=1, steps=steps, seed=seed), batch, report))
    return Showers(incident_mev, np.concatenate(parts))


def _batches(
    trained: TrainedModel, incident_mev: Float[np.ndarray, " S"], draws: Draws, batch: int, report: Any
) -> Iterator[Float[np.ndarray, "B V"]]:
    kinds: tuple[type[StreamOptions], ...] = (ResponseStream, LayerStream, VoxelStream)
    order = [(name, trained.codecs[name]) for name in map(trained.recipe.stream_of, kinds)]
    for first in range(0, len(incident_mev), batch):
        incident = incident_mev[first : first + batch]
        numbers = torch.arange(first, first + len(incident))
        values = _draw_streams(trained, incident, numbers, draws)
        yield energies_of(values, incident, order, is_drawn=True).reshape(len(incident), -1).astype(np.float32)
        report(min(1.0, (first + batch) / len(incident_mev)))


def _draw_streams(
    trained: TrainedModel, incident_mev: Float[np.ndarray, " B"], numbers: Int[torch.Tensor, " B"], draws: Draws
) -> dict[str, Float[np.ndarray, "B N P"]]:
    """The values of each stream, drawn in the order of the task."""
    name = trained.recipe.stream_of(IncidentStream)
    known = trained.codecs[name].tokens(_only_energy(incident_mev))
    index = torch.zeros(len(numbers), 1, dtype=torch.int64)
    context: Window = {name: Tokens(known.values, known.coords, known.observed, known.spec, index=index)}
    values: dict[str, Any] = {}
    for together in trained.recipe.task.order:
        asked = {name: _codec(trained, name).asked(len(numbers)) for name in together}
        question = Question(context, asked, seed=numbers).to(trained.device)
        for name, said in trained.model.answer(question, draws).items():
            assert said.members is not None
            drawn = said.members[:, :, 0].cpu()
            values[name], context = drawn.numpy(), {**context, name: asked[name].replace(drawn)}
    return values


def _codec(trained: TrainedModel, name: str) -> ShareCodec:
    return trained.codecs[name]


def _only_energy(incident_mev: Float[np.ndarray, " B"]) -> Parts:
    nothing = np.zeros(len(incident_mev))
    return Parts(np.log(incident_mev), nothing, nothing[:, None], nothing[:, None, None, None])
