# -*- test-case-name: tests.cli.checking.test_configmap -*-
"""Where the text of a Corefile comes from: itself, or a ConfigMap that holds it, whose lines findings then name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kdns.cli.checking.configmap import Embedded, NoCorefile, corefile_of, is_manifest
from kdns.cli.checking.findings import Finding


class CannotRead(Exception):
    """There is no Corefile to look at."""

    def __init__(self, text: str, *, line: int = 0, suggestion: str = "") -> None:
        super().__init__(text)
        self.line = line
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Source:
    """A Corefile and the file that it stands in."""

    name: str
    text: str
    config_map: Embedded | None = None

    @property
    def embedded(self) -> bool:
        """Whether it stands in a ConfigMap, and so is for a pod and not for this machine."""
        return self.config_map is not None

    def placed(self, finding: Finding) -> Finding:
        """The finding with the line of the file, which is another one in a ConfigMap."""
        if self.config_map is None or finding.file != self.name:
            return finding
        return replace(finding, line=self.config_map.line(finding.line))


def source_of(text: str, name: str) -> Source:
    """
    The Corefile in a text.

    :raises CannotRead: it is a manifest without one.
    """
    if not is_manifest(text):
        return Source(name, text)
    try:
        found = corefile_of(text)
    except NoCorefile as error:
        advice = "give a ConfigMap as `kubectl -n kube-system get configmap coredns -o yaml` prints it"
        raise CannotRead(str(error), line=error.line, suggestion=advice) from None
    return Source(name, found.text, found)
