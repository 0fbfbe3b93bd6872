# -*- test-case-name: tests.plugins.file.test_config -*-
"""``file`` in a Corefile: which zones come from which files."""

from __future__ import annotations

import os
from dataclasses import dataclass

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import zones_of, zones_or_keys
from kdns.corefile.values import BadValue, parse_duration
from kdns.plugin.seam import Block
from kdns.wire.names import ROOT

DEFAULT_RELOAD = 60.0
"""Seconds between two looks at a file."""


@dataclass(frozen=True, slots=True)
class ZoneFileConfig:
    """One zone and the file that it is read from."""

    origin: bytes
    path: str
    reload: float = DEFAULT_RELOAD
    """Seconds between two looks at the file; 0 is never."""

    by_mtime: bool = False
    """Whether the file's time and size tell that it changed, instead of its serial."""


@dataclass(frozen=True, slots=True)
class FileConfig:
    """All ``file`` lines of a block."""

    zones: tuple[ZoneFileConfig, ...]
    fallthrough: tuple[bytes, ...] = ()
    """Zones whose unknown names go to the next plugin."""


def parse(tokens: Dispenser, block: Block) -> FileConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`."""
    zones: dict[bytes, ZoneFileConfig] = {}
    fallthrough: tuple[bytes, ...] = ()
    reload = DEFAULT_RELOAD  # the option counts for the lines behind it, too
    for _ in tokens.invocations():
        path, *words = tokens.args(1, None)
        path = os.path.join(block.root, path)
        names = origins(words, block)
        by_mtime = False
        for option in tokens.block():
            match option:
                case "reload":
                    reload = reload_seconds(tokens)
                case "reload_by_mtime":
                    by_mtime = True
                case "fallthrough":
                    fallthrough = fallthrough_zones(tokens)
                case "upstream":
                    tokens.remaining_args()
                case _:
                    raise tokens.unknown_property("reload", "reload_by_mtime", "fallthrough")
        for origin in names:
            zones[origin] = ZoneFileConfig(origin, path, reload, by_mtime)
    return FileConfig(tuple(zones.values()), fallthrough)


def origins(words: list[str], block: Block) -> tuple[bytes, ...]:
    """The zones of a plugin; a word that is none is left out, as CoreDNS does, and with no word the block's own are meant."""
    if not words:
        return tuple(zone.name for zone in zones_or_keys((), block.keys))
    found = []
    for word in words:
        try:
            found += [zone.name for zone in zones_of(word)]
        except BadValue:
            continue
    return tuple(dict.fromkeys(found))


def fallthrough_zones(tokens: Dispenser) -> tuple[bytes, ...]:
    """The zones behind ``fallthrough``; none means all."""
    words = tokens.remaining_args()
    found = []
    for word in words:
        try:
            found += [zone.name for zone in zones_of(word)]
        except BadValue:
            continue
    return tuple(dict.fromkeys(found)) if words else (ROOT,)


def reload_seconds(tokens: Dispenser) -> float:
    """The duration behind ``reload``."""
    words = tokens.remaining_args()
    if not words:
        raise tokens.plain_error("reload duration value is expected")
    try:
        seconds = parse_duration(words[0])
    except BadValue as error:
        raise tokens.plain_error(f"plugin/file: {error}") from None
    if seconds < 0:
        raise tokens.plain_error("plugin/file: invalid duration")
    return seconds
