# -*- test-case-name: tests.plugins.autopath.test_config -*-
"""What a Corefile says about search paths, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.core.config_files import read_config_file
from kdns.core.text import reason_of
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import Zone, zones_or_keys
from kdns.corefile.values import quote
from kdns.plugin.capabilities import GivesSearchPaths
from kdns.plugin.registry import find
from kdns.plugin.seam import Block
from kdns.wire.names import ROOT, BadName, from_text

MOST_BYTES = 1 << 16
"""Bytes of a resolv.conf."""


@dataclass(frozen=True, slots=True)
class AutopathConfig:
    """What an ``autopath`` says."""

    zones: tuple[Zone, ...]
    plugin: str = ""
    """The plugin that knows the path of each client; empty for one path for all."""

    path: tuple[bytes, ...] = ()
    """That path: domains in wire form and lower case."""


def parse(tokens: Dispenser, block: Block) -> AutopathConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`; of several uses the last one's words count."""
    config: AutopathConfig | None = None
    for _ in tokens.invocations():
        config = _parse_one(tokens, block)
    assert config is not None
    if config.plugin in block.directives and not isinstance(find(config.plugin, tokens.place), GivesSearchPaths):
        raise tokens.plain_error(f"{config.plugin} does not implement the AutoPather interface")
    return config


def _parse_one(tokens: Dispenser, block: Block) -> AutopathConfig:
    *words, source = tokens.remaining_args() or [""]
    for _ in tokens.block():
        raise tokens.plain_error("no resolv-conf specified")
    if not source:
        raise tokens.plain_error("no resolv-conf specified")
    zones = tokens.convert(lambda _: zones_or_keys(words, block.keys), "")
    if source.startswith("@"):
        return AutopathConfig(zones, plugin=source[1:])
    try:
        return AutopathConfig(zones, path=search_domains(source))
    except OSError as error:
        text = f"failed to parse {quote(source)}: open {source}: {reason_of(error)}"
        raise tokens.plain_error(text) from error


def search_domains(path: str) -> tuple[bytes, ...]:
    """
    The search path that a resolv.conf says: the words of its last ``search`` or ``domain`` line. What is no domain name is left out.

    :raises OSError: the file cannot be read.
    """
    found: list[bytes] = []
    for line in read_config_file(path, MOST_BYTES).decode("utf-8", "replace").splitlines():
        keyword, *words = line.split() or [""]
        if keyword in ("search", "domain") and words:
            found = []
            for word in words if keyword == "search" else words[:1]:
                try:
                    found.append(from_text(word))
                except BadName:
                    continue
    return tuple(name for name in found if name != ROOT)
