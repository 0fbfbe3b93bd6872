# -*- test-case-name: tests.plugins.secondary.test_config -*-
"""``secondary`` in a Corefile: which zones come from which primaries."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import zones_of
from kdns.corefile.values import BadValue, quote
from kdns.plugin.seam import Block
from kdns.plugins.file.config import fallthrough_zones, origins
from kdns.plugins.transfer.config import Peer, parse_peer


@dataclass(frozen=True, slots=True)
class SecondaryZoneConfig:
    """One zone and where it comes from."""

    origin: bytes
    primaries: tuple[Peer, ...]
    catalog: tuple[bytes, ...] | None = None
    """Of a catalog the zones that its members may be in, none for any; None when the zone is no catalog."""


@dataclass(frozen=True, slots=True)
class SecondaryConfig:
    """All ``secondary`` of a block."""

    zones: tuple[SecondaryZoneConfig, ...]
    fallthrough: tuple[bytes, ...] = ()


def parse(tokens: Dispenser, block: Block) -> SecondaryConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`."""
    zones: dict[bytes, SecondaryZoneConfig] = {}
    fallthrough: tuple[bytes, ...] = ()
    for _ in tokens.invocations():
        names = origins(tokens.remaining_args(), block)
        primaries: list[Peer] = []
        catalog: tuple[bytes, ...] | None = None
        for option in tokens.block():
            match option:
                case "transfer":
                    primaries += _transfer_from(tokens)
                case "catalog":
                    catalog = _catalog(tokens, catalog)
                case "fallthrough":
                    fallthrough = fallthrough_zones(tokens)
                case _:
                    raise tokens.unknown_property("transfer", "catalog", "fallthrough")
        if not primaries:
            raise tokens.error("secondary zones require a transfer from property")
        for origin in names:
            zones[origin] = SecondaryZoneConfig(origin, tuple(dict.fromkeys(primaries)), catalog)
    return SecondaryConfig(tuple(zones.values()), fallthrough)


def _transfer_from(tokens: Dispenser) -> list[Peer]:
    word = tokens.expect_arg()
    if word != "from":
        raise tokens.error(f"unknown property {word}")
    words = tokens.args(1, None)
    if "*" in words:
        raise tokens.plain_error("can't use '*' in transfer from")
    return [tokens.convert(parse_peer, word) for word in words]


def _catalog(tokens: Dispenser, before: tuple[bytes, ...] | None) -> tuple[bytes, ...]:
    words = tokens.remaining_args()
    if not words or before == ():
        return ()
    found = list(before or ())
    for word in words:
        try:
            found += [zone.name for zone in zones_of(word)]
        except BadValue:
            raise tokens.plain_error(f"invalid catalog member zone {quote(word)}") from None
    return tuple(dict.fromkeys(found))
