"""The error of a preparation, and the one line of another's."""


class PrepareError(ValueError):
    """Inputs, a spec or a store that can't be prepared or appended to; the message states the problem and the remedy."""


def first_line(error: BaseException) -> str:
    """The first line of a message, or the kind of error if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
