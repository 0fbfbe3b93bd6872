# -*- test-case-name: tests.plugins.nomad.test_nomad -*-
"""``nomad`` in a Corefile, and what the environment adds as it does for Nomad's own tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import zones_of
from kdns.corefile.values import parse_int
from kdns.plugin.seam import Block
from kdns.plugins.stores.rest import NO_FILES, TrustFiles, server_of
from kdns.wire.names import from_text

DEFAULT_ADDRESS = "http://127.0.0.1:4646"
DEFAULT_TTL = 30
MAX_TTL = 3600
OPTIONS = ("address", "token", "filter", "ttl")


@dataclass(frozen=True, slots=True)
class NomadConfig:
    """One ``nomad``."""

    zone: bytes = from_text("service.nomad")
    addresses: tuple[str, ...] = ()
    """Of agents, in the order in which they are asked; empty: the environment's, or this host's."""

    token: str = field(default="", repr=False)
    filter: str = ""
    """An expression of Nomad that registrations must match."""

    ttl: int = DEFAULT_TTL


@dataclass(frozen=True, slots=True)
class Source:
    """A Nomad and how it is asked: what is kept over a reload when it has not changed."""

    addresses: tuple[str, ...]
    token: str = field(default="", repr=False)
    filter: str = ""
    region: str = ""
    tls: TrustFiles = NO_FILES


def source_of(config: NomadConfig, environment: Mapping[str, str]) -> Source:
    """
    The Nomad of a configuration.

    :raises ValueError: the environment names an address that is none.
    """
    addresses = config.addresses
    if not addresses:
        address = environment.get("NOMAD_ADDR", "") or DEFAULT_ADDRESS
        server_of(address)
        addresses = (address.rstrip("/"),)
    return Source(
        addresses,
        config.token or environment.get("NOMAD_TOKEN", ""),
        config.filter,
        environment.get("NOMAD_REGION", ""),
        TrustFiles(
            environment.get("NOMAD_CLIENT_CERT", ""),
            environment.get("NOMAD_CLIENT_KEY", ""),
            environment.get("NOMAD_CACERT", ""),
        ),
    )


def parse(tokens: Dispenser, block: Block) -> NomadConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`."""
    config: NomadConfig | None = None
    for _ in tokens.invocations(once=True):
        config = _parse_one(tokens)
    assert config is not None
    return config


def _parse_one(tokens: Dispenser) -> NomadConfig:
    words = tokens.remaining_args()
    zone = tokens.convert(zones_of, words[0])[0].name if words else NomadConfig().zone
    addresses: tuple[str, ...] = ()
    token = expression = ""
    ttl = DEFAULT_TTL
    for option in tokens.block():
        match option.lower():
            case "address":
                found = tokens.remaining_args()
                if not found:
                    raise tokens.error("at least one address is required")
                for word in found:
                    tokens.convert(server_of, word)
                addresses = tuple(word.rstrip("/") for word in found)
            case "token":
                token = _one(tokens, "token")
                if not token.isascii() or not token.isprintable():
                    raise tokens.error("the token holds characters that a token cannot have")
            case "filter":
                expression = _one(tokens, "filter")
            case "ttl":
                word = _one(tokens, "ttl value")
                try:
                    ttl = parse_int(word)
                except ValueError as error:
                    raise tokens.error(f"error parsing ttl: {error}") from None
                if not 0 <= ttl <= MAX_TTL:
                    raise tokens.error(f"ttl must be in range [0, {MAX_TTL}]: {ttl}")
            case _:
                raise tokens.unknown_property(*OPTIONS)
    return NomadConfig(zone, addresses, token, expression, ttl)


def _one(tokens: Dispenser, what: str) -> str:
    words = tokens.remaining_args()
    if len(words) != 1:
        raise tokens.error(f"exactly one {what} is required")
    return words[0]
