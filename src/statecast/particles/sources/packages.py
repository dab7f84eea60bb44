"""Packages of the extra `hep`, imported on first use."""

from importlib import import_module
from types import ModuleType

from statecast.particles.jets import JetError


def package(name: str, purpose: str) -> ModuleType:
    """The module `name`. Raises JetError, which names the extra, if it or a package that it needs is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise JetError(
            f"{purpose}: need {name.split('.')[0]}, and {error.name} is not installed. pip install 'statecast[hep]'"
        ) from error
