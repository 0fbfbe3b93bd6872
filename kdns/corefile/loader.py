# -*- test-case-name: tests.corefile.test_loader -*-
"""
One way in: from a file, a text or nothing to a parsed Corefile with its warnings and fingerprint.

Decides which text is taken and what stands in for an empty one. Keys and plugins are read later, by those who assemble the servers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from kdns.core.text import reason_of
from kdns.corefile.errors import Unreadable
from kdns.corefile.files import Kind
from kdns.corefile.fingerprint import fingerprint
from kdns.corefile.parser import Surroundings, parse
from kdns.corefile.tree import Directive, ServerBlock

DEFAULT_NAME = "Corefile"
"""The file that is read when none is named, if it exists."""

BUILT_IN = ". {\n    whoami\n    log\n}\n"
"""The Corefile that is served when there is none, or none with a server block; its port is the default one."""


@dataclass(frozen=True, slots=True)
class Corefile:
    """
    A configuration in its parsed form.

    :ivar name: the file as it was named, as errors show it.
    :ivar blocks: the server blocks in file order; never empty.
    :ivar warnings: what the operator should know though it is no error.
    :ivar fingerprint: equal when the configuration says the same.
    :ivar files: absolute paths of all files it was read from.
    :ivar built_in: the text held no server block, and the blocks are those of the built-in Corefile.
    :ivar left_out: directives that stand in the text and were taken out of the blocks.
    """

    name: str
    blocks: tuple[ServerBlock, ...]
    warnings: tuple[str, ...]
    fingerprint: str
    files: tuple[str, ...]
    built_in: bool = False
    left_out: tuple[Directive, ...] = ()


def without(corefile: Corefile, names: Collection[str]) -> Corefile:
    """The same configuration without the directives of these names."""
    blocks = tuple(
        replace(block, directives={name: one for name, one in block.directives.items() if name not in names})
        for block in corefile.blocks
    )
    left_out = tuple(one for block in corefile.blocks for name, one in block.directives.items() if name in names)
    return replace(corefile, blocks=blocks, left_out=left_out) if left_out else corefile


def load_text(text: str, surroundings: Surroundings, name: str = DEFAULT_NAME) -> Corefile:
    """
    Read a Corefile from a text; one without server blocks is the built-in one.

    :param name: the file name that errors show; relative imports start at its folder.
    :raises CorefileError: the text is no Corefile.
    """
    return _load(text, surroundings, name, ())


def load_file(path: str | None, surroundings: Surroundings) -> Corefile:
    """
    Read a Corefile from a file.

    :param path: the file; ``None`` is ``Corefile`` if there is one, and the built-in one if not.
    :raises CorefileError: the file cannot be read, or is no Corefile.
    """
    files = surroundings.files
    name = DEFAULT_NAME if path is None else path
    if path is None and files.kind(name) is Kind.MISSING:
        return load_text("", surroundings)
    try:
        text = files.read(name)
    except OSError as error:
        raise Unreadable(name, reason_of(error)) from error
    return _load(text, surroundings, name, (files.absolute(name),))


def _load(text: str, surroundings: Surroundings, name: str, files: tuple[str, ...]) -> Corefile:
    parsed = parse(text, name, surroundings)
    blocks = parsed.blocks or parse(BUILT_IN, name, surroundings).blocks
    files += parsed.files_read
    return Corefile(name, blocks, parsed.warnings, fingerprint(blocks), files, not parsed.blocks)
