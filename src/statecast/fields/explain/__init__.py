"""Explanations: what an answer attends to, what it is sensitive to, and what it would be under another α."""

from statecast.fields.explain.explanation import explain
from statecast.fields.explain.point import PointQuestion, QueryError, ask_point

__all__ = ["PointQuestion", "QueryError", "ask_point", "explain"]
