# -*- test-case-name: tests.checking.test_source -*-
"""
Where the text of a Corefile comes from, and the files that it imports.

It is a file on this machine with others in its folder, or part of a YAML or JSON file: a ConfigMap, whose other keys are files next to the
Corefile, or the values of CoreDNS's Helm chart (a values file, a HelmRelease, a HelmChartConfig). Findings then name the lines of that
file. Readiness probes in the same file are read, too.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from kdns.checking.findings import Finding
from kdns.corefile.files import DiskFiles, Files, Kind

NODE_LOCAL = {
    "__PILLAR__LOCAL__DNS__": "169.254.20.10",
    "__PILLAR__DNS__SERVER__": "",
    "__PILLAR__CLUSTER__DNS__": "10.96.0.11",
    "__PILLAR__UPSTREAM__SERVERS__": "/etc/resolv.conf",
}
"""Variables of NodeLocal DNSCache's template, with values such as ``kdns node-cache`` puts in their place when it starts."""

KEY = "Corefile"

MOUNTED = "/etc/coredns"
"""Where deployments put the ConfigMap, and so where absolute imports of its other keys start."""

READY_PATH = "/ready"
PERIOD, FAILURES, GRACE = 10, 3, 30
"""What Kubernetes takes for ``periodSeconds``, ``failureThreshold`` and ``terminationGracePeriodSeconds`` that are not written."""

_MANIFEST = re.compile(
    r"""\A\s*\{\s*"                               # JSON
      | ^["']?(?:apiVersion|kind)["']?\s*:\s      # an object of Kubernetes
      | ^\s*["']?servers["']?\s*:\s*(?:\#.*)?$    # values of the Helm chart
    """,
    re.MULTILINE | re.VERBOSE,
)

_NESTED = ("values", "valuesContent")
"""Keys whose text is YAML itself: Helm values in an Application of Argo CD, in a HelmChartConfig of k3s and RKE2."""

Line = Callable[[int], int]
"""From a line of a text, counted from 1, to a line of the file that the text stands in."""


class CannotRead(Exception):
    """There is no Corefile to look at."""

    def __init__(self, text: str, *, line: int = 0, suggestion: str = "") -> None:
        super().__init__(text)
        self.line = line
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Embedded:
    """
    A text inside another file.

    :ivar lines: for each line of the text, its line in that file.
    """

    text: str
    lines: Sequence[int]

    def line(self, number: int) -> int:
        """The line in the file of a line of the text; 0 stays 0, a line after the end is the last one."""
        if not number or not self.lines:
            return 0
        return self.lines[min(number, len(self.lines)) - 1]


@dataclass(frozen=True, slots=True)
class Probe:
    """How soon a cluster notices that a server is not ready, in seconds; *line* is that of the probe."""

    line: int
    notices_after: int
    grace: int = GRACE


class MountedFiles(DiskFiles):
    """The file system, with the keys of a ConfigMap as files where a pod has them and next to the ConfigMap's own file."""

    def __init__(self, name: str, keys: Mapping[str, Embedded]) -> None:
        super().__init__()
        folders = (os.path.dirname(self.absolute(name)), MOUNTED)
        self.keys = {os.path.join(folder, key): key for folder in folders for key in keys if key != KEY}
        self._texts = {path: keys[key].text for path, key in self.keys.items()}

    def matches(self, pattern: str) -> list[str]:
        """See :class:`~kdns.corefile.files.Files`."""
        folder, name = os.path.split(pattern)
        here = [path for path in self._texts if os.path.dirname(path) == folder]
        return sorted(
            {*super().matches(pattern), *(path for path in here if fnmatchcase(os.path.basename(path), name))}
        )

    def kind(self, path: str) -> Kind:
        """See :class:`~kdns.corefile.files.Files`."""
        return Kind.FILE if path in self._texts else super().kind(path)

    def read(self, path: str) -> str:
        """See :class:`~kdns.corefile.files.Files`."""
        return self._texts[path] if path in self._texts else super().read(path)


@dataclass(frozen=True, slots=True)
class Source:
    """A Corefile, the file that it stands in, and where its imports are looked for."""

    name: str
    text: str
    files: Files = field(default_factory=DiskFiles)
    keys: Mapping[str, Embedded] = field(default_factory=dict)
    """The Corefile and the files next to it, where they stand in a manifest."""

    probes: Sequence[Probe] = ()

    @property
    def embedded(self) -> bool:
        """Whether it stands in a manifest, and so is for a pod and not for this machine."""
        return bool(self.keys)

    def content(self, file: str) -> str:
        """The text of the Corefile or of a file that it imports; empty when it cannot be read."""
        if file in (self.name, self.files.absolute(self.name)):
            return self.text
        try:
            return self.files.read(file)
        except OSError:
            return ""

    def placed(self, finding: Finding) -> Finding:
        """The finding with the file and line that an editor shows, which are other ones in a manifest."""
        key = KEY if finding.file == self.name else getattr(self.files, "keys", {}).get(finding.file)
        if not self.embedded or key is None:
            return finding
        return replace(finding, file=self.name, line=self.keys[key].line(finding.line))


def source_of(text: str, name: str) -> Source:
    """
    The Corefile in a text.

    :raises CannotRead: the text is a manifest without one.
    """
    for variable, value in NODE_LOCAL.items():
        text = text.replace(variable, value)
    if _MANIFEST.search(text) is None:
        return Source(name, text)
    import yaml

    manifest = _Manifest()
    try:
        for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
            manifest.read(document, text, lambda line: line)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        raise CannotRead(f"no YAML: {getattr(error, 'problem', None) or error}", line=line) from None
    if not manifest.texts:
        found = f"keys {', '.join(manifest.other_keys)}" if manifest.other_keys else "no ConfigMap with data"
        raise CannotRead(
            f"no ConfigMap has a key {KEY}, and there are no Helm values with servers; found: {found}",
            suggestion="give a ConfigMap as `kubectl -n kube-system get configmap coredns -o yaml` prints it",
        )
    keys = manifest.texts
    return Source(name, keys[KEY].text, MountedFiles(name, keys), keys, manifest.probes)


