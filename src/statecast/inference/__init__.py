"""Inference: questions put to a trained model, answers as labelled arrays."""

from statecast.inference.answer import answer
from statecast.inference.complete import complete
from statecast.inference.forecast import forecast, write_forecast

__all__ = ["answer", "complete", "forecast", "write_forecast"]
