"""Expected significance of a search, from a score of each simulated event and the number of events that it stands for.

Axes: E event, K process, B bin of the score, D resampling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from statecast.particles.evaluation.bootstrap import Score, Statistic, interval, resampled
from statecast.particles.jets import JetError

LUMINOSITY_FB = 139.0
"""Inverse femtobarn, of the LHC at 13 TeV from 2015 to 2018."""
FEWEST_BACKGROUND = 10
"""Simulated background events beyond a cut, or in a bin: with fewer, the choice of the cut would follow their fluctuations."""


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


def chosen_cut(
    score: Float[np.ndarray, " E"],
    expected: Float[np.ndarray, " E"],
    is_signal: Bool[np.ndarray, " E"],
    background_error: float = 0.0,
) -> Cut:
    """The threshold of largest significance, and bins that hold 10, 20, 40, ... background events from the largest score on.

    For this choice the background is one standard error of its simulation, √(Σ y²), higher than expected: else the cut would be where
    there are fewest by chance.

    Raises JetError if there are fewer than `FEWEST_BACKGROUND` background events, or no signal.
    """
    of_background = np.sort(score[~is_signal])[::-1]
    if len(of_background) < FEWEST_BACKGROUND or not is_signal.any():
        raise JetError(
            f"{len(of_background)} background and {int(is_signal.sum())} signal events to choose a cut on, expected at least "
            f"{FEWEST_BACKGROUND} and 1. Use more events."
        )
    order = np.argsort(-score, kind="stable")
    signal = np.cumsum(np.where(is_signal, expected, 0.0)[order])
    background = np.cumsum(np.where(is_signal, 0.0, expected)[order])
    error = np.sqrt(np.cumsum(np.where(is_signal, 0.0, expected**2)[order]))
    is_allowed = np.cumsum(~is_signal[order]) >= FEWEST_BACKGROUND
    last_of_ties = np.append(np.diff(score[order]) != 0, True)
    z = np.where(is_allowed & last_of_ties, asimov(signal, background + error, background_error), -1.0)
    held = FEWEST_BACKGROUND * (2 ** np.arange(1, 32) - 1)
    edges = np.unique(of_background[held[held < len(of_background)] - 1])
    return Cut(float(score[order][z.argmax()]), edges)


def significance_of_cut(
    score: Float[np.ndarray, " E"],
    expected: Float[np.ndarray, " E"],
    is_signal: Bool[np.ndarray, " E"],
    cut: Cut,
    background_error: float = 0.0,
) -> float:
    """Significance of counting the events from the threshold on. Without a background event there, one counts as there."""
    passes = score >= cut.threshold
    signal = expected[passes & is_signal].sum()
    background = max(expected[passes & ~is_signal].sum(), float(expected[~is_signal].max()))
    return float(asimov(signal, background, background_error))


def significance_of_bins(
    score: Float[np.ndarray, " E"],
    expected: Float[np.ndarray, " E"],
    is_signal: Bool[np.ndarray, " E"],
    cut: Cut,
    background_error: float = 0.0,
) -> float:
    """Significance √(Σ Z²) of all bins of the score, whose backgrounds are independent. A bin without a background event counts one."""
    inside: Int[np.ndarray, " E"] = np.searchsorted(cut.edges, score, side="right")
    bins = len(cut.edges) + 1
    signal = np.bincount(inside, np.where(is_signal, expected, 0.0), minlength=bins)
    background = np.bincount(inside, np.where(is_signal, 0.0, expected), minlength=bins)
    background = np.where(background > 0, background, expected[~is_signal].max())
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
    event.
    """
    for events in (validation, test):
        if signal not in events.process:
            raise JetError(f"signal {signal}: is no process. Processes: {', '.join(np.unique(events.process))}.")
    is_signal = test.process == signal
    draws = resampled(test.process)
    found = []
    for name, score in test.scores.items():
        of_validation = (validation.scores[name], validation.expected, validation.process == signal)
        cut = chosen_cut(*of_validation, background_error)
        arrays = (score, test.expected, is_signal)
        for metric, statistic in _statistics(cut, background_error).items():
            low, high = interval(statistic, arrays, draws)
            labels = (("signal", signal),)
            found.append(Score(name, task, metric, statistic(*arrays), low, high, len(score), labels))
    return found


def _statistics(cut: Cut, error: float) -> dict[str, Statistic]:
    """The numbers of a search, as functions of score, expected events, and which are signal."""

    def rejection(score: np.ndarray, expected: np.ndarray, is_signal: np.ndarray) -> float:
        share = _share_beyond(score[~is_signal], expected[~is_signal], cut)
        return 1 / max(share, 1 / np.count_nonzero(~is_signal))

    return {
        "significance_cut": lambda score, expected, is_signal: significance_of_cut(
            score, expected, is_signal, cut, error
        ),
        "significance_bins": lambda score, expected, is_signal: significance_of_bins(
            score, expected, is_signal, cut, error
        ),
        "signal_efficiency": lambda score, expected, is_signal: _share_beyond(
            score[is_signal], expected[is_signal], cut
        ),
        "background_rejection": rejection,
    }


def _share_beyond(score: Float[np.ndarray, " E"], expected: Float[np.ndarray, " E"], cut: Cut) -> float:
    return float(expected[score >= cut.threshold].sum() / expected.sum())


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
