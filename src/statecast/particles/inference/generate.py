"""Jets drawn from a model: first the numbers of the jet, the count among them, then its particles in order of decreasing pT.

Axes: B jet of a batch, N particle, Q number of the jet, P value in a token.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statecast.evaluation.progress import progress_bar
from statecast.labels import LabelCodec
from statecast.models.generation import CausalState
from statecast.outputs import new_output
from statecast.particles.codec import (
    BinsCodec,
    CodebookCodec,
    JetCodec,
    OneJet,
    ParticleCodec,
    ResidualCodec,
    places_of,
)
from statecast.particles.features import POSITION, quantity_values
from statecast.particles.inference.parquet import write_jets
from statecast.particles.jets import Jets, momentum_columns, momentum_components, summed_momentum, wrapped
from statecast.particles.tasks import Mix, NextParticle
from statecast.streams import Tokens, concatenate, stack
from statecast.trained import ModelError, TrainedModel, load

BATCH = 256
CLOSING_STEPS = 6  # the mass grows nearly in proportion to the distances, so that the iteration ends soon
LARGEST_STRETCH = 2.0
SMALLEST_MASS_GEV = 1e-3


@dataclass(frozen=True)
class Sampling:
    """How codes of particles are drawn, see `CategoricalHead.sample`. Numbers of the jet are drawn as the model says."""

    temperature: float = 1.0
    top_k: int | None = None


AS_LEARNED = Sampling()


@dataclass(frozen=True)
class Generator:
    """A model with the streams that generation needs, by their role.

    fine   stream and codec of the second code; None: a particle lies anywhere in the cell of its first
    label  stream and codec of the condition; None for a model that was not shown a label
    """

    trained: TrainedModel
    particles: tuple[str, ParticleCodec]
    codes: tuple[str, CodebookCodec]
    jet: tuple[str, JetCodec]
    bins: tuple[str, BinsCodec]
    fine: tuple[str, ResidualCodec] | None
    label: tuple[str, LabelCodec] | None

    @classmethod
    def of(cls, trained: TrainedModel) -> "Generator":
        """Raises ModelError for a model that can't generate jets."""
        task, codecs = _generating_task(trained), trained.codecs
        asked = {type(codecs[name]): (name, codecs[name]) for name in task.ask}
        shown = {type(codecs[name]): (name, codecs[name]) for name in task.show}
        for kind, found, what in (
            (CodebookCodec, asked, "ask for a codebook of particles"),
            (BinsCodec, asked, "ask for bins of numbers of the jet"),
            (JetCodec, shown, "show the numbers of the jet"),
        ):
            if kind not in found:
                raise ModelError(
                    f"the model can't generate jets: its task doesn't {what}. Fine-tune it by the recipe jets-generate."
                )
        if "pt_gev" not in shown[JetCodec][1].stream.ordered:
            raise ModelError(
                "the model can't generate jets: pt_gev is none of the numbers of the jet. Add it to quantities."
            )
        particles = (task.particles, codecs[task.particles])
        return cls(
            trained,
            particles,
            asked[CodebookCodec],
            shown[JetCodec],
            asked[BinsCodec],
            asked.get(ResidualCodec),
            shown.get(LabelCodec),
        )

    def draw(self, labels: Sequence[str | None], random: torch.Generator, sampling: Sampling) -> Jets:
        """A jet for each label; None: of any class."""
        state = self._started(labels)
        numbers = self._draw_numbers(state, random)
        particles = self._draw_particles(state, numbers, random, sampling)
        return self._as_jets(particles, numbers, labels, random)

    def _started(self, labels: Sequence[str | None]) -> CausalState:
        """Only the labels are visible."""
        nothing = {
            name: _repeated(codec.tokens(_no_jet(self))[:0], len(labels)) for name, codec in (self.particles, self.jet)
        }
        condition = {}
        if self.label is not None:
            name, codec = self.label
            condition[name] = stack([{name: codec.tokens(label)} for label in labels])[name]
        state = CausalState(self.trained.model, {**nothing, **condition})
        state.extend(condition)
        return state

    def _draw_numbers(self, state: CausalState, random: torch.Generator) -> dict[str, Float[Tensor, " B"]]:
        """The numbers of each jet one after the other, in their own units; each is made visible."""
        (name, codec), (bins_name, bins) = self.jet, self.bins
        jets = self._jets(state)
        asked = _repeated(bins.tokens(_no_jet(self)), jets)
        drawn = {}
        for place, quantity in enumerate(codec.stream.ordered):
            logits = state.ask(bins_name, asked[place : place + 1]).logits
            assert logits is not None
            codes = self.trained.model.categorical.sample(logits[:, 0], random)
            scaled = bins.decode(codes, place, random)
            value = (scaled - codec.mean[place]) / codec.std[place]
            coords = places_of(codec.stream)[place].expand(jets, 1, 1)
            observed = torch.ones(jets, 1, 1, dtype=torch.bool)
            state.append(
                name, Tokens(value[:, None, None], coords, observed, codec.spec, index=torch.full((jets, 1), place))
            )
            drawn[quantity] = quantity_values(scaled.double().numpy(), quantity)
        return {quantity: torch.from_numpy(values) for quantity, values in drawn.items()}

    def _draw_particles(
        self, state: CausalState, numbers: Mapping[str, Tensor], random: torch.Generator, sampling: Sampling
    ) -> Tokens:
        """The particles of each jet one after the other; those after its end are not `present`."""
        name, (codes_name, codes) = self.particles[0], self.codes
        jets, longest = self._jets(state), self.trained.recipe.data.most_constituents
        counts = numbers.get("multiplicity")
        if counts is not None:
            counts = counts.round().clamp(1, longest)
            longest = int(counts.max())
        running = torch.ones(jets, dtype=torch.bool)
        parts = []
        for rank in range(longest):
            asked = _place(codes, jets, rank)
            logits = state.ask(codes_name, asked).logits
            assert logits is not None
            chosen = self._draw_codes(logits[:, 0], random, sampling, may_stop=counts is None and rank > 0)
            running = running & (chosen != codes.stop if counts is None else rank < counts)
            token = self._particle(state, chosen.clamp(max=codes.stop - 1), numbers, rank, running, random, sampling)
            state.append(name, token)
            parts.append(token)
            if not running.any():
                break
        return concatenate(parts)

    def _draw_codes(
        self, logits: Float[Tensor, "B V"], random: torch.Generator, sampling: Sampling, *, may_stop: bool
    ) -> Int[Tensor, " B"]:
        """Codes that some particle of training has; the code that ends the jet only if it may end."""
        codes = self.codes[1]
        allowed = torch.cat([codes.codebook.is_used, torch.tensor([may_stop])])
        logits = logits.masked_fill(~allowed, -torch.inf)
        return self.trained.model.categorical.sample(
            logits, random, temperature=sampling.temperature, top_k=sampling.top_k
        )

    def _draw_place(
        self, state: CausalState, chosen: Int[Tensor, " B"], rank: int, random: torch.Generator, sampling: Sampling
    ) -> Float[Tensor, "B G"]:
        """Where in the cells of these codes the particles lie."""
        assert self.fine is not None
        name, codec = self.fine
        asked = replace(_place(codec, len(chosen), rank), guess=chosen[:, None, None].float())
        logits = state.ask(name, asked).logits
        assert logits is not None
        logits = logits[:, 0].masked_fill(~codec.residuals.is_used, -torch.inf)
        second = self.trained.model.categorical.sample(
            logits, random, temperature=sampling.temperature, top_k=sampling.top_k
        )
        return codec.residuals.decode(chosen, second, random)

    def _particle(
        self,
        state: CausalState,
        chosen: Int[Tensor, " B"],
        numbers: Mapping[str, Tensor],
        rank: int,
        running: Bool[Tensor, " B"],
        random: torch.Generator,
        sampling: Sampling,
    ) -> Tokens:
        """A particle of each code, as the visible token of the next rank."""
        codec, book = self.particles[1], self.codes[1].codebook
        values, kinds = book.decode(chosen, random)
        if self.fine is not None:
            looked_at = [book.names.index(name) for name in book.looked_at]
            values[:, looked_at] = self._draw_place(state, chosen, rank, random, sampling)
        columns = [book.names.index(name) for name in codec.channels]
        features = values[:, columns] * codec.std + codec.mean
        names = list(codec.channels)
        if {"log_pt", "log_pt_fraction"} <= set(names):  # both belong to one pT, in this jet
            pt = numbers["pt_gev"].log().float()
            features[:, names.index("log_pt")] = features[:, names.index("log_pt_fraction")] + pt
        normed = codec.normalised(features)
        position = [features[:, names.index(name)] for name in POSITION]
        coords = torch.stack([*position, torch.full((len(chosen),), float(rank))], dim=-1)[:, None]
        observed = normed.isfinite()[:, None]
        token = Tokens(torch.nan_to_num(normed)[:, None], coords, observed, codec.spec, codes=kinds[:, None])
        return replace(token, present=running[:, None], index=torch.full((len(chosen), 1), rank))

    def _as_jets(
        self, drawn: Tokens, numbers: Mapping[str, Tensor], labels: Sequence[str | None], random: torch.Generator
    ) -> Jets:
        """Jets in the columns of `Jets`, whose particles add up to the jet's pT and axis."""
        codec = self.particles[1]
        assert drawn.present is not None and drawn.codes is not None
        counts = drawn.present.sum(dim=-1).numpy()
        of = np.repeat(np.arange(len(counts)), counts)
        pt = numbers["pt_gev"].double().numpy()
        eta = numbers["eta"].double().numpy() if "eta" in numbers else np.zeros_like(pt)
        phi = np.pi * (2 * torch.rand(len(pt), generator=random, dtype=torch.float64).numpy() - 1)
        here = drawn.present
        flat = Tokens(drawn.values[here], drawn.coords[here], drawn.observed[here], drawn.spec, codes=drawn.codes[here])
        columns = codec.particles(flat, {"pt_gev": pt[of], "eta": eta[of], "phi": phi[of]})
        if self.trained.recipe.data.align:
            columns = randomly_turned(columns, of, {"eta": eta, "phi": phi}, random)
        mass = {"mass_gev": numbers["mass_gev"].double().numpy()} if "mass_gev" in numbers else {}
        columns = closed(columns, of, {"pt_gev": pt, "eta": eta, "phi": phi, **mass})
        order = np.lexsort((-columns["pt_gev"], of))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        jets = Jets(offsets, {name: column[order] for name, column in columns.items()}, {})
        names = None if all(label is None for label in labels) else np.array([str(label) for label in labels])
        return replace(jets, of_jets=summed_momentum(jets), labels=names)

    @staticmethod
    def _jets(state: CausalState) -> int:
        return len(next(iter(state.streams.values())).coords)


