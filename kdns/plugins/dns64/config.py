# -*- test-case-name: tests.plugins.dns64.test_config -*-
"""What a Corefile says about addresses that are made up, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv6Network

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import parse_cidr, quote
from kdns.plugin.seam import Block
from kdns.plugins.dns64.prefix import LENGTHS, WELL_KNOWN


@dataclass(frozen=True, slots=True)
class Dns64Config:
    """What a ``dns64`` says."""

    prefix: IPv6Network = WELL_KNOWN
    translate_all: bool = False
    """Whether names that have IPv6 addresses get others."""

    allow_ipv4: bool = False
    """Whether clients that ask over IPv4 get them too."""


def parse(tokens: Dispenser, block: Block) -> Dns64Config:
    """See :meth:`kdns.plugin.seam.Directive.parse`; several uses add up."""
    config = Dns64Config()
    for _ in tokens.invocations():
        for word in tokens.args(0, 1):
            config = replace(config, prefix=_prefix(tokens, word))
        for option in tokens.block():
            match option:
                case "prefix":
                    config = replace(config, prefix=_prefix(tokens, tokens.word()))
                case "translate_all":
                    config = replace(config, translate_all=True)
                case "allow_ipv4":
                    config = replace(config, allow_ipv4=True)
                case _:
                    raise tokens.unknown_property("prefix", "translate_all", "allow_ipv4")
    return config


def _prefix(tokens: Dispenser, word: str) -> IPv6Network:
    network = tokens.convert(parse_cidr, word)
    if not isinstance(network, IPv6Network):
        raise tokens.error(f"invalid netmask {network.max_prefixlen} IPv6 address: {quote(word)}")
    if network.prefixlen not in LENGTHS:
        raise tokens.error(f"invalid prefix length {quote(word)}")
    return network
