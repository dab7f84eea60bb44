"""YAML and JSON from outside: of bounded size, each key once, and plain values only."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from statecast.messages import LONGEST_QUOTE, one_line, quoted

LARGEST_YAML = 2**18  # bytes; a recipe has some thousand
LARGEST_JSON = 2**24
MOST_VALUES = 20_000  # of a YAML document, those of an alias counted wherever it stands
DEEPEST = 20  # sections within one another
MOST_BRACKETS = 200  # that are open at once, those in texts and comments counted
LARGEST_WHOLE_NUMBER = 2**63 - 1
LONGEST_TEXT = 4096  # letters, as many as a path may have
MERGE = "tag:yaml.org,2002:merge"
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError)
"""What the parsers raise, and the constructors of YAML's own types."""


class DocumentError(ValueError):
    """A document that can't be read. The message says what is wrong, but not with which document."""


def is_file(path: Path) -> bool:
    """Whether there is a regular file; False also for a path that can't be one, such as a name that is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_text(path: Path, largest: int = LARGEST_YAML) -> str:
    """The text of a file in UTF-8. Raises DocumentError in one line, also for what is no file, or too large for a document."""
    try:
        if not is_file(path):
            raise DocumentError("is no file")
        if (size := path.stat().st_size) > largest:
            raise DocumentError(f"has {size:,} bytes, expected at most {largest:,}")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DocumentError(f"can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DocumentError(f"is not a text in UTF-8 (byte {error.start})") from None


def parse_yaml(text: str) -> Any:
    """The values of a YAML document. Dates such as 2000-01-01 stay text, and `yes`, `no` and 12:30 are texts too, as in YAML 1.2.

    Raises DocumentError for a key that is written twice, a whole number beyond 64 bits, too many or too deeply nested values, and for
    values of YAML's further types, such as sets.
    """
    _require_shallow(text)
    try:
        document = yaml.load(text, Loader=_Loader)
    except DocumentError:
        raise
    except DAMAGE as error:
        raise DocumentError(f"is not valid YAML ({_yaml_reason(error)})") from None
    _require_plain(document, MOST_VALUES)
    return document


def parse_json(text: str) -> Any:
    """The values of a JSON document. Raises DocumentError as `parse_yaml` does."""
    try:
        document = json.loads(text, object_pairs_hook=_mapping_of_pairs)
    except DocumentError:
        raise
    except DAMAGE as error:
        raise DocumentError(f"is not valid JSON ({one_line(error)})") from None
    _require_plain(document, LARGEST_JSON)
    return document


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        _require_once(key.value for key, _ in node.value if key.id == "scalar" and key.tag != MERGE)
        return node

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MOST_VALUES:
            raise DocumentError(f"holds more than {MOST_VALUES:,} values, with those that it merges")


PLAIN = {"bool": r"^(?:true|True|TRUE|false|False|FALSE)$", "int": r"^[-+]?(?:0|[1-9][0-9_]*)$"}
"""Of YAML 1.2. YAML 1.1 also reads 010 as 8, 12:30 as 750, no as false and 2000-01-01 as a date."""
REPLACED = {f"tag:yaml.org,2002:{name}" for name in (*PLAIN, "timestamp")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for name, pattern in PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(pattern), list("tTfF-+0123456789"))


def _yaml_reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {one_line(error.problem)}"
    return one_line(error)


def _require_shallow(text: str) -> None:
    """Of thousands of brackets within one another, YAML's reader takes seconds to say that they are too many."""
    depth = 0
    for bracket in re.findall(r"[][{}]", text):
        depth += 1 if bracket in "[{" else -1
        if depth > MOST_BRACKETS:
            raise DocumentError("is not valid YAML (it is nested too deeply)")


def _mapping_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _require_once(key for key, _ in pairs)
    return dict(pairs)


def _require_once(keys: Iterable[str]) -> None:
    met = set()
    for key in keys:
        if key in met:
            raise DocumentError(f"has the key {quoted(key)} twice in one section. Leave one out")
        met.add(key)


def _require_plain(document: Any, most: int) -> None:
    waiting: list[tuple[tuple[str, ...], Any]] = [((), document)]
    met = 0
    while waiting:
        path, value = waiting.pop()
        met += 1
        if met > most:
            raise DocumentError(f"holds more than {most:,} values")
        if len(path) > DEEPEST:
            raise DocumentError(f"is nested more than {DEEPEST} sections deep")
        if isinstance(value, dict):
            waiting += [((*path, _plain_key(key)), part) for key, part in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, "-"), part) for part in value]
        else:
            require_plain_value(value, ".".join(path))


def _plain_key(key: Any) -> str:
    if not isinstance(key, str):
        raise DocumentError(f"has the key {quoted(key)}, expected a text. Quote it")
    require_plain_value(key, "a key")
    return key


def require_plain_value(value: Any, where: str) -> None:
    """Raises DocumentError, naming the value by `where` it stands, for what no recipe and no command can mean."""
    if wrong := _what_is_wrong(value):
        raise DocumentError(f"{one_line(where, LONGEST_QUOTE) or 'value'} {wrong}")


def _what_is_wrong(value: Any) -> str | None:
    if not isinstance(value, str | int | float | None):
        return f"is a {type(value).__name__}, expected a text, a number, a list or a section"
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE_NUMBER:
        return f"is {quoted(value)}, which takes more than 64 bits"
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"has {len(value):,} letters, expected at most {LONGEST_TEXT:,}"
    if isinstance(value, str) and not value.isprintable():
        return f"is {quoted(value)}, which has letters that can't be printed"
    return None