@torch.no_grad()
def generate(
    run: str | Path | TrainedModel,
    jets: int,
    out: str | Path | None = None,
    *,
    label: str | None = None,
    sampling: Sampling = AS_LEARNED,
    seed: int = 0,
    batch: int = BATCH,
    overwrite: bool = False,
    progress: bool = False,
) -> Jets:
    """Draw jets, and write them to `out` (Parquet, with the names of JetClass) if it is given.

        p(jet | label) = prod_i p(q_i | q_1 ... q_(i-1), label) prod_k p(c_k | q, x_1 ... x_(k-1), label)

    with q the numbers of the jet, c the codes of particles, and x_k a remembered particle with code c_k or, where the model has a second
    code, a place in its cell. Particles are drawn until there are as many as the first number says or, for a model that knows no
    `multiplicity`, until the code that ends a jet. They are then scaled and moved together, so that their sum has the pT and, where it is
    among the numbers, the mass of the jet, and lies on its axis: see `closed`.

    label  class of the jets; None: as the model was trained without labels
    seed   the same seed gives the same jets, also when more of them are drawn

    Raises ModelError for a model that can't generate jets, LabelError for an unknown class.
    """
    generator = Generator.of(run if isinstance(run, TrainedModel) else load(run))
    if label is not None and generator.label is None:
        raise ModelError(
            f"label {label}: the model was not shown a label. Leave it out, or train with a label stream in task.show."
        )
    with progress_bar("jets", progress) as report:
        parts = list(_batches(generator, jets, label, sampling, seed, batch, report))
    drawn = Jets.joined(parts)
    if out is not None:
        with new_output(out, overwrite=overwrite) as path:
            write_jets(drawn, path)
    return drawn


