"""The surprise of whole samples: each token hidden in turn.

Axes: B sample, N token, P value in a token, V channel of a token (and last its code), T token of all streams.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from statecast.domain import Cases
from statecast.streams import Question, Tokens, Window, stack_questions
from statecast.surprise.measure import Surprise, question_surprise
from statecast.trained import ModelError, TrainedModel

FEWEST_PARTS = 2
HIGHEST = 0.1  # share of a sample's tokens whose mean excess is its second score
AT_MOST = 9.0  # times the smallest excess of the partitions: three times the departure, in standard deviations
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Surprised:
    """The surprise of the tokens of one stream of a sample, in nats; NaN for what was not asked or not observed.

    nats      -log p of each value, and of the code in the last column; where several partitions asked it, their mean
    excess    the same, of values less its expectation; of several partitions `combined`
    estimate  of each value, from the others; the mean of the partitions, weighted by 1 / spread²
    """

    nats: Float[np.ndarray, "N P+1"]
    excess: Float[np.ndarray, "N P+1"]
    estimate: Float[np.ndarray, "N P"]

    @property
    def of_tokens(self) -> Float[np.ndarray, " N"]:
        """Mean excess over what was observed in each token; NaN for a token that was not asked."""
        return _nanmean(self.excess)


@dataclass(frozen=True)
class Asking:
    """How surprise is asked.

    parts      of each partition: the more, the more is visible, and the longer it takes
    seed       of random partitions
    limits     of each stream's channels: values beyond them are shown as the mean; none: all are shown as they are
    threshold  of each stream's channels: what exceeds it is strange
    rounds     after the first, the model's own estimate is shown in the place of each strange value
    """

    parts: int = 4
    seed: int = 0
    limits: Mapping[str, Float[np.ndarray, " V"]] = field(default_factory=dict)
    threshold: Mapping[str, Float[np.ndarray, " V"]] = field(default_factory=dict)
    rounds: int = 1

    def __post_init__(self) -> None:
        if self.parts < FEWEST_PARTS:
            raise ModelError(f"parts is {self.parts}, expected at least {FEWEST_PARTS}: with one nothing is visible.")
        if self.rounds < 1:
            raise ModelError(f"rounds is {self.rounds}, expected at least 1.")


def surprises(trained: TrainedModel, windows: Sequence[Window], asking: Asking) -> list[dict[str, Surprised]]:
    """The surprise of every token that the model's task may ask, for each window. Raises ModelError for a task that asks no content."""
    task = trained.recipe.task
    if not task.asks_content:
        raise ModelError(
            f"the task '{task.kind}' asks nothing of the content of tokens, so no token has a likelihood. Use a model of another "
            "task, such as masked."
        )
    shown = [_within_limits(window, asking.limits) for window in windows]
    found = _one_round(trained, windows, shown, asking)
    for _ in range(asking.rounds - 1):
        strange = [n for n, of in enumerate(found) if _holds_strange(windows[n], of, asking.threshold)]
        mended = [_mended(windows[n], shown[n], found[n], asking.threshold) for n in strange]
        if strange:
            again = _one_round(trained, [windows[n] for n in strange], mended, asking)
            found = [dict(zip(strange, again, strict=True)).get(n, of) for n, of in enumerate(found)]
    return found


@torch.no_grad()
def _one_round(
    trained: TrainedModel, windows: Sequence[Window], shown: Sequence[Window], asking: Asking
) -> list[dict[str, Surprised]]:
    """The surprise of the tokens of `windows`, each given the others as they are `shown`."""
    of_windows = [trained.recipe.task.in_turn(window, asking.parts, asking.seed) for window in shown]
    partitions = []
    for partition in range(max(len(each) for each in of_windows)):
        found = [_blank(window) for window in windows]
        for part in range(max(len(each[partition]) for each in of_windows)):
            numbers = [n for n, each in enumerate(of_windows) if part < len(each[partition])]
            questions = [_with_truth(of_windows[n][partition][part], windows[n]) for n in numbers]
            _ask(trained, numbers, questions, found)
        partitions.append(found)
    return [
        {name: _together([found[n][name] for found in partitions]) for name in window}
        for n, window in enumerate(windows)
    ]


