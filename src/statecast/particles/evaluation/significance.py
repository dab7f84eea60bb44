"""Expected significance of a search, from a score of each simulated event and the number of events that it stands for.

Axes: E event, K process, B bin of the score, D resampling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from statecast.evaluation.bootstrap import Score, Statistic, interval, resampled
from statecast.particles.jets import JetError

LUMINOSITY_FB = 139.0
"""Inverse femtobarn, of the LHC at 13 TeV from 2015 to 2018."""
FEWEST_BACKGROUND = 10
"""Simulated events of the largest background beyond a cut, or in a bin: with fewer, the choice would follow their fluctuations."""
OF_SIGNAL = -1
"""The code of the signal among processes."""


def asimov(
    signal: Float[np.ndarray, "*B"], background: Float[np.ndarray, "*B"], background_error: float = 0.0
) -> Float[np.ndarray, "*B"]:
    """Median significance of the discovery of `signal` expected events above `background`, in standard deviations.

    Z = √(2 ((s + b) ln(1 + s/b) - s)),        s/√b for s << b

    and with an error σ = `background_error` · b of the background

    Z = √(2 ((s + b) ln((s + b)(b + σ²) / (b² + (s + b) σ²)) - b²/σ² ln(1 + σ² s / (b (b + σ²))))),        s/√(b + σ²) for s << b

    Cowan, Cranmer, Gross and Vitells 2011, Eur. Phys. J. C 71, 1554 (arXiv:1007.1727), eq. 97; Cowan 2012, "Discovery sensitivity for a
    counting experiment with background uncertainty", eq. 20. 0 without signal, infinity without background.
    """
    s, b = np.asarray(signal, np.float64), np.asarray(background, np.float64)
    has_both = (s > 0) & (b > 0)
    s_, b_ = np.where(has_both, s, 1.0), np.where(has_both, b, 1.0)
    if background_error > 0:
        variance = (background_error * b_) ** 2
        of_total = (s_ + b_) * np.log1p(s_ * b_ / (b_**2 + (s_ + b_) * variance))
        of_background = b_**2 / variance * np.log1p(variance * s_ / (b_ * (b_ + variance)))
        doubled = of_total - of_background
    else:
        doubled = (s_ + b_) * np.log1p(s_ / b_) - s_
    z = np.sqrt(2 * np.maximum(doubled, 0.0))
    return np.where(has_both, z, np.where(s > 0, np.inf, 0.0))


def expected_events(
    process: Shaped[np.ndarray, " E"],
    weight: Float[np.ndarray, " E"],
    cross_section_fb: Mapping[str, float],
    luminosity_fb: float = LUMINOSITY_FB,
) -> Float[np.ndarray, " E"]:
    """The number of events y = L σ w / Σ w of its process that each event stands for; `cross_section_fb` is after the selection.

    Raises JetError for a process without a cross-section.
    """
    expected = np.zeros(len(process))
    for name in np.unique(process).tolist():
        if name not in cross_section_fb:
            raise JetError(f"process {name}: has no cross-section, expected one of {', '.join(cross_section_fb)}.")
        chosen = process == name
        of_process = np.asarray(weight[chosen], np.float64)
        expected[chosen] = luminosity_fb * cross_section_fb[name] * of_process / of_process.sum()
    return expected


def likelihood_ratio(
    probability: Float[np.ndarray, "E K"],
    priors: Float[np.ndarray, " K"],
    expected: Float[np.ndarray, " K"],
    signal: int,
) -> Float[np.ndarray, " E"]:
    """log of p(x | signal) over p(x | background), the most powerful score (Neyman and Pearson 1933), up to a constant.

    p(x | k) is proportional to p(k | x) / prior_k, and the background is a mixture by the expected numbers of events.

    priors    shares of the processes in the training of the classifier
    expected  number of events of each process
    """
    tiny = 1e-12
    likelihood = np.maximum(probability, tiny) / priors
    of_background = np.delete(likelihood * expected, signal, axis=1).sum(axis=1)
    return np.log(likelihood[:, signal] / of_background)


@dataclass(frozen=True)
class Cut:
    """What is chosen on the events of validation: the threshold of a counting experiment, and the edges of bins of the score."""

    threshold: float
    edges: Float[np.ndarray, " B_minus_1"]


def process_codes(process: Shaped[np.ndarray, " E"], signal: str) -> Int[np.ndarray, " E"]:
    """`OF_SIGNAL` for events of the signal, and numbers from 0 for the processes of the background.

    Raises JetError if either has no event.
    """
    names = [name for name in np.unique(process).tolist() if name != signal]
    if signal not in process or not names:
        raise JetError(
            f"signal {signal}: expected events of it and of others. Processes: {', '.join(np.unique(process))}."
        )
    return np.array([OF_SIGNAL if name == signal else names.index(name) for name in process.tolist()])


def chosen_cut(
    score: Float[np.ndarray, " E"],
    expected: Float[np.ndarray, " E"],
    process: Int[np.ndarray, " E"],
    background_error: float = 0.0,
) -> Cut:
    """The threshold of largest significance, and bins that hold 10, 20, 40, ... events of the largest background from the best score on.

    The cut too keeps 10 of them: simulated events of a smaller background stand for fewer, so that a region that holds those alone only
    seems to be empty. For this choice the background is one standard error of its simulation, √(Σ y²), higher than expected: else the cut
    would be where there are fewest by chance.

    process  see `process_codes`

    Raises JetError if there are fewer than `FEWEST_BACKGROUND` events of the largest background.
    """
    is_signal = process == OF_SIGNAL
    of_each = np.bincount(process[~is_signal], expected[~is_signal])
    is_largest = process == of_each.argmax()
    of_largest = np.sort(score[is_largest])[::-1]
    if len(of_largest) < FEWEST_BACKGROUND:
        raise JetError(
            f"{len(of_largest)} events of the largest background to choose a cut on, expected at least {FEWEST_BACKGROUND}. "
            "Use more events."
        )
    order = np.argsort(-score, kind="stable")
    signal = np.cumsum(np.where(is_signal, expected, 0.0)[order])
    background = np.cumsum(np.where(is_signal, 0.0, expected)[order])
    error = np.sqrt(np.cumsum(np.where(is_signal, 0.0, expected**2)[order]))
    is_allowed = np.cumsum(is_largest[order]) >= FEWEST_BACKGROUND
    last_of_ties = np.append(np.diff(score[order]) != 0, True)
    z = np.where(is_allowed & last_of_ties, asimov(signal, background + error, background_error), -1.0)
    held = FEWEST_BACKGROUND * (2 ** np.arange(1, 32) - 1)
    edges = np.unique(of_largest[held[held < len(of_largest)] - 1])
    return Cut(float(score[order][z.argmax()]), edges)


def in_bins(
    score: Float[np.ndarray, " E"],
    expected: Float[np.ndarray, " E"],
    process: Int[np.ndarray, " E"],
    edges: Float[np.ndarray, " B_minus_1"],
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]]:
    """Expected signal and background of each bin of the score. A bin without an event of one of the backgrounds counts one of mean weight:
    that none was simulated there does not show that there is none."""
    inside = np.searchsorted(edges, score, side="right")
    bins = len(edges) + 1
    is_signal = process == OF_SIGNAL
    signal = np.bincount(inside[is_signal], expected[is_signal], minlength=bins)
    background = np.zeros(bins)
    for number in np.unique(process[~is_signal]):
        chosen = process == number
        of_process = np.bincount(inside[chosen], expected[chosen], minlength=bins)
        background += np.where(of_process > 0, of_process, expected[chosen].mean())
    return signal, background


def significance_of_cut(
    score: Float[np.ndarray, " E"],
    expected: Float[np.ndarray, " E"],
    process: Int[np.ndarray, " E"],
    cut: Cut,
    background_error: float = 0.0,
) -> float:
    """Significance of counting the events from the threshold on."""
    signal, background = in_bins(score, expected, process, np.array([cut.threshold]))
    return float(asimov(signal[1], background[1], background_error))


def significance_of_bins(
    score: Float[np.ndarray, " E"],
    expected: Float[np.ndarray, " E"],
    process: Int[np.ndarray, " E"],
    cut: Cut,
    background_error: float = 0.0,
) -> float:
    """Significance √(Σ Z²) of all bins of the score, whose backgrounds are independent."""
    signal, background = in_bins(score, expected, process, cut.edges)
    return float(np.sqrt((asimov(signal, background, background_error) ** 2).sum()))


@dataclass(frozen=True)
class Scored:
    """Events with the expected number that each stands for, and scores of them by the name of the analysis."""

    process: Shaped[np.ndarray, " E"]
    expected: Float[np.ndarray, " E"]
    scores: Mapping[str, Float[np.ndarray, " E"]]


def search_scores(
    validation: Scored, test: Scored, signal: str, *, background_error: float = 0.0, task: str = "search"
) -> list[Score]:
    """Significances of analyses: cut and bins are chosen on `validation`, and all numbers are of `test`.

    significance_cut, significance_bins  in standard deviations
    signal_efficiency                    share of the expected signal beyond the cut
    background_rejection                 one over the share of the expected background beyond the cut

    Intervals are of 200 resamplings of the test events within their processes; cut and bins stay. Raises JetError for a signal that has no
    event, or no background.
    """
    codes = process_codes(test.process, signal)
    of_validation = process_codes(validation.process, signal)
    draws = resampled(test.process)
    found = []
    for name, score in test.scores.items():
        cut = chosen_cut(validation.scores[name], validation.expected, of_validation, background_error)
        arrays = (score, test.expected, codes)
        for metric, statistic in _statistics(cut, background_error).items():
            low, high = interval(statistic, arrays, draws)
            labels = (("signal", signal),)
            found.append(Score(name, task, metric, statistic(*arrays), low, high, len(score), labels))
    return found


def _statistics(cut: Cut, error: float) -> dict[str, Statistic]:
    """The numbers of a search, as functions of score, expected events, and process."""

    def of_cut(score: np.ndarray, expected: np.ndarray, process: np.ndarray) -> float:
        return significance_of_cut(score, expected, process, cut, error)

    def of_bins(score: np.ndarray, expected: np.ndarray, process: np.ndarray) -> float:
        return significance_of_bins(score, expected, process, cut, error)

    def efficiency(score: np.ndarray, expected: np.ndarray, process: np.ndarray) -> float:
        signal, _ = in_bins(score, expected, process, np.array([cut.threshold]))
        return float(signal[1] / signal.sum())

    def rejection(score: np.ndarray, expected: np.ndarray, process: np.ndarray) -> float:
        _, background = in_bins(score, expected, process, np.array([cut.threshold]))
        return float(background.sum() / background[1])

    return {
        "significance_cut": of_cut,
        "significance_bins": of_bins,
        "signal_efficiency": efficiency,
        "background_rejection": rejection,
    }


def search_table(scores: Sequence[Score]) -> list[str]:
    """A row for each analysis: significances with their interval, efficiency and rejection of the cut."""
    rows: dict[str, dict[str, Score]] = {}
    for score in scores:
        rows.setdefault(score.forecast, {})[score.metric] = score
    lines = [f"{'analysis':32s} {'Z of bins':>20s} {'Z of the cut':>20s} {'signal':>8s} {'1/background':>13s}"]
    for name, of in rows.items():
        bins, cut = (_with_interval(of[key]) for key in ("significance_bins", "significance_cut"))
        signal, background = of["signal_efficiency"].value, of["background_rejection"].value
        lines.append(f"{name:32s} {bins:>20s} {cut:>20s} {signal:8.3f} {background:13.1f}")
    return lines


def _with_interval(score: Score) -> str:
    return f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"
