"""Evaluation: scores beside baselines, and the report."""

from statecast.evaluation.reconstruction import verify_reconstruction
from statecast.evaluation.scores import area_mean, crps
from statecast.evaluation.verification import Verification, verify_forecast, write_scores

__all__ = ["Verification", "area_mean", "crps", "verify_forecast", "verify_reconstruction", "write_scores"]
