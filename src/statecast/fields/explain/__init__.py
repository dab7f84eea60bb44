"""Explanations: the tokens that an answer attends to, its sensitivity to visible values, and the answer under another α."""

from statecast.fields.explain.explanation import explain
from statecast.fields.explain.point import PointQuestion, QueryError, ask_point

__all__ = ["PointQuestion", "QueryError", "ask_point", "explain"]
