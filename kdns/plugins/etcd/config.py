# -*- test-case-name: tests.plugins.etcd.test_config -*-
"""``etcd`` in a Corefile."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import BadValue, parse_duration
from kdns.plugin.seam import Block
from kdns.plugins.file.config import fallthrough_zones, origins
from kdns.plugins.stores.rest import NO_FILES, TrustFiles, server_of

PORT = 2379
MIN_LEASE_TTL, MAX_LEASE_TTL = 30, 86400
MOST_TTL = 4_294_967_295

OPTIONS = (
    "path", "endpoint", "credentials", "tls", "min-lease-ttl", "max-lease-ttl", "fallthrough", "stubzones", "debug", "upstream",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """An etcd and the part of its keys that is read: what is kept over a reload when it has not changed."""

    endpoints: tuple[str, ...] = ("http://localhost:2379",)
    prefix: str = "/skydns/"
    """What all keys begin with."""

    user: str = ""
    password: str = field(default="", repr=False)
    tls: TrustFiles = NO_FILES


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """One ``etcd``."""

    zones: tuple[bytes, ...]
    source: Source = Source()
    min_lease_ttl: int = MIN_LEASE_TTL
    max_lease_ttl: int = MAX_LEASE_TTL
    fallthrough: tuple[bytes, ...] = ()
    """Zones whose unknown names go to the next plugin."""


def parse(tokens: Dispenser, block: Block) -> EtcdConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`."""
    config: EtcdConfig | None = None
    for _ in tokens.invocations(once=True):
        config = _parse_one(tokens, block)
    assert config is not None
    return config


def _parse_one(tokens: Dispenser, block: Block) -> EtcdConfig:
    zones = origins(tokens.remaining_args(), block)
    path, user, password = "/skydns", "", ""
    words: list[str] = []
    tls: TrustFiles | None = None
    least, most = MIN_LEASE_TTL, MAX_LEASE_TTL
    fallthrough: tuple[bytes, ...] = ()
    for option in tokens.block():
        match option:
            case "path":
                path = tokens.expect_arg()
            case "endpoint":
                words = tokens.args(1, None)
            case "credentials":
                given = tokens.args(1, None)
                if len(given) != 2:
                    raise tokens.error("credentials requires 2 arguments, username and password")
                user, password = given
            case "tls":
                tls = _tls(tokens, block)
            case "min-lease-ttl":
                least = _ttl(tokens, option) or MIN_LEASE_TTL
            case "max-lease-ttl":
                most = _ttl(tokens, option) or MAX_LEASE_TTL
            case "fallthrough":
                fallthrough = fallthrough_zones(tokens)
            case "stubzones" | "debug" | "upstream":
                tokens.remaining_args()  # they have no effect in CoreDNS either
            case _:
                raise tokens.unknown_property(*OPTIONS)
    endpoints = tuple(_endpoint(tokens, word, tls is not None) for word in words) or Source().endpoints
    parts = [part for part in path.split("/") if part]
    source = Source(endpoints, "/".join(["", *parts, ""]), user, password, tls or NO_FILES)
    return EtcdConfig(zones, source, least, max(least, most), fallthrough)


def _endpoint(tokens: Dispenser, word: str, encrypted: bool) -> str:
    """The URL of a member. One without a scheme has ``https`` where certificates are configured, and one without a port etcd's own."""
    url = word if "://" in word else f"{'https' if encrypted else 'http'}://{word}"
    try:
        parts = urlsplit(url)
        server_of(url)
        return f"{parts.scheme}://{parts.netloc}" if parts.port else f"{parts.scheme}://{parts.netloc}:{PORT}"
    except ValueError as error:
        raise tokens.plain_error(f"endpoint {error}") from None


def _tls(tokens: Dispenser, block: Block) -> TrustFiles:
    files = [os.path.join(block.root, word) for word in tokens.remaining_args()]
    if len(files) > 3:
        raise tokens.plain_error(f"maximum of three arguments allowed for TLS config, found {len(files)}")
    certificate, key = files[:2] if len(files) > 1 else ("", "")
    authority = files[-1] if len(files) in (1, 3) else ""
    return TrustFiles(certificate, key, authority)


def _ttl(tokens: Dispenser, option: str) -> int:
    word = tokens.expect_arg()
    try:
        seconds = int(word) if word.isdigit() else parse_duration(word)
    except BadValue:
        text = "invalid TTL format, use format like '30', '30s', '5m', '1h', or '2h30m'"
        raise tokens.error(f"invalid {option} value: {text}") from None
    if seconds < 0:
        raise tokens.error(f"invalid {option} value: TTL must be non-negative")
    if seconds > MOST_TTL:
        raise tokens.error(f"invalid {option} value: TTL too large, maximum is {MOST_TTL} seconds")
    return int(seconds)
