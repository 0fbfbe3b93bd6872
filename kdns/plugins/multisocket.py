# -*- test-case-name: tests.plugins.test_multisocket -*-
"""``multisocket``: how many worker processes answer queries, each from sockets of its own. :mod:`kdns.workers.number` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.corefile.values import BadValue, parse_int
from kdns.plugin import Block, BlockBuilder, Dispenser

MOST = 1024


@dataclass(frozen=True, slots=True)
class MultisocketConfig:
    """``multisocket [N]``."""

    sockets: int | None = None
    """None: as many as there are processors."""


class MultisocketDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "multisocket"

    def parse(self, tokens: Dispenser, block: Block) -> MultisocketConfig:
        """``multisocket [N]``, once."""
        sockets = None
        for number in tokens.invocations():
            if number:
                raise tokens.arg_error()
            for word in tokens.args(0, 1):
                sockets = self._sockets(tokens, word)
            tokens.end_of_line()
        return MultisocketConfig(sockets)

    def _sockets(self, tokens: Dispenser, word: str) -> int:
        try:
            sockets = parse_int(word)
        except BadValue as error:
            raise tokens.plain_error(f"invalid num sockets: {error}") from None
        if sockets < 1:
            raise tokens.plain_error(f"num sockets can not be zero or negative: {sockets}")
        if sockets > MOST:
            raise tokens.plain_error(f"num sockets exceeds maximum ({MOST}): {sockets}")
        return sockets

    def build(self, config: MultisocketConfig, builder: BlockBuilder) -> None:
        """Nothing: the number of processes is settled before a configuration is built."""


directive = MultisocketDirective()
