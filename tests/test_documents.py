"""Documents from outside: what is refused, in which words, and in no time."""

import os
import time

import pytest

from statecast.documents import DocumentError, parse_json, parse_yaml, read_text

MERGES = "\n".join(["a0: &a0 {x: 1}", *(f"a{i}: &a{i}\n  <<: [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))])
ALIASES = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 18))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 1\nsteps: 2", "has the key 'steps' twice in one section"),
        ("a: {b: 1, c: 2, b: 3}", "has the key 'b' twice"),
        ("steps: 9223372036854775808", "steps is 9223372036854775808, which takes more than 64 bits"),
        ("steps: " + "9" * 5000, "is not valid YAML"),
        ("[" * 100_000, "is nested too deeply"),
        ("- " * 3000, "is nested too deeply"),
        ("a: " + "[" * 30 + "]" * 30, "is nested more than 20 sections deep"),
        ("&a [*a]", "is nested more than 20 sections deep"),
        (ALIASES, "holds more than 20,000 values"),
        (MERGES, "holds more than 20,000 values"),
        ("a: !!set {b}", "a is a set, expected a text"),
        ("a: !!int x", "is not valid YAML"),
        ("a: !!python/object:os.system x", "is not valid YAML"),
        ('a: "x\\0"', "which has letters that can't be printed"),
        ("a: " + "x" * 5000, "a has 5,000 letters"),
        ("1: a", "has the key 1, expected a text"),
        ("a: [1", "is not valid YAML (line 1: "),
    ],
)
def test_what_no_recipe_can_mean_is_refused_at_once(text, message):
    began = time.monotonic()
    with pytest.raises(DocumentError) as caught:
        parse_yaml(text)
    told = str(caught.value)
    assert message in told and "\n" not in told and len(told) < 300 and time.monotonic() - began < 5


def test_texts_stay_texts_as_in_yaml_1_2():
    text = "a: [010, 12:30, no, on, 2000-01-01, 1e-3, 0x10, 1, -2, 1.5, true, null]"
    assert parse_yaml(text)["a"] == ["010", "12:30", "no", "on", "2000-01-01", "1e-3", "0x10", 1, -2, 1.5, True, None]


def test_anchors_and_merged_sections_may_be_used():
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: *a")["b"] == {"x": 3, "y": 2}


@pytest.mark.parametrize(
    ("text", "message"), [('{"a": 1, "a": 2}', "twice"), ("[" * 9999, "is not valid JSON"), ("{", "is not valid JSON")]
)
def test_json_obeys_the_same_rules(text, message):
    with pytest.raises(DocumentError, match=message):
        parse_json(text)


def test_what_is_no_text_of_bounded_size_is_not_read(tmp_path):
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "latin").write_bytes("é".encode("latin-1"))
    (tmp_path / "large").write_bytes(b"x" * 2**19)
    os.mkfifo(tmp_path / "pipe")
    for name in ("directory", "loop", "pipe", "absent", "x" * 300, "/dev/zero"):
        with pytest.raises(DocumentError, match="is no file"):
            read_text(tmp_path / name)
    for name, message in (("latin", "is not a text in UTF-8"), ("large", "has 524,288 bytes, expected at most")):
        with pytest.raises(DocumentError, match=message):
            read_text(tmp_path / name)
    (tmp_path / "bom").write_bytes("é: 1".encode("utf-8-sig"))
    assert parse_yaml(read_text(tmp_path / "bom")) == {"é": 1}
