"""Models: a question in, a predictive distribution for each asked token out. They see tokens, never a domain's data."""

from statecast.models.heads import CategoricalHead, EnsembleHead, Head, PointHead, Prediction
from statecast.models.state_model import ModelOptions, StateModel

__all__ = ["CategoricalHead", "EnsembleHead", "Head", "ModelOptions", "PointHead", "Prediction", "StateModel"]
