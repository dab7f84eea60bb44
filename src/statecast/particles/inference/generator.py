"""What draws a batch of jets: first the numbers of the jet, the count among them, then its particles in order of decreasing pT.

Axes: B jet of a batch, N particle, Q number of the jet, P value in a token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statecast.labels import LabelCodec
from statecast.models.generation import CausalState
from statecast.particles.codec import JetCodec, OneJet, ParticleCodec, places_of
from statecast.particles.features import POSITION, quantity_values
from statecast.particles.inference.assemble import assembled
from statecast.particles.jets import Jets
from statecast.particles.target_codec import BinsCodec, CodebookCodec, ResidualCodec
from statecast.particles.tasks import Mix, NextParticle
from statecast.streams import Tokens, chosen_samples, concatenate, stack
from statecast.trained import ModelError, TrainedModel

STILL_RUNNING = 0.75  # share of the batch at which finished jets leave it: to leave it copies what the others have seen


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
        numbers = self._draw_numbers(state, len(labels), random)
        particles, jet_of = self._draw_particles(state, numbers, random, sampling)
        is_aligned = self.trained.recipe.data.align
        return assembled(particles, jet_of, self.particles[1], numbers, labels, random, is_aligned=is_aligned)

    def _show(self, state: CausalState, name: str, tokens: Tokens) -> None:
        """Make tokens visible. Jets are drawn on the CPU, with the same numbers wherever the model is."""
        state.append(name, tokens.to(self.trained.device))

    def _ask(self, state: CausalState, name: str, asked: Tokens) -> Float[Tensor, "B V"]:
        """Logits of the one asked token of each jet."""
        logits = state.ask(name, asked.to(self.trained.device)).logits
        assert logits is not None
        return logits[:, 0].cpu()

    def _started(self, labels: Sequence[str | None]) -> CausalState:
        """Only the labels are visible."""
        nothing = {
            name: _repeated(codec.tokens(_no_jet(self))[:0], len(labels)) for name, codec in (self.particles, self.jet)
        }
        condition = {}
        if self.label is not None:
            name, codec = self.label
            condition[name] = stack([{name: codec.tokens(label)} for label in labels])[name]
        there = {name: tokens.to(self.trained.device) for name, tokens in {**nothing, **condition}.items()}
        state = CausalState(self.trained.model, there)
        state.extend({name: there[name] for name in condition})
        return state

    def _draw_numbers(
        self, state: CausalState, jets: int, random: torch.Generator
    ) -> dict[str, Float[np.ndarray, " B"]]:
        """The numbers of each jet one after the other, in their own units; each is made visible."""
        (name, codec), (bins_name, bins) = self.jet, self.bins
        asked = _repeated(bins.tokens(_no_jet(self)), jets)
        drawn = {}
        for place, quantity in enumerate(codec.stream.ordered):
            logits = self._ask(state, bins_name, asked[place : place + 1])
            codes = self.trained.model.categorical.sample(logits, random)
            scaled = bins.decode(codes, place, random)
            value = (scaled - codec.mean[place]) / codec.std[place]
            coords = places_of(codec.stream)[place].expand(jets, 1, 1)
            observed = torch.ones(jets, 1, 1, dtype=torch.bool)
            index = torch.full((jets, 1), place)
            self._show(state, name, Tokens(value[:, None, None], coords, observed, codec.spec, index=index))
            drawn[quantity] = quantity_values(scaled.double().numpy(), quantity)
        return drawn

    def _draw_particles(
        self,
        state: CausalState,
        numbers: Mapping[str, Float[np.ndarray, " B"]],
        random: torch.Generator,
        sampling: Sampling,
    ) -> tuple[Tokens, Int[Tensor, " N"]]:
        """The particles of all jets, rank by rank, and the jet of each. Finished jets leave the batch."""
        longest, log_pt = self.trained.recipe.data.most_constituents, torch.from_numpy(numbers["pt_gev"]).log().float()
        counts = None
        if "multiplicity" in numbers:
            counts = torch.from_numpy(numbers["multiplicity"]).round().clamp(1, longest)
            longest = int(counts.max())
        jets = torch.arange(len(log_pt))
        running = torch.ones_like(jets, dtype=torch.bool)
        drawn, jet_of = [], []
        for rank in range(longest):
            running = running if counts is None else rank < counts[jets]
            if running.sum() <= STILL_RUNNING * len(jets):
                state.keep(running.nonzero()[:, 0].to(self.trained.device))
                jets, running = jets[running], running[running]
            chosen = self._draw_codes(state, len(jets), rank, random, sampling, may_stop=counts is None and rank > 0)
            running = running & (chosen != self.codes[1].stop)
            if not running.any():
                break
            token = self._particle(state, chosen, log_pt[jets], rank, random, sampling)
            self._show(state, self.particles[0], replace(token, present=running[:, None]))
            drawn.append(chosen_samples(token, running).each(_only, _only))
            jet_of.append(jets[running])
        return concatenate(drawn), torch.cat(jet_of)

    def _draw_codes(
        self,
        state: CausalState,
        jets: int,
        rank: int,
        random: torch.Generator,
        sampling: Sampling,
        *,
        may_stop: bool,
    ) -> Int[Tensor, " B"]:
        """Codes that some particle of training has; the code that ends the jet only if it may end."""
        name, codec = self.codes
        logits = self._ask(state, name, _place(codec, jets, rank))
        allowed = torch.cat([codec.codebook.is_used, torch.tensor([may_stop])])
        return self._sampled(logits, allowed, random, sampling)

    def _sampled(
        self, logits: Float[Tensor, "B V"], allowed: Bool[Tensor, " V"], random: torch.Generator, sampling: Sampling
    ) -> Int[Tensor, " B"]:
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
        second = self._sampled(self._ask(state, name, asked), codec.residuals.is_used, random, sampling)
        return codec.residuals.decode(chosen, second, random)

    def _particle(
        self,
        state: CausalState,
        chosen: Int[Tensor, " B"],
        log_pt: Float[Tensor, " B"],
        rank: int,
        random: torch.Generator,
        sampling: Sampling,
    ) -> Tokens:
        """A particle of each code, as the visible token of the next rank, in jets of this ln pT; of any code where the jet has ended."""
        codec, book = self.particles[1], self.codes[1].codebook
        chosen = chosen.clamp(max=book.size - 1)
        values, kinds = book.decode(chosen, random)
        if self.fine is not None:
            looked_at = [book.names.index(name) for name in book.looked_at]
            values[:, looked_at] = self._draw_place(state, chosen, rank, random, sampling)
        columns = [book.names.index(name) for name in codec.channels]
        features = values[:, columns] * codec.std + codec.mean
        names = list(codec.channels)
        if {"log_pt", "log_pt_fraction"} <= set(names):  # both belong to one pT, in this jet
            features[:, names.index("log_pt")] = features[:, names.index("log_pt_fraction")] + log_pt
        normed = codec.normalised(features)
        position = [features[:, names.index(name)] for name in POSITION]
        coords = torch.stack([*position, torch.full((len(chosen),), float(rank))], dim=-1)[:, None]
        index = torch.full((len(chosen), 1), rank)
        values, observed = torch.nan_to_num(normed)[:, None], normed.isfinite()[:, None]
        return Tokens(values, coords, observed, codec.spec, codes=kinds[:, None], index=index)


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


def _only(part: Tensor) -> Tensor:
    """The only token of each sample."""
    return part[:, 0]


def _repeated(tokens: Tokens, jets: int) -> Tokens:
    """The tokens of one jet, for each of so many."""
    return tokens.each(lambda part: part[None].repeat(jets, 1, 1), lambda part: part[None].repeat(jets, 1))
