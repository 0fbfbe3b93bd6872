# -*- test-case-name: tests.plugins.test_https -*-
"""``https``: options of listeners for DNS over HTTPS. A server key with ``https://`` is enough to have one."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.corefile.values import BadValue, parse_int
from kdns.plugin import Block, BlockBuilder, Dispenser

CONNECTIONS = 200
"""Connections of a listener at a time, unless the Corefile has another number."""


@dataclass(frozen=True, slots=True)
class HttpsConfig:
    """``https { max_connections N }``."""

    connections: int = CONNECTIONS
    """0: no limit but the process's."""


class HttpsDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "https"

    def parse(self, tokens: Dispenser, block: Block) -> HttpsConfig:
        """Each option once."""
        connections: int | None = None
        for _ in tokens.invocations():
            tokens.args(0)
            for option in tokens.block():
                if option != "max_connections":
                    raise tokens.unknown_property("max_connections")
                number = self._number(tokens, tokens.word())
                if connections is not None:
                    raise tokens.error("max_connections already defined for this server block")
                connections = number
        return HttpsConfig() if connections is None else HttpsConfig(connections)

    def _number(self, tokens: Dispenser, word: str) -> int:
        try:
            number = parse_int(word)
        except BadValue as error:
            raise tokens.error(f"invalid max_connections value '{word}': {error}") from None
        if number < 0:
            raise tokens.error(f"max_connections must be a non-negative integer: {number}")
        return number

    def build(self, config: HttpsConfig, builder: BlockBuilder) -> None:
        """Have the block's listeners keep to it."""
        builder.most_https_connections = config.connections


directive = HttpsDirective()
