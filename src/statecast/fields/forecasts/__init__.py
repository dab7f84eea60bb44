"""Forecasts that others made: opened from files, paired with the analyses of a store, and scored as the forecasts of a model are."""

from statecast.fields.forecasts.choice import Choice
from statecast.fields.forecasts.merge import merge
from statecast.fields.forecasts.verify import verify

__all__ = ["Choice", "merge", "verify"]
