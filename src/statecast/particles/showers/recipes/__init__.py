"""Recipes of showers."""
