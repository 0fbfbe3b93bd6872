# -*- test-case-name: tests.plugin.test_connection_limits -*-
"""Directives that set limits of encrypted listeners: ``https``, ``https3``, ``quic``, ``grpc_server``."""

from __future__ import annotations

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import BadValue, parse_int
from kdns.plugin.seam import Block, BlockBuilder, ConnectionLimits

_FIELDS = {"max_connections": "connections", "max_streams": "streams", "worker_pool_size": "workers"}
"""The field of :class:`ConnectionLimits` that an option sets."""


class LimitsDirective:
    """
    See :class:`kdns.plugin.Directive`.

    :param scheme: the server keys whose listeners it concerns. Such a key alone is enough to have a listener.
    :param options: the options with the lowest value of each.
    """

    def __init__(self, name: str, scheme: str, **options: int) -> None:
        self.name = name
        self._scheme = scheme
        self._options = options

    def parse(self, tokens: Dispenser, block: Block) -> ConnectionLimits:
        """Each option once."""
        found: dict[str, int] = {}
        for _ in tokens.invocations():
            tokens.args(0)
            for option in tokens.block():
                if option not in self._options:
                    raise tokens.unknown_property(*self._options)
                number = self._number(tokens, option)
                if option in found:
                    raise tokens.error(f"{option} already defined for this server block")
                found[option] = number
        return ConnectionLimits(**{_FIELDS[option]: number for option, number in found.items()})

    def _number(self, tokens: Dispenser, option: str) -> int:
        word = tokens.word()
        try:
            number = parse_int(word)
        except BadValue as error:
            raise tokens.error(f"invalid {option} value '{word}': {error}") from None
        least = self._options[option]
        if number < least:
            kind = "positive" if least else "non-negative"
            raise tokens.error(f"{option} must be a {kind} integer: {number}")
        return number

    def build(self, config: ConnectionLimits, builder: BlockBuilder) -> None:
        """Set the limits of the block's listeners of this scheme."""
        builder.limits[self._scheme] = config
