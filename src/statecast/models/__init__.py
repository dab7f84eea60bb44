"""Models: a question in, a predictive distribution for each asked token out. They see tokens, never grids or files."""

from statecast.models.heads import EnsembleHead, Head, PointHead, Prediction
from statecast.models.state_model import ModelOptions, StateModel, TokenSpec

__all__ = ["EnsembleHead", "Head", "ModelOptions", "PointHead", "Prediction", "StateModel", "TokenSpec"]
