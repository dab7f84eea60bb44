"""Recipes of jets that ship with statecast."""
