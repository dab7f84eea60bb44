"""Scores of models of texts, and what they are compared with."""
