"""Evaluation: scores beside baselines, and the report."""

from statecast.fields.evaluation.reconstruction import verify_reconstruction
from statecast.fields.evaluation.scores import area_mean, crps
from statecast.fields.evaluation.verification import Verification, verify_forecast, write_scores

__all__ = ["Verification", "area_mean", "crps", "verify_forecast", "verify_reconstruction", "write_scores"]