def _batches(
    generator: Generator, jets: int, label: str | None, sampling: Sampling, seed: int, batch: int, report: Any
) -> Iterator[Jets]:
    for number, first in enumerate(range(0, jets, batch)):
        random = torch.Generator().manual_seed(
            int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)
        )
        count = min(batch, jets - first)
        yield generator.draw([label] * batch, random, sampling)[slice(0, count)]
        report(min(1.0, (first + batch) / jets))


def closed(
    particles: Mapping[str, np.ndarray], of: Int[np.ndarray, " N"], jet: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The particles with all momenta of a jet scaled and all directions moved, so that their sum has the pT and, to first order, the axis
    of `jet`; and its mass, if `jet` has `mass_gev`: then the distances from the axis are scaled too, since m ≈ pT ΔR for a narrow jet.

    of  the jet of each particle

    The distances of a jet are scaled by a factor of at most `LARGEST_STRETCH`, or its inverse: a jet of one hard particle stays narrow.
    """
    moved = _with_momentum(particles, of, jet)
    if "mass_gev" not in jet:
        return moved
    stretch = np.ones(len(jet["pt_gev"]))
    for _ in range(CLOSING_STEPS):
        mass = np.maximum(_summed(moved, of, len(stretch))["mass_gev"], SMALLEST_MASS_GEV)
        stretch = np.clip(stretch * jet["mass_gev"] / mass, 1 / LARGEST_STRETCH, LARGEST_STRETCH)
        moved = _with_momentum(_stretched(particles, of, jet, stretch), of, jet)
    return moved


def _with_momentum(
    particles: Mapping[str, np.ndarray], of: Int[np.ndarray, " N"], jet: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The particles with all momenta of a jet scaled and all directions moved, so that their sum has its pT and, to first order, its axis."""
    count = len(jet["pt_gev"])
    total = np.bincount(of, particles["pt_gev"], count)
    moved = dict(particles)
    for name, apart in _from_axis(particles, of, jet).items():
        centre = np.bincount(of, particles["pt_gev"] * apart, count) / total
        moved[name] = jet[name][of] + apart - centre[of]
    moved["pt_gev"] = particles["pt_gev"] * (jet["pt_gev"] / _summed(moved, of, count)["pt_gev"])[of]
    moved["phi"] = wrapped(moved["phi"])
    return moved


def _stretched(
    particles: Mapping[str, np.ndarray],
    of: Int[np.ndarray, " N"],
    jet: Mapping[str, np.ndarray],
    factor: Float[np.ndarray, " B"],
) -> dict[str, np.ndarray]:
    """The particles with their distances from the axis of the jet scaled by the factor of that jet."""
    apart = _from_axis(particles, of, jet)
    return {**particles, **{name: jet[name][of] + factor[of] * each for name, each in apart.items()}}


def _from_axis(
    particles: Mapping[str, np.ndarray], of: Int[np.ndarray, " N"], jet: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Δη and Δφ of each particle from the axis of its jet, by the name of the column."""
    return {"eta": particles["eta"] - jet["eta"][of], "phi": wrapped(particles["phi"] - jet["phi"][of])}


def _summed(particles: Mapping[str, np.ndarray], of: Int[np.ndarray, " N"], jets: int) -> dict[str, np.ndarray]:
    """The columns `MOMENTUM` of the sum of the particles of each jet."""
    return momentum_columns(np.stack([np.bincount(of, each, jets) for each in momentum_components(particles)]))


def randomly_turned(
    particles: Mapping[str, np.ndarray],
    of: Int[np.ndarray, " N"],
    jet: Mapping[str, np.ndarray],
    random: torch.Generator,
) -> dict[str, np.ndarray]:
    """The particles after a random rotation, and in half of the jets a reflection, about the axis of their jet."""
    draws = torch.rand(2, len(jet["eta"]), generator=random, dtype=torch.float64).numpy()
    angle, sign = 2 * np.pi * draws[0][of], np.where(draws[1] < 0.5, -1.0, 1.0)[of]
    apart = _from_axis(particles, of, jet)
    eta, phi = apart["eta"], sign * apart["phi"]
    turned = dict(particles)
    turned["eta"] = jet["eta"][of] + np.cos(angle) * eta - np.sin(angle) * phi
    turned["phi"] = wrapped(jet["phi"][of] + np.sin(angle) * eta + np.cos(angle) * phi)
    return turned


def _generating_task(trained: TrainedModel) -> NextParticle:
    task = trained.recipe.task
    for each in task.tasks if isinstance(task, Mix) else (task,):
        if isinstance(each, NextParticle):
            return each
    raise ModelError(
        f"the model was trained on the task {task.kind}, expected next_particle. Fine-tune it by the recipe jets-generate."
    )


def _no_jet(generator: Generator) -> Any:
    """The columns of a jet without particles, whose numbers are 0."""
    values, quantities = len(generator.particles[1].channels), len(generator.jet[1].stream.ordered)
    return OneJet(torch.zeros(0, values), torch.zeros(0, dtype=torch.int64), torch.zeros(quantities))


def _place(codec: CodebookCodec | ResidualCodec, jets: int, rank: int) -> Tokens:
    """The asked token of one rank, for so many jets."""
    empty = torch.zeros(jets, 1, 0)
    codes = torch.zeros(jets, 1, dtype=torch.int64)
    return Tokens(
        empty, torch.full((jets, 1, 1), float(rank)), empty.bool(), codec.spec, codes=codes, index=codes + rank
    )


def _repeated(tokens: Tokens, jets: int) -> Tokens:
    """The tokens of one jet, for each of so many."""
    return tokens.each(lambda part: part[None].repeat(jets, 1, 1), lambda part: part[None].repeat(jets, 1))
