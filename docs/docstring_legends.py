"""A griffe extension for the API pages: what docstrings align by spaces becomes Markdown.

name   what it is, which may go          ->    a list, one entry a name
       on in the next line
x - y  -  z      Author 2018, eq. 1      ->    a block of code
"""

import re

import griffe

LEGEND = re.compile(r"^(?P<name>[a-z]\w*) {2,}(?P<text>[^\s=-].*)$")
CONTINUED = re.compile(r"^ {2,}(?P<text>\S.*)$")
ALIGNED = re.compile(r"^\S.*\S {2,}\S")


class DocstringLegends(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    lines: list[str] = []
    in_legend = False
    for line in docstring.split("\n"):
        if entry := LEGEND.match(line):
            lines += [] if in_legend else [""]
            lines.append(f"- `{entry['name']}`: {entry['text']}")
            in_legend = True
        elif in_legend and (more := CONTINUED.match(line)):
            lines[-1] += " " + more["text"]
        else:
            lines += [""] if in_legend else []
            lines += ["", f"    {line}", ""] if ALIGNED.match(line) else [line]
            in_legend = False
    return "\n".join(lines)
