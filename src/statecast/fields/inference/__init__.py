"""Inference: questions put to a trained model, answers as labelled arrays."""

from statecast.answer import answer
from statecast.fields.inference.complete import complete
from statecast.fields.inference.forecast import forecast, write_forecast

__all__ = ["answer", "complete", "forecast", "write_forecast"]
