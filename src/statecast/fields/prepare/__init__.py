"""Preparation: archives of any layout as one store that trains fast, and later times added to it."""

from statecast.fields.prepare.append import append
from statecast.fields.prepare.errors import PrepareError
from statecast.fields.prepare.prepare import prepare
from statecast.fields.prepare.spec import Spec, SpecError, read_spec, shipped_specs

__all__ = ["PrepareError", "Spec", "SpecError", "append", "prepare", "read_spec", "shipped_specs"]
