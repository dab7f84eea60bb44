"""Evaluation of taggers and of generated jets, as the field does it."""
