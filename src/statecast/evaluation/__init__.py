"""Evaluation: scores beside baselines, and the report."""

from statecast.evaluation.reconstruction import verify_reconstruction
from statecast.evaluation.scores import area_mean, crps_fair
from statecast.evaluation.verification import Verification, verify_forecast, write_scores

__all__ = ["Verification", "area_mean", "crps_fair", "verify_forecast", "verify_reconstruction", "write_scores"]
