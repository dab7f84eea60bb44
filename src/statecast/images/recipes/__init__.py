"""Recipes of images that ship with statecast."""
