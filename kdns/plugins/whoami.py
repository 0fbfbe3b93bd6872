# -*- test-case-name: tests.plugins.test_whoami -*-
"""``whoami``: tell clients their own address, port and transport, whatever they ask."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from kdns.core.answer import Answer, records
from kdns.core.chain import Link, Next
from kdns.core.request import Request
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.wire.constants import AA
from kdns.wire.names import MAX_NAME, ROOT
from kdns.wire.records import a_or_aaaa, srv


@dataclass(frozen=True, slots=True)
class WhoamiConfig:
    """There is nothing to set."""


class WhoamiLink(Link):
    """The last link of a chain: it answers everything."""

    name = "whoami"

    def answer(self, request: Request, next: Next) -> Answer:
        """
        The client's address as A or AAAA, and its port as SRV below ``_udp`` or ``_tcp``, with TTL 0.

        The port differs from query to query, so the answer is for this one alone.
        """
        additional = [a_or_aaaa(request.spelled, 0, ip_address(request.client).packed)]
        owner = b"\x04_" + request.transport.protocol.encode() + request.spelled
        if len(owner) <= MAX_NAME:
            additional.append(srv(owner, 0, 0, 0, request.client_port, ROOT))
        return Answer(flags=AA, body=records(additional=additional), source=self.name)


class WhoamiDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "whoami"

    def parse(self, tokens: Dispenser, block: Block) -> WhoamiConfig:
        """``whoami``, without arguments."""
        for _ in tokens.invocations(once=True):
            tokens.args(0)
            for _ in tokens.block():
                raise tokens.arg_error()
        return WhoamiConfig()

    def build(self, config: WhoamiConfig, builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(WhoamiLink())


directive = WhoamiDirective()
