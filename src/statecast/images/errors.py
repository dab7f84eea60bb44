"""What is wrong with pictures, their labels, masks or boxes."""


class ImageError(ValueError):
    """Pictures that can't be read or don't fit. The message says which, what was expected, and the remedy."""
