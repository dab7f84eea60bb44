"""Members drawn from a flow head, and the density of given values: solutions of its differential equation.

Axes: B sample, M member, N asked token, D value of all asked tokens.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from statecast.models.flow import Asked, FlowHead
from statecast.models.noise import hashed

Solver = Literal["euler", "midpoint", "heun"]
EVALUATIONS: dict[Solver, int] = {"euler": 1, "midpoint": 2, "heun": 2}
"""Of the velocity, in a step of each solver."""
TOKENS_AT_ONCE = 2**16  # of all members in a batch of the head
OF_PROBES = -3  # in the place of a member's number

Velocity = Callable[[Float[Tensor, "B D"], float], Float[Tensor, "B D"]]


class DrawsError(ValueError):
    """Members can't be drawn as asked."""


@dataclass(frozen=True)
class Draws:
    """How members are drawn from a flow head; other heads draw nothing.

    members     number of them; None: that of the model's options
    first       number of the first: member i is the same however many are drawn
    steps       of the solver from noise to values
    solver      euler (1 evaluation of the velocity in a step), midpoint or heun (2)
    seed        of all noise
    guidance    w of v = v(none) + w (v(conditions) - v(none)), classifier-free guidance (Ho & Salimans 2022): 1 is the distribution that
                was learned, more exaggerates the conditions, 0 ignores them
    conditions  streams of the context that guidance exaggerates; the model learned with `task.unconditional` to answer without them
    """

    members: int | None = None
    first: int = 0
    steps: int = 16
    solver: Solver = "heun"
    seed: int = 0
    guidance: float = 1.0
    conditions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("members", 1), ("first", 0), ("steps", 1)):
            number = getattr(self, name)
            if number is not None and number < least:
                raise DrawsError(f"{name} is {number}, expected at least {least}.")
        if self.solver not in EVALUATIONS:
            raise DrawsError(f"solver is {self.solver}, expected one of {', '.join(EVALUATIONS)}.")
        if not 0 <= self.guidance < torch.inf:
            raise DrawsError(
                f"guidance is {self.guidance:g}, expected 0 or more; 1 is the distribution that was learned."
            )
        if self.is_guided and not self.conditions:
            raise DrawsError(
                f"guidance is {self.guidance:g}, but no stream is named as a condition. Name some, or set it to 1."
            )

    @property
    def is_guided(self) -> bool:
        return self.guidance != 1

    @property
    def evaluations(self) -> int:
        """Of the velocity, for each member."""
        return self.steps * EVALUATIONS[self.solver] * (2 if self.is_guided else 1)


AS_LEARNED = Draws()