def _ask(
    trained: TrainedModel, numbers: Sequence[int], questions: Sequence[Question], found: list[dict[str, "_Partition"]]
) -> None:
    """Puts a question about each of these samples, and the surprise of what it asks into `found`."""
    answerable = [(n, q) for n, q in zip(numbers, questions, strict=True) if any(len(t) for t in q.context.values())]
    if not answerable:
        return
    seeded = [replace(question, seed=torch.tensor(number)) for number, question in answerable]
    said = question_surprise(trained.model, stack_questions(seeded).to(trained.device))
    for row, (number, question) in enumerate(answerable):
        for name, asked in question.queries.items():
            assert asked.index is not None
            found[number][name].put(asked.index.numpy(), said[name], row)


@dataclass(frozen=True)
class _Partition:
    """What one partition says of the tokens of a stream, filled question by question."""

    nats: Float[np.ndarray, "N P+1"]
    expected: Float[np.ndarray, "N P+1"]
    estimate: Float[np.ndarray, "N P"]
    spread: Float[np.ndarray, "N P"]

    def put(self, index: np.ndarray, said: Surprise, row: int) -> None:
        """The answers about the tokens `index`, of one sample of a batch."""
        count = len(index)
        nats = torch.cat([said.of_values[row], said.of_codes[row, :, None]], dim=-1)
        expected = torch.nn.functional.pad(said.expected_of_values[row], (0, 1))
        self.nats[index], self.expected[index] = nats[:count].cpu().numpy(), expected[:count].cpu().numpy()
        self.estimate[index], self.spread[index] = (x[row, :count].cpu().numpy() for x in (said.estimate, said.spread))


def _blank(window: Window) -> dict[str, _Partition]:
    found = {}
    for name, tokens in window.items():
        count, size = tokens.values.shape
        nothing = [np.full((count, columns), np.nan, np.float32) for columns in (size + 1, size + 1, size, size)]
        found[name] = _Partition(*nothing)
    return found


def _together(partitions: Sequence[_Partition]) -> Surprised:
    """What several partitions say of the same tokens."""
    excess = np.stack([each.nats - each.expected for each in partitions])
    estimates, precision = (np.stack([getattr(each, key) for each in partitions]) for key in ("estimate", "spread"))
    weight = np.nan_to_num(precision**-2.0)
    total = weight.sum(axis=0)
    estimate = (np.nan_to_num(estimates) * weight).sum(axis=0) / np.where(total > 0, total, 1.0)
    return Surprised(_nanmean(np.stack([each.nats for each in partitions], axis=-1)), combined(excess), estimate)


def combined(excess: Float[np.ndarray, "K N P"]) -> Float[np.ndarray, "N P"]:
    """The excess of several partitions: the largest, but at most `AT_MOST` times the smallest.

    A fault beside a token makes it strange only under the partition that shows the fault as its nearest neighbour; a fault of its own makes
    a token strange under all.
    """
    known = np.isfinite(excess)
    largest = np.where(known, excess, -np.inf).max(axis=0)
    smallest = np.where(known, excess, np.inf).min(axis=0)
    bound = np.where(smallest > 0, AT_MOST * smallest, smallest)
    return np.where(known.any(axis=0), np.minimum(largest, bound), np.nan)


def _with_truth(question: Question, window: Window) -> Question:
    """The asked tokens with their values as they are, whatever is shown."""
    queries = {}
    for name, asked in question.queries.items():
        assert asked.index is not None
        queries[name] = asked.replace(window[name].values[asked.index])
    return replace(question, queries=queries)


