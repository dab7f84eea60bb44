"""Errors about stores."""


class StoreError(ValueError):
    """A store or a request that cannot be interpreted; the message states the problem, what was expected and found, and the remedy."""


class MissingStoreError(StoreError):
    """A store that does not exist."""


class UnreachableError(StoreError):
    """A part of a remote store that its server does not give."""