def draw_members(
    head: FlowHead, asked: Asked, draws: Draws, members: int, blank: Float[Tensor, "B N W"] | None = None
) -> Float[Tensor, "B M D"]:
    """So many members of each sample, as departures from the anchor; a batch at a time.

    blank  the decoded tokens of a context without the conditions, for guidance
    """
    samples, tokens = asked.decoded.shape[:2]
    at_once = max(1, TOKENS_AT_ONCE // max(1, samples * tokens))
    parts = []
    for first in range(0, members, at_once):
        numbers = torch.arange(first, min(first + at_once, members), device=asked.seed.device) + draws.first
        times = len(numbers)
        each = replace(asked, seed=hashed(draws.seed, asked.seed)).repeated(times)
        blanks = None if blank is None else blank.repeat_interleave(times, dim=0)
        values = solve(velocity_of(head, each, draws, blanks), each.noise(numbers.repeat(samples)), draws)
        parts.append(values.unflatten(0, (samples, times)))
    return torch.cat(parts, dim=1)


def velocity_of(head: FlowHead, asked: Asked, draws: Draws, blank: Float[Tensor, "B N W"] | None) -> Velocity:
    """The velocity at one time of all samples, guided if `blank` is given."""

    def at(values: Float[Tensor, "B D"], time: float) -> Float[Tensor, "B D"]:
        times = values.new_full((len(values),), time)
        with_conditions = head(values, times, asked)
        if blank is None:
            return with_conditions
        without = head(values, times, replace(asked, decoded=blank))
        return without + draws.guidance * (with_conditions - without)

    return at


def solve(
    velocity: Velocity, values: Float[Tensor, "B D"], draws: Draws, *, backward: bool = False
) -> Float[Tensor, "B D"]:
    """The solution of dx/dt = v(x, t) at t = 1 that starts from `values` at t = 0, or the reverse, in equal steps."""
    start, step = (1.0, -1.0 / draws.steps) if backward else (0.0, 1.0 / draws.steps)
    for number in range(draws.steps):
        time = start + number * step
        slope = velocity(values, time)
        if draws.solver == "midpoint":
            slope = velocity(values + step / 2 * slope, time + step / 2)
        elif draws.solver == "heun":
            slope = (slope + velocity(values + step * slope, time + step)) / 2
        values = values + step * slope
    return values


def log_density(
    head: FlowHead,
    asked: Asked,
    values: Float[Tensor, "B D"],
    draws: Draws,
    blank: Float[Tensor, "B N W"] | None = None,
    probes: int | None = None,
) -> Float[Tensor, " B"]:
    """log p(x_1) = log N(x_0) - ∫ div v dt along the path that ends at the values (Chen et al. 2018), for the values that are known.

    probes  random directions of which the divergence is a mean (Hutchinson's estimator; Grathwohl et al. 2019); None: the exact trace of
            the Jacobian, one backward pass for each of the D values
    """
    return log_density_parts(head, asked, values, draws, blank, probes).sum(dim=1)


def log_density_parts(
    head: FlowHead,
    asked: Asked,
    values: Float[Tensor, "B D"],
    draws: Draws,
    blank: Float[Tensor, "B N W"] | None = None,
    probes: int | None = None,
) -> Float[Tensor, "B D"]:
    """What each value adds to `log_density`: log N of its noise, and its term of the trace, log N(x_0i) - ∫ ∂v_i/∂x_i dt.

    The parts sum to the joint density; one alone is no density, as the noise of a value depends on the others.
    """
    velocity, size = velocity_of(head, asked, draws, blank), values.shape[1]

    def augmented(state: Float[Tensor, "B 2D"], time: float) -> Float[Tensor, "B 2D"]:
        with torch.enable_grad():
            now = state[:, :size].detach().requires_grad_()
            moves = velocity(now, time)
            diverges = _divergences(moves, now, _directions(asked, draws, probes))
        return torch.cat([moves.detach(), diverges], dim=1)

    start = torch.nn.functional.pad(values * asked.known, (0, size))
    end = solve(augmented, start, draws, backward=True)
    of_noise = -0.5 * (end[:, :size].square() + math.log(2 * math.pi)) * asked.known
    return of_noise + end[:, size:]


def _directions(asked: Asked, draws: Draws, probes: int | None) -> Iterator[Float[Tensor, "B D"]]:
    """The directions e along which e · J e is summed: each value's own, or random signs of mean 1."""
    known = asked.known
    if probes is None:
        for value in known.any(dim=0).nonzero()[:, 0]:
            yield torch.zeros_like(known).index_fill(1, value, 1.0) * known
        return
    for probe in range(probes):
        signs = hashed(draws.seed, asked.seed[:, None], OF_PROBES, probe, asked.place).sign()
        yield signs.to(known.dtype) * known / probes**0.5


def _divergences(
    moves: Float[Tensor, "B D"], values: Float[Tensor, "B D"], directions: Iterable[Float[Tensor, "B D"]]
) -> Float[Tensor, "B D"]:
    """The diagonal of the Jacobian."""
    total = torch.zeros_like(values)
    for direction in directions:
        (found,) = torch.autograd.grad(moves, values, direction, retain_graph=True)
        total = total + found * direction
    return total
