"""Specs that ship with statecast, one for each archive."""
