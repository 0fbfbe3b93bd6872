# -*- test-case-name: tests.plugins.test_bufsize -*-
"""``bufsize``: lower the UDP payload size of clients, so that replies are not sent in fragments."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.corefile.values import BadValue, parse_int
from kdns.plugin import Block, BlockBuilder, Dispenser

DEFAULT = 1232
"""Bytes that pass every IPv6 path unfragmented: 1280 less the headers of IPv6 and UDP."""

LEAST, MOST = 512, 4096


@dataclass(frozen=True, slots=True)
class BufsizeConfig:
    """``bufsize [SIZE]``."""

    size: int = DEFAULT


class BufsizeDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "bufsize"

    def parse(self, tokens: Dispenser, block: Block) -> BufsizeConfig:
        """``bufsize [SIZE]``; of several, and of what follows, only the first counts."""
        size = DEFAULT
        for number in tokens.invocations():
            if number:
                tokens.remaining_args()
            else:
                for word in tokens.args(0, 1):
                    size = self._size(tokens, word)
            for _ in tokens.block():
                tokens.remaining_args()
        return BufsizeConfig(size)

    def _size(self, tokens: Dispenser, word: str) -> int:
        try:
            size = parse_int(word)
        except BadValue:
            size = 0
        if not LEAST <= size <= MOST:
            raise tokens.arg_error()
        return size

    def build(self, config: BufsizeConfig, builder: BlockBuilder) -> None:
        """Have the block lower what clients say."""
        builder.most_udp_size = config.size


directive = BufsizeDirective()
