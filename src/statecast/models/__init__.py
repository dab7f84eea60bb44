"""Models map a question to a predictive distribution for each asked token. They see tokens, never the data of a domain."""

from statecast.models.drawing import AS_LEARNED, Draws, DrawsError
from statecast.models.flow import FlowHead
from statecast.models.heads import CategoricalHead, EnsembleHead, Head, PointHead, Prediction
from statecast.models.joint import log_likelihood, log_likelihood_parts
from statecast.models.options import ModelOptions
from statecast.models.state_model import StateModel

__all__ = [
    "AS_LEARNED",
    "CategoricalHead",
    "Draws",
    "DrawsError",
    "EnsembleHead",
    "FlowHead",
    "Head",
    "ModelOptions",
    "PointHead",
    "Prediction",
    "StateModel",
    "log_likelihood",
    "log_likelihood_parts",
]
