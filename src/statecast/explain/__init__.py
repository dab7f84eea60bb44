"""Explanations that hold for any domain: what an answer attends to, and what it is sensitive to."""
