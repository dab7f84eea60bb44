"""Evaluation without a domain: the loop over cases, scores with their intervals, and the files that hold them."""

from statecast.evaluation.loop import Scored, verify_cases
from statecast.evaluation.scores import crps, ensemble_scores, mean_scores, rank_counts
from statecast.evaluation.verification import LabelAxis, Verification, write_scores

__all__ = [
    "LabelAxis",
    "Scored",
    "Verification",
    "crps",
    "ensemble_scores",
    "mean_scores",
    "rank_counts",
    "verify_cases",
    "write_scores",
]
