"""Recipes that ship with statecast, by file name."""
