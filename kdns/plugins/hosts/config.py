# -*- test-case-name: tests.plugins.hosts.test_config -*-
"""What a Corefile says about hosts, as one frozen value."""

from __future__ import annotations

import os.path
from dataclasses import dataclass

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import zones_or_keys
from kdns.corefile.values import parse_duration, parse_int
from kdns.plugin.seam import Block
from kdns.wire.names import ROOT

DEFAULT_FILE = "/etc/hosts"


@dataclass(frozen=True, slots=True)
class HostsConfig:
    """All settings of one ``hosts``."""

    path: str
    zones: tuple[bytes, ...]
    inline: tuple[str, ...] = ()
    """Lines in the format of the file."""

    ttl: int = 3600
    reload: float = 5.0
    """Seconds between two looks at the file; 0 is never."""

    reverse: bool = True
    fallthrough: tuple[bytes, ...] = ()
    """Zones whose unknown names go to the next plugin."""

    fallthrough_unsupported: bool = False
    """Whether other types of known names go there too."""


def parse(tokens: Dispenser, block: Block) -> HostsConfig:
    config: HostsConfig | None = None
    for _ in tokens.invocations(once=True):
        config = _parse_one(tokens, block)
    assert config is not None
    return config


def _parse_one(tokens: Dispenser, block: Block) -> HostsConfig:
    words = tokens.remaining_args()
    path = os.path.join(block.root, words[0]) if words else DEFAULT_FILE
    zones = tokens.convert(lambda _: zones_or_keys(words[1:], block.keys), "")
    inline: list[str] = []
    ttl, reload, reverse, unsupported = 3600, 5.0, True, False
    fallthrough: tuple[bytes, ...] = ()
    for option in tokens.block():
        match option:
            case "fallthrough":
                fallthrough = _fallthrough(tokens)
            case "fallthrough_unsupported":
                tokens.args(0)
                unsupported = True
            case "no_reverse":
                tokens.remaining_args()
                reverse = False
            case "ttl":
                ttl = _ttl(tokens)
            case "reload":
                reload = _reload(tokens)
            case _ if not fallthrough:
                inline.append(" ".join((option, *tokens.remaining_args())))
            case _:
                raise tokens.unknown_property("fallthrough", "fallthrough_unsupported", "no_reverse", "ttl", "reload")
    if unsupported and not fallthrough:
        raise tokens.plain_error("fallthrough_unsupported requires fallthrough")
    names = tuple(zone.name for zone in zones)
    return HostsConfig(path, names, tuple(inline), ttl, reload, reverse, fallthrough, unsupported)


def _fallthrough(tokens: Dispenser) -> tuple[bytes, ...]:
    words = tokens.remaining_args()
    if not words:
        return (ROOT,)
    return tuple(zone.name for zone in tokens.convert(lambda _: zones_or_keys(words, ()), ""))


def _ttl(tokens: Dispenser) -> int:
    words = tokens.remaining_args()
    if not words:
        raise tokens.error("ttl needs a time in second")
    try:
        ttl = parse_int(words[0])
    except ValueError:
        raise tokens.error("ttl needs a number of second") from None
    if not 0 < ttl <= 65535:
        raise tokens.error("ttl provided is invalid")
    return ttl


def _reload(tokens: Dispenser) -> float:
    words = tokens.remaining_args()
    if len(words) != 1:
        raise tokens.error("reload needs a duration (zero seconds to disable)")
    try:
        seconds = parse_duration(words[0])
    except ValueError:
        raise tokens.error(f"invalid duration for reload '{words[0]}'") from None
    if seconds < 0:
        raise tokens.error(f"invalid negative duration for reload '{words[0]}'")
    return seconds
