# -*- test-case-name: tests.plugins.dnssec.test_config -*-
"""``dnssec`` in a Corefile: which zones are signed with which keys."""

from __future__ import annotations

import os
from dataclasses import dataclass

from twisted.logger import Logger

from kdns.corefile.errors import SetupError
from kdns.corefile.keys import zones_or_keys
from kdns.corefile.values import BadValue
from kdns.plugin import Block, BlockBuilder, Dispenser, Resource, is_subdomain, to_text
from kdns.plugins.dnssec.keys import BadKey, base_of, read_key
from kdns.plugins.dnssec.link import DnssecLink
from kdns.plugins.dnssec.signer import Signer
from kdns.zones.signing import SigningKey

log = Logger(namespace="plugin/dnssec")

CAPACITY = 10_000
"""Signed RRsets that are kept."""

LEAST_CAPACITY = 1024
"""As in CoreDNS; a lower number counts as this."""


@dataclass(frozen=True, slots=True)
class DnssecConfig:
    """One ``dnssec``."""

    zones: tuple[bytes, ...]
    key_paths: tuple[str, ...]
    """Of key files, without their suffix."""

    capacity: int = CAPACITY


class Unused(Resource):
    """A ``dnssec`` without a key."""

    def serving(self) -> None:
        """Say that it does nothing."""
        log.warn("no key is given, so nothing is signed: add key file BASE")


class DnssecDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "dnssec"

    def parse(self, tokens: Dispenser, block: Block) -> DnssecConfig:
        """See :meth:`kdns.plugin.Directive.parse`."""
        zones: tuple[bytes, ...] = ()
        paths: list[str] = []
        capacity = CAPACITY
        for _ in tokens.invocations(once=True):
            try:
                zones = tuple(zone.name for zone in zones_or_keys(tokens.remaining_args(), block.keys))
            except BadValue as error:
                raise tokens.error(str(error)) from None
            for option in tokens.block():
                match option:
                    case "key":
                        paths += key_paths(tokens, block)
                    case "cache_capacity":
                        capacity = max(tokens.integer(), LEAST_CAPACITY)
                    case _:
                        raise tokens.unknown_property("key", "cache_capacity")
        return DnssecConfig(zones, tuple(dict.fromkeys(paths)), capacity)

    def build(self, config: DnssecConfig, builder: BlockBuilder) -> None:
        """
        Read the keys, and add the link. Signatures are kept over a reload with the same zones and keys.

        Without a key nothing is changed. CoreDNS turns NXDOMAIN into NOERROR then, which nothing proves; but Corefiles in use have such a
        line, and must start.

        :raises SetupError: a key cannot be used.
        """
        if not config.key_paths:
            builder.run(Unused())
            return
        try:
            keys = zone_keys(config)
        except BadKey as error:
            raise SetupError(str(error), plugin=self.name, located=False) from error
        signer = builder.keep(
            ("dnssec", config), (config, keys), lambda: Signer(builder.context, keys, config.capacity)
        )
        builder.link(DnssecLink(config.zones, keys, builder.context, signer))


def zone_keys(config: DnssecConfig) -> tuple[SigningKey, ...]:
    """
    The keys of a configuration, each once.

    :raises BadKey: one cannot be used for any of the zones, or at all.
    """
    found: dict[bytes, SigningKey] = {}
    for path in config.key_paths:
        key = read_key(path)
        if not any(is_subdomain(zone, key.owner) for zone in config.zones):
            raise BadKey(f"key {to_text(key.owner)} (keyid: {key.tag}) can not sign any of the zones")
        found[key.rdata] = key
    return tuple(found.values())


def key_paths(tokens: Dispenser, block: Block) -> list[str]:
    """The paths of ``key file BASE...``, without their suffix; the cursor is on ``key``."""
    kind = tokens.expect_arg()
    if kind == "aws_secretsmanager":
        raise tokens.plain_error("kdns reads no keys from AWS: mount them as files, and name these: key file BASE")
    if kind == "directory" and tokens.name == "sign":
        raise tokens.plain_error("directory: not implemented")
    if kind != "file":
        # A word behind an unknown kind is taken for an option, as in CoreDNS.
        if tokens.next_arg() is not None:
            raise tokens.unknown_property("key", "cache_capacity", "directory")
        raise tokens.error(f"unknown kind of key '{kind}'", hint="file")
    return [base_of(os.path.join(block.root, word)) for word in tokens.args(1, None)]


directive = DnssecDirective()
