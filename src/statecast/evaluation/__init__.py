"""Evaluation that knows no grid: scores of whole samples beside what needs no model."""
