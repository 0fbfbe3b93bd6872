"""What tests of the Corefile language share: files in memory, and short ways to parse and to fail."""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Mapping

from kdns.corefile import DIRECTIVE_ORDER, CorefileError, Dispenser, ServerBlock, Surroundings
from kdns.corefile.files import Kind
from kdns.corefile.parser import Parsed, parse

KNOWN = frozenset(DIRECTIVE_ORDER)


class MemoryFiles:
    """Files by absolute path; the working directory is ``/etc``. It counts how often each file is read."""

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        self.texts = {self.absolute(path): text for path, text in (texts or {}).items()}
        self.reads: list[str] = []

    def absolute(self, path: str) -> str:
        """Paths start at ``/etc``."""
        return posixpath.normpath(posixpath.join("/etc", path))

    def matches(self, pattern: str) -> list[str]:
        """``fnmatch`` is near enough to a glob for flat folders."""
        folders = {posixpath.dirname(path) for path in self.texts}
        return sorted(path for path in {*self.texts, *folders} if fnmatch.fnmatchcase(path, pattern))

    def kind(self, path: str) -> Kind:
        """Whatever has files below it is a directory."""
        path = self.absolute(path)
        if path in self.texts:
            return Kind.FILE
        return Kind.DIRECTORY if any(other.startswith(path + "/") for other in self.texts) else Kind.MISSING

    def read(self, path: str) -> str:
        """The text, or the error a file system has for it."""
        path = self.absolute(path)
        self.reads.append(path)
        if path not in self.texts:
            raise FileNotFoundError(2, "No such file or directory")
        if self.texts[path] == "unreadable":
            raise PermissionError(13, "Permission denied")
        return self.texts[path]


def parsed(text: str, files: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None) -> Parsed:
    """Parse *text* as ``Corefile``."""
    return parse(text, "Corefile", Surroundings(KNOWN, env or {}, MemoryFiles(files)))


def outline(blocks: tuple[ServerBlock, ...]) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """Keys and directives as plain text, ``|`` before each word that starts a line."""
    return [
        (
            block.key_texts,
            {
                name: " ".join("|" * token.starts_line + token.text for token in directive.tokens)
                for name, directive in block.directives.items()
            },
        )
        for block in blocks
    ]


def error_of(text: str, files: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None) -> str:
    """The error that *text* ends in, or what it parses to."""
    try:
        return repr(outline(parsed(text, files, env).blocks))
    except CorefileError as error:
        return str(error)


def dispenser(body: str, name: str = "cache") -> Dispenser:
    """A cursor over the directive *name* of a block with *body* on its lines, from line 2 on."""
    (block,) = parsed(f". {{\n{body}\n}}\n").blocks
    return Dispenser(block.directives[name])
