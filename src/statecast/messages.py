"""What stands in a message: one short line, whatever a file, an argument or another library's error holds."""

LONGEST_WORD = 120  # letters, of which a long path keeps both ends
LARGEST_TEXT = 10_000  # letters that are looked at
LONGEST_QUOTE = 60  # letters of a value that a message repeats
LONGEST_REASON = 200  # letters of another library's message that are passed on


def one_line(text: object, longest: int = LONGEST_REASON) -> str:
    """The text in one line of at most `longest` letters, with characters that can't be printed written as escapes."""
    words = " ".join(map(_cut, str(text)[:LARGEST_TEXT].split()))
    printable = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in words)
    return printable if len(printable) <= longest else f"{printable[: longest - 1]}…"


def _cut(word: str) -> str:
    """Without the middle of a name that would leave no room for what is said of it."""
    return word if len(word) <= LONGEST_WORD else f"{word[: LONGEST_WORD // 2]}…{word[-LONGEST_WORD // 4 :]}"


def quoted(value: object) -> str:
    """A value as a message repeats it."""
    return one_line(repr(value), LONGEST_QUOTE)
