# -*- test-case-name: tests.plugins.route53.test_route53 -*-
"""``route53`` in a Corefile."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import BadValue, parse_duration, quote
from kdns.plugin.seam import Block
from kdns.plugins.file.config import fallthrough_zones
from kdns.plugins.stores.rest import server_of
from kdns.plugins.stores.zones import origin_of

DEFAULT_REFRESH = 60.0
OPTIONS = ("aws_access_key", "aws_endpoint", "credentials", "refresh", "fallthrough", "upstream")

_IDENTIFIER = re.compile(r"[A-Za-z0-9]{1,32}")


@dataclass(frozen=True, slots=True)
class Access:
    """How AWS is asked."""

    key_id: str = ""
    secret: str = field(default="", repr=False)
    endpoint: str = ""
    """A URL in place of AWS's own."""

    profile: str = ""
    """Of the shared credentials file; empty: what AWS's tools would take."""

    file: str = ""
    refresh: float = DEFAULT_REFRESH
    """Seconds."""


@dataclass(frozen=True, slots=True)
class HostedZoneConfig:
    """One hosted zone."""

    origin: bytes
    identifier: str
    access: Access


@dataclass(frozen=True, slots=True)
class Route53Config:
    """All ``route53`` of a block."""

    zones: tuple[HostedZoneConfig, ...]
    fallthrough: tuple[bytes, ...] = ()


def parse(tokens: Dispenser, block: Block) -> Route53Config:
    """See :meth:`kdns.plugin.seam.Directive.parse`."""
    zones: dict[tuple[bytes, str], HostedZoneConfig] = {}
    fallthrough: tuple[bytes, ...] = ()
    for _ in tokens.invocations():
        own = []
        for word in tokens.remaining_args():
            name, colon, identifier = word.rpartition(":")
            try:
                key = (origin_of(name), identifier)
            except ValueError:
                raise tokens.error(f"invalid zone {quote(word)}") from None
            if not name or not colon or not _IDENTIFIER.fullmatch(identifier):
                raise tokens.error(f"invalid zone {quote(word)}")
            if key in zones or key in own:
                raise tokens.error(f"conflict zone {quote(word)}")
            own.append(key)
        access = Access()
        for option in tokens.block():
            match option:
                case "aws_access_key":
                    words = tokens.remaining_args()
                    if len(words) != 2:
                        raise tokens.error(f"invalid access key: '[{' '.join(words[:1])}]'")
                    access = replace(access, key_id=words[0], secret=words[1])
                case "aws_endpoint":
                    endpoint = tokens.word()
                    tokens.convert(server_of, endpoint)
                    access = replace(access, endpoint=endpoint.rstrip("/"))
                case "credentials":
                    words = tokens.args(1, 2)
                    file = os.path.join(block.root, words[1]) if words[1:] else ""
                    access = replace(access, profile=words[0], file=file)
                case "refresh":
                    access = replace(access, refresh=_refresh(tokens))
                case "fallthrough":
                    fallthrough = fallthrough_zones(tokens)
                case "upstream":
                    tokens.remaining_args()
                case _:
                    raise tokens.error(f"unknown property {quote(option)}")
        zones.update({key: HostedZoneConfig(*key, access) for key in own})
    if not zones:
        raise tokens.arg_error()
    return Route53Config(tuple(zones.values()), fallthrough)


def _refresh(tokens: Dispenser) -> float:
    word = tokens.word()
    try:
        seconds = float(word) if word.isdigit() else parse_duration(word)
    except BadValue as error:
        raise tokens.error(f"Unable to parse duration: {error}") from None
    if seconds <= 0:
        raise tokens.error(f"refresh interval must be greater than 0: {quote(word)}")
    return seconds
