"""Models map a question to a predictive distribution for each asked token. They see tokens, never the data of a domain."""

from statecast.models.heads import CategoricalHead, EnsembleHead, Head, PointHead, Prediction
from statecast.models.state_model import ModelOptions, StateModel

__all__ = ["CategoricalHead", "EnsembleHead", "Head", "ModelOptions", "PointHead", "Prediction", "StateModel"]