class _Manifest:
    """What the nodes of a YAML file hold; the first Corefile counts."""

    def __init__(self) -> None:
        self.texts: dict[str, Embedded] = {}
        self.probes: list[Probe] = []
        self.other_keys: list[str] = []

    def read(self, document: Any, text: str, line: Line) -> None:
        """Look at all mappings of a document."""
        for node in _mappings(document, set()):
            entries = dict(_entries(node))
            if _value(entries.get("kind")) == "ConfigMap":
                self._config_map(entries.get("data"), text, line)
            if isinstance(getattr(entries.get("servers"), "value", None), list) and not self.texts:
                self.texts = _helm(entries, text, line)
            self._probe(node, entries, line)
            for key in _NESTED:
                nested = entries.get(key)
                if nested is not None and getattr(nested, "style", None) == "|":
                    self._nested(nested, text, line)

    def _config_map(self, data: Any, text: str, line: Line) -> None:
        texts = {key: _embedded(value, text, line) for key, value in _entries(data) if value.id == "scalar"}
        if KEY in texts and not self.texts:
            self.texts = texts
        self.other_keys += texts

    def _probe(self, node: Any, entries: Mapping[str, Any], line: Line) -> None:
        """The readiness probe at ``/ready`` of a pod's container, or that of Helm values."""
        pod = getattr(entries.get("containers"), "value", ())
        grace = _number(entries.get("terminationGracePeriodSeconds"), GRACE)
        for holder in (node,) if "servers" in entries else pod:
            for key, value in holder.value if holder.id == "mapping" else ():
                probe = dict(_entries(value)) if key.value == "readinessProbe" else {}
                path = _value(dict(_entries(probe.get("httpGet"))).get("path"))
                if probe and (path == READY_PATH or holder is node):
                    notices = _number(probe.get("periodSeconds"), PERIOD) * _number(
                        probe.get("failureThreshold"), FAILURES
                    )
                    self.probes.append(Probe(line(key.start_mark.line + 1), notices, grace))

    def _nested(self, node: Any, text: str, line: Line) -> None:
        import yaml

        inner = _embedded(node, text, line)
        try:
            for document in yaml.compose_all(inner.text, Loader=yaml.SafeLoader):
                self.read(document, inner.text, inner.line)
        except yaml.YAMLError:
            pass  # a text of another kind


def _mappings(node: Any, seen: set[int]) -> Iterator[Any]:
    """All mappings in a node, outer ones first; one with several aliases once."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if node.id == "mapping":
        yield node
        for _, value in _entries(node):
            yield from _mappings(value, seen)
    elif node.id == "sequence":
        for value in node.value:
            yield from _mappings(value, seen)


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    for key, value in node.value if getattr(node, "id", "") == "mapping" else ():
        yield str(key.value), value


def _value(node: Any) -> str:
    return str(node.value) if getattr(node, "id", "") == "scalar" else ""


def _number(node: Any, default: int) -> int:
    text = _value(node)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _helm(values: Mapping[str, Any], text: str, line: Line) -> dict[str, Embedded]:
    """The Corefile that CoreDNS's chart makes of ``servers`` (and ``extraConfig``), and its ``zoneFiles``; nothing without plugins."""
    lines: list[str] = []
    places: list[int] = []

    def add(written: str, node: Any) -> None:
        lines.append(written)
        places.append(line(node.start_mark.line + 1))

    for name, extra in _entries(values.get("extraConfig")):
        add(f"{name} {_value(dict(_entries(extra)).get('parameters'))}".rstrip(), extra)
    plugins = False
    for server in values["servers"].value:
        entries = dict(_entries(server))
        zones = [dict(_entries(zone)) for zone in getattr(entries.get("zones"), "value", ())]
        keys = [_value(zone.get("scheme")) + (_value(zone.get("zone")) or ".") for zone in zones] or ["."]
        port = _value(entries.get("port"))
        add(" ".join(keys) + (f":{port}" if port else "") + " {", server)
        for plugin in getattr(entries.get("plugins"), "value", ()):
            use = dict(_entries(plugin))
            block = use.get("configBlock")
            plugins = True
            head = f"    {_value(use.get('name'))} {_value(use.get('parameters'))}".rstrip()
            add(head + (" {" if _value(block) else ""), plugin)
            if _value(block):
                inner = _embedded(block, text, line)
                lines += [f"        {option}" for option in inner.text.split("\n")]
                places += [inner.line(number) for number in range(1, inner.text.count("\n") + 2)]
                add("    }", plugin)
        add("}", server)
    if not plugins:
        return {}
    found = {KEY: Embedded("\n".join(lines) + "\n", places)}
    for file in getattr(values.get("zoneFiles"), "value", ()):
        entries = dict(_entries(file))
        if _value(entries.get("filename")) and entries.get("contents") is not None:
            found.setdefault(_value(entries["filename"]), _embedded(entries["contents"], text, line))
    return found


def _embedded(node: Any, text: str, line: Line) -> Embedded:
    return Embedded(_value(node), [line(number) for number in _lines(node, text)])


def _lines(node: Any, text: str) -> Iterator[int]:
    """The line of *text* of each line of a scalar's value."""
    first = node.start_mark.line + 1
    if node.style == "|":
        yield from range(first + 1, first + 1 + node.value.count("\n") + 1)
    elif node.style == ">":  # its lines are joined: no form for a Corefile
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
