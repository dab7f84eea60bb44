"""Layouts of jet files: what a table's columns are called, in which units, and how its particles belong to its jets."""

from statecast.particles.sources.layouts.layout import Reading, Selection, find_reading

__all__ = ["Reading", "Selection", "find_reading"]
