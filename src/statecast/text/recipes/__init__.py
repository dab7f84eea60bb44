"""The recipes of texts that ship with statecast."""
