# -*- test-case-name: tests.cli.checking.test_configmap -*-
"""
A Corefile inside a ConfigMap: found, taken out, and its lines counted as those of the YAML file.

``kubectl get configmap coredns -o yaml`` prints the Corefile as a block of lines or, where one of them ends in a blank, as a quoted string
over several lines. Both keep their places here, and so does JSON, which is YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

KEY = "Corefile"

_LOOKS = re.compile(r"""^\s*["']?kind["']?\s*:\s*["']?(ConfigMap|List)\b""", re.MULTILINE)


class NoCorefile(Exception):
    """A YAML file that holds no Corefile; the text says what it does hold."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text)
        self.line = line


MOUNTED = "/etc/coredns"
"""Where deployments put the ConfigMap, and so where absolute imports of its other keys start."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """
    A text out of another file.

    :ivar lines: for each line of the text, from the first, its line in that file.
    """

    text: str
    lines: tuple[int, ...]

    def line(self, number: int) -> int:
        """The line in the file of a line of the text; 0 stays 0, and what lies behind the end is the last one."""
        if not number or not self.lines:
            return 0
        return self.lines[min(number, len(self.lines)) - 1]


def is_manifest(text: str) -> bool:
    """Whether a text is a ConfigMap, or a list of objects, and no Corefile."""
    return _LOOKS.search(text) is not None


def texts_of(text: str) -> dict[str, Embedded]:
    """
    The keys of the first ConfigMap that has a Corefile; the pod finds the others as files beside it.

    :raises NoCorefile: there is none, or this is no YAML.
    """
    import yaml

    keys: list[str] = []
    try:
        for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
            for config_map in _config_maps(document):
                entries = [
                    entry for entry in _entries(_get(config_map, "data")) if isinstance(entry[1], yaml.ScalarNode)
                ]
                if any(key == KEY for key, _ in entries):
                    return {key: Embedded(value.value, tuple(_lines(value, text))) for key, value in entries}
                keys += [key for key, _ in entries]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NoCorefile(f"no YAML: {getattr(error, 'problem', None) or error}", mark.line + 1 if mark else 0) from None
    found = f"keys {', '.join(keys)}" if keys else "no ConfigMap with data"
    raise NoCorefile(f"no ConfigMap has a key {KEY}; found: {found}")


def _config_maps(node: Any) -> Iterator[Any]:
    kind = _get(node, "kind")
    if kind is not None and kind.value == "ConfigMap":
        yield node
    for item in getattr(_get(node, "items"), "value", ()):
        yield from _config_maps(item)


def _get(node: Any, wanted: str) -> Any:
    return next((value for key, value in _entries(node) if key == wanted), None)


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    for pair in getattr(node, "value", ()) if getattr(node, "id", "") == "mapping" else ():
        yield str(pair[0].value), pair[1]


def _lines(node: Any, text: str) -> Iterator[int]:
    """The line of *text* of each line of a scalar's value."""
    first = node.start_mark.line + 1
    if node.style == "|":
        yield from range(first + 1, first + 1 + node.value.count("\n") + 1)
    elif node.style == ">":  # lines are joined there, and nobody writes a Corefile so
        yield from [first] * (node.value.count("\n") + 1)
    else:
        yield from _flow_lines(text[node.start_mark.index : node.end_mark.index], first, node.style == '"')


def _flow_lines(raw: str, line: int, escapes: bool) -> Iterator[int]:
    r"""A quoted string: ``\n`` ends a line of its value, and so does each empty line; a line's end alone is a blank."""
    yield line
    position = 0
    while position < len(raw):
        char = raw[position]
        if escapes and char == "\\":
            if raw[position + 1 : position + 2] == "n":
                rest = raw[position + 2 :]
                # What follows begins on the next line of the file when this one is continued there.
                yield line + 1 if rest[:2] == "\\\n" else line
            elif raw[position + 1 : position + 2] == "\n":
                line += 1
            position += 2
            continue
        if char == "\n":
            line += 1
            blank = re.match(r"[ \t]*\n", raw[position + 1 :])
            if blank is not None:
                yield line + 1
        position += 1
