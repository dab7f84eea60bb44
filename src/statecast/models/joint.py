"""From decoded tokens to the answers of a flow head, for all streams of a question together.

Axes: B sample, Q asked token of a stream, N asked token of all streams, M member, P value in a token, D value of all asked tokens, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statecast.models.anchors import Anchored
from statecast.models.attention import Geometry
from statecast.models.drawing import Draws, draw_members, log_density_parts
from statecast.models.flow import Asked, FlowHead, known_values, places_of
from statecast.models.heads import Prediction
from statecast.models.visibility import present_or_none, ranks
from statecast.streams import Question, Window

if TYPE_CHECKING:
    from statecast.models.state_model import StateModel


class Decoded(NamedTuple):
    """Asked tokens of a stream after the decoder, and their anchor."""

    tokens: Float[Tensor, "B Q W"]
    anchored: Anchored


@dataclass(frozen=True)
class Joint:
    """What a flow head needs to answer a question: the asked tokens of the streams with values, side by side, and their anchors."""

    head: FlowHead
    members: int
    queries: Window
    anchors: Mapping[str, Anchored]
    asked: Asked

    @classmethod
    def of(
        cls,
        model: "StateModel",
        queries: Window,
        decoded: Mapping[str, Decoded],
        seed: Int[Tensor, " B"] | None,
        *,
        causal: bool,
        in_training: bool,
    ) -> "Joint | None":
        """None if no value is asked. `in_training`: only observed values take part."""
        assert model.flow is not None
        valued = {name: tokens for name, tokens in queries.items() if model.specs[name].size}
        if not valued:
            return None
        known = {name: known_values(tokens, in_training=in_training) for name, tokens in valued.items()}
        tokens = torch.cat([decoded[name].tokens for name in valued], dim=1)
        if seed is None:
            seed = torch.arange(len(tokens), device=tokens.device)
        asked = Asked(
            sizes={name: (len(tokens), tokens.spec.size) for name, tokens in valued.items()},
            decoded=tokens,
            at=_geometry(model, valued),
            visible=_visible(valued, causal=causal),
            known=torch.cat([part.flatten(1) for part in known.values()], dim=1).to(next(iter(valued.values())).values),
            place=places_of(valued, model.flow.streams),
            seed=seed,
        )
        return cls(model.flow, model.head.members, valued, {name: decoded[name].anchored for name in valued}, asked)

    def with_residuals(self, said: Mapping[str, Prediction]) -> dict[str, Prediction]:
        """The predictions with the residual of the velocity, for training."""
        residuals = self.asked.split(self.head.residual(self.departures(), self.asked))
        return {**said, **{name: replace(said[name], residual=residual) for name, residual in residuals.items()}}

    def departures(self) -> Float[Tensor, "B D"]:
        """The truth as departures from the anchors; the unit of the spread is not learned from it."""
        parts = {}
        for name, tokens in self.queries.items():
            anchored = self.anchors[name]
            departure = (tokens.values - anchored.base) / anchored.spread.detach()
            parts[name] = torch.where(tokens.observed, departure, 0.0)
        return self.asked.joined(parts)

    def with_members(
        self, said: Mapping[str, Prediction], draws: Draws, blank: Mapping[str, Decoded]
    ) -> dict[str, Prediction]:
        """The predictions with members drawn for all streams together; `blank`: decoded without the conditions, for guidance."""
        members = draws.members or self.members
        drawn = self.asked.split(draw_members(self.head, self.asked, draws, members, self._joined(blank)))
        answers = dict(said)
        for name, departures in drawn.items():
            anchored = self.anchors[name]
            base, spread = anchored.base.unsqueeze(-2), anchored.spread.unsqueeze(-2)
            values = torch.addcmul(base, spread, departures.transpose(1, 2))
            answers[name] = replace(said[name], members=values, spread=anchored.spread, is_drawn=True)
        return answers

    def log_likelihood_parts(
        self, draws: Draws, blank: Mapping[str, Decoded], probes: int | None
    ) -> dict[str, Float[Tensor, "B N P"]]:
        """What each value adds to the log density of the truth in normalised units: that of its departure, less the log of its unit."""
        units = {name: a.spread.expand_as(self.queries[name].values).log() for name, a in self.anchors.items()}
        parts = log_density_parts(self.head, self.asked, self.departures(), draws, self._joined(blank), probes)
        return self.asked.split(parts - self.asked.joined(units) * self.asked.known)

    def _joined(self, decoded: Mapping[str, Decoded]) -> Float[Tensor, "B N W"] | None:
        return torch.cat([decoded[name].tokens for name in self.queries], dim=1) if decoded else None


def _geometry(model: "StateModel", asked: Window) -> Geometry:
    coords = torch.cat([model.in_space(tokens) for tokens in asked.values()], dim=1)
    lacking = frozenset().union(*(model.lacking(tokens) for tokens in asked.values()))
    return Geometry.of(coords, model.axes, lacking=lacking, partly=model.partly_present(asked))


def _visible(asked: Window, *, causal: bool) -> Bool[Tensor, "B #N N"] | None:
    """Which asked tokens each sees inside the head; in a causal question those at its own position, as others know later tokens."""
    present = present_or_none(asked)
    visible = None if present is None else present[:, None, :]
    if not causal:
        return visible
    rank = ranks(asked)
    together = rank[:, None, :] == rank[:, :, None]
    return together if visible is None else together & visible


def log_likelihood(
    model: "StateModel", question: Question, draws: Draws, probes: int | None = None
) -> Float[Tensor, " B"]:
    """log p(asked values | context) of each sample by a flow head, in nats; a density in normalised units of the observed values.

    draws   steps, solver and guidance of the solution
    probes  see `drawing.log_density`; None: exact, for up to some hundred values in a question
    Raises ValueError for a model with another head, or for a question that asks no value.
    """
    parts = log_likelihood_parts(model, question, draws, probes)
    return torch.stack([part.sum(dim=(1, 2)) for part in parts.values()]).sum(dim=0)


@torch.no_grad()
def log_likelihood_parts(
    model: "StateModel", question: Question, draws: Draws, probes: int | None = None
) -> dict[str, Float[Tensor, "B N P"]]:
    """What each asked value adds to `log_likelihood`, see `drawing.log_density_parts`; 0 for a value that was not observed."""
    context, queries, causal = question.context, question.queries, question.causal
    if model.flow is None:
        raise ValueError(
            f"the model has the head {model.options.head}, expected flow: it alone has a density of all values together."
        )
    encoded = model.encode(context, causal=causal)
    decoded = {name: model.decode(name, queries[name], context, encoded, "tokens") for name in queries}
    joint = Joint.of(model, queries, decoded, question.seed, causal=causal, in_training=True)
    if joint is None:
        raise ValueError(f"the question asks no value of {', '.join(queries)}, expected a stream with values.")
    return joint.log_likelihood_parts(draws, model.blank(context, queries, draws, causal=causal), probes)