def _within_limits(window: Window, limits: Mapping[str, Float[np.ndarray, " V"]]) -> Window:
    """The window as the model sees it: what lies beyond anything that it learned from would make every neighbour strange."""
    shown = dict(window)
    for name, of_channels in limits.items():
        tokens = window[name]
        of_values = torch.from_numpy(np.repeat(of_channels, values_per_channel(tokens))).to(tokens.values)
        shown[name] = tokens.replace(torch.where(tokens.values.abs() <= of_values, tokens.values, 0.0))
    return shown


def _is_strange(tokens: Tokens, of: Surprised, threshold: Float[np.ndarray, " V"]) -> Bool[np.ndarray, "N V"]:
    """Which channels of which tokens exceed their thresholds."""
    with np.errstate(invalid="ignore"):  # NaN where nothing was asked
        return by_channel(of.excess, tokens) > threshold


def _holds_strange(
    window: Window, found: Mapping[str, Surprised], threshold: Mapping[str, Float[np.ndarray, " V"]]
) -> bool:
    return any(_is_strange(window[name], found[name], each)[:, :-1].any() for name, each in threshold.items())


def _mended(
    window: Window,
    shown: Window,
    found: Mapping[str, Surprised],
    threshold: Mapping[str, Float[np.ndarray, " V"]],
) -> Window:
    """The window with the model's estimate in the place of strange values; those beyond the limits are among them."""
    mended = dict(shown)
    for name, of_channels in threshold.items():
        tokens = window[name]
        is_strange = _is_strange(tokens, found[name], of_channels)[:, :-1]
        of_values = torch.from_numpy(np.repeat(is_strange, values_per_channel(tokens), axis=1))
        estimate = torch.from_numpy(found[name].estimate).to(tokens.values)
        mended[name] = shown[name].replace(torch.where(of_values & tokens.observed, estimate, shown[name].values))
    return mended


def values_per_channel(tokens: Tokens) -> int:
    """Values of a token that belong to the same channel: steps times points."""
    _, steps, points = tokens.spec.dimensions
    return steps * points


def by_channel(of: Float[np.ndarray, "N P+1"], tokens: Tokens) -> Float[np.ndarray, "N V"]:
    """The largest in each channel of a token, and last that of its code; NaN where there is none."""
    per = values_per_channel(tokens)
    values = of[:, :-1].reshape(len(of), -1, per) if of.shape[1] > 1 else np.zeros((len(of), 0, 1))
    return np.concatenate([_nanmax(values), of[:, -1:]], axis=1)


def in_batches(
    trained: TrainedModel,
    cases: Cases,
    numbers: Sequence[int],
    asking: Asking,
    *,
    batch: int,
    progress: Progress,
) -> Iterator[tuple[int, Window, dict[str, Surprised]]]:
    """The number, the window and the surprise of each of these cases, so many asked at once."""
    for first in range(0, len(numbers), batch):
        some = numbers[first : first + batch]
        windows = [cases[number] for number in some]
        yield from zip(some, windows, surprises(trained, windows, asking), strict=True)
        progress(min(1.0, (first + batch) / len(numbers)))


def sample_scores(found: Mapping[str, Surprised]) -> tuple[float, float, float]:
    """Scores of a sample, in nats.

    the mean excess of its tokens; that of the highest tenth of them; and the sum of all -log p, minus its pseudo-log-likelihood
    """
    of_tokens = np.concatenate([of.of_tokens for of in found.values()])
    asked = np.sort(of_tokens[np.isfinite(of_tokens)])
    if len(asked) == 0:
        return float("nan"), float("nan"), float("nan")
    highest = asked[-max(1, round(HIGHEST * len(asked))) :]
    total = sum(float(np.nansum(of.nats)) for of in found.values())
    return float(asked.mean()), float(highest.mean()), total


def _nanmean(values: Float[np.ndarray, "*N P"]) -> Float[np.ndarray, " *N"]:
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _nanmax(values: Float[np.ndarray, "N V L"]) -> Float[np.ndarray, "N V"]:
    if values.shape[1] == 0:
        return values[..., 0]
    highest = np.where(np.isnan(values), -np.inf, values).max(axis=-1)
    return np.where(np.isinf(highest), np.nan, highest)
