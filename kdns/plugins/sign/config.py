# -*- test-case-name: tests.plugins.sign.test_config -*-
"""``sign`` in a Corefile: which zone files are signed with which keys, and where the signed ones go."""

from __future__ import annotations

import os
from dataclasses import dataclass

from kdns.corefile.errors import SetupError
from kdns.plugin import Block, BlockBuilder, Dispenser, to_text
from kdns.plugins.dnssec.config import key_paths
from kdns.plugins.dnssec.keys import BadKey, NotDnskey, read_key
from kdns.plugins.file.config import origins
from kdns.plugins.sign.service import ZoneSigner
from kdns.zones.signing import SigningKey

DIRECTORY = "/var/lib/coredns"
NO_KEY = "no key is given: key file BASE"


@dataclass(frozen=True, slots=True)
class SignConfig:
    """One zone and the file that it is signed from."""

    origin: bytes
    path: str
    """Of the unsigned zone."""

    key_paths: tuple[str, ...]
    """Of the key files, without their suffix."""

    directory: str = DIRECTORY

    @property
    def signed_path(self) -> str:
        """Where the signed zone goes."""
        return os.path.join(self.directory, f"db.{to_text(self.origin)}signed")


class SignDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "sign"

    def parse(self, tokens: Dispenser, block: Block) -> tuple[SignConfig, ...]:
        """See :meth:`kdns.plugin.Directive.parse`. Of two for one signed file the later one counts."""
        found: dict[str, SignConfig] = {}
        for _ in tokens.invocations():
            path, *words = tokens.args(1, None)
            zones = origins(words, block)
            paths: list[str] = []
            directory = DIRECTORY
            for option in tokens.block():
                match option:
                    case "key":
                        paths += key_paths(tokens, block)
                    case "directory":
                        given = tokens.remaining_args()
                        if len(given) != 1:
                            raise tokens.plain_error('can only be one argument after "directory"')
                        directory = given[0]
                    case _:
                        raise tokens.unknown_property("key", "directory")
            if not paths:
                raise tokens.plain_error(NO_KEY)
            for origin in zones:
                if b"/" in origin:
                    raise tokens.plain_error(f"zone {to_text(origin)} cannot be the name of a file")
                config = SignConfig(origin, os.path.join(block.root, path), tuple(dict.fromkeys(paths)), directory)
                found[config.signed_path] = config
        return tuple(found.values())

    def build(self, config: tuple[SignConfig, ...], builder: BlockBuilder) -> None:
        """
        Read the keys, and run a signer for each zone. One whose settings and keys did not change is kept over a reload.

        :raises SetupError: a key cannot be used.
        """
        for zone in config:
            try:
                keys = zone_keys(zone)
            except BadKey as error:
                raise SetupError(str(error), plugin=self.name, located=False) from error

            def made(zone: SignConfig = zone, keys: tuple[SigningKey, ...] = keys) -> ZoneSigner:
                return ZoneSigner(zone, keys, builder.context)

            builder.keep(("sign", zone.signed_path), (zone, keys), made)


def zone_keys(config: SignConfig) -> tuple[SigningKey, ...]:
    """
    The keys of a zone; their owner, whatever the files say, is the zone.

    :raises BadKey: one cannot be used.
    """
    found = []
    for base in config.key_paths:
        try:
            key = read_key(base)
        except NotDnskey as error:
            if error.rtype is None:
                raise
            raise BadKey(f'RR in "{base}.key" is not a DNSKEY: {error.rtype}') from error
        if not key.sep:
            raise BadKey(f'DNSKEY in "{base}.key" is not a CSK/KSK')
        found.append(key)
    return tuple(found)


directive = SignDirective()
