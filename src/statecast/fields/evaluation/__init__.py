"""Evaluation of fields: scores beside baselines, and the report."""

from statecast.fields.evaluation.reconstruction import verify_reconstruction
from statecast.fields.evaluation.scores import area_mean
from statecast.fields.evaluation.verification import verify_forecast

__all__ = ["area_mean", "verify_forecast", "verify_reconstruction"]
