# -*- test-case-name: tests.cli.checking.test_configmap -*-
"""
Where the text of a Corefile comes from, and the files that it imports: a file on this machine with others beside it, or a ConfigMap whose
other keys stand for the files beside it. Findings then name the lines of the ConfigMap's own file.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from kdns.cli.checking.configmap import KEY, MOUNTED, Embedded, NoCorefile, is_manifest, texts_of
from kdns.cli.checking.findings import Finding
from kdns.corefile.files import DiskFiles, Files, Kind


class CannotRead(Exception):
    """There is no Corefile to look at."""

    def __init__(self, text: str, *, line: int = 0, suggestion: str = "") -> None:
        super().__init__(text)
        self.line = line
        self.suggestion = suggestion


class MountedFiles(DiskFiles):
    """The file system, with the keys of a ConfigMap as files where a pod has them and beside the ConfigMap's own file."""

    def __init__(self, name: str, keys: Mapping[str, Embedded]) -> None:
        super().__init__()
        folders = (os.path.dirname(self.absolute(name)), MOUNTED)
        self.keys = {os.path.join(folder, key): key for folder in folders for key in keys if key != KEY}
        self._texts = {path: keys[key].text for path, key in self.keys.items()}

    def matches(self, pattern: str) -> list[str]:
        """See :class:`~kdns.corefile.files.Files`."""
        here = [
            path
            for path in self._texts
            if os.path.dirname(path) == os.path.dirname(pattern)
            and fnmatchcase(os.path.basename(path), os.path.basename(pattern))
        ]
        return sorted({*here, *super().matches(pattern)})

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
    """The texts of a ConfigMap; none when it is no ConfigMap."""

    @property
    def embedded(self) -> bool:
        """Whether it stands in a ConfigMap, and so is for a pod and not for this machine."""
        return bool(self.keys)

    def content(self, file: str) -> str:
        """The text of the Corefile or of a file that it imports; empty when that cannot be read."""
        if file in (self.name, self.files.absolute(self.name)):
            return self.text
        try:
            return self.files.read(file)
        except OSError:
            return ""

    def placed(self, finding: Finding) -> Finding:
        """The finding with the file and line that an editor finds, which are others in a ConfigMap."""
        if not self.embedded:
            return finding
        key = KEY if finding.file == self.name else getattr(self.files, "keys", {}).get(finding.file)
        return finding if key is None else replace(finding, file=self.name, line=self.keys[key].line(finding.line))


def source_of(text: str, name: str) -> Source:
    """
    The Corefile in a text.

    :raises CannotRead: it is a manifest without one.
    """
    if not is_manifest(text):
        return Source(name, text)
    try:
        keys = texts_of(text)
    except NoCorefile as error:
        advice = "give a ConfigMap as `kubectl -n kube-system get configmap coredns -o yaml` prints it"
        raise CannotRead(str(error), line=error.line, suggestion=advice) from None
    return Source(name, keys[KEY].text, MountedFiles(name, keys), keys)
