# -*- test-case-name: tests.plugins.kubernetes.test_histories -*-
"""
A plugin for tests, by its dotted name in a Corefile: ``tests.plugins.kubernetes.elsewhere`` is the resolver behind the cluster.

It knows an address for every name but those that begin with ``nx``, which do not exist, and ``none``, which have no records.
"""

from __future__ import annotations

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply
from kdns.core.request import Request
from kdns.core.validity import FROM_UPSTREAM
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.wire.constants import NXDOMAIN, RA, A
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa, soa
from tests.plugins.kubernetes.reference import Said

ADDRESS = "192.0.2.80"
TTL = 300
SOA_TEXT = ". 300 SOA ns.dns.elsewhere. hostmaster.elsewhere. SERIAL 2 3 4 300"


def reference(name: str, qtype: str) -> Said:
    """What the plugin says, in the words of the reference."""
    if name.startswith("nx"):
        return Said("NXDOMAIN", False, authority=frozenset([SOA_TEXT]))
    if qtype != "A" or name.startswith("none"):
        return Said("NOERROR", False, authority=frozenset([SOA_TEXT]))
    return Said("NOERROR", False, frozenset([f"{name} {TTL} A {ADDRESS}"]))


class Outside(Link):
    """The link of the chain."""

    name = "elsewhere"

    def answer(self, request: Request, next: Next) -> Reply:
        """Say what an upstream would."""
        missing = request.qname.startswith(b"\x02nx")
        if request.qtype == A and not missing and not request.qname.startswith(b"\x04none"):
            record = a_or_aaaa(request.spelled, TTL, bytes((192, 0, 2, 80)))
            return Answer(flags=RA, body=Sections(answer=(record,)), validity=FROM_UPSTREAM, source=self.name)
        zone = from_text("elsewhere")
        record = soa(b"\x00", TTL, b"\x02ns\x03dns" + zone, b"\x0ahostmaster" + zone, (1, 2, 3, 4, TTL))
        return Answer(
            NXDOMAIN if missing else 0, RA, body=Sections(authority=(record,)), validity=FROM_UPSTREAM, source=self.name
        )


class OutsideDirective:
    """``tests.plugins.kubernetes.elsewhere``."""

    name = "tests.plugins.kubernetes.elsewhere"

    def parse(self, tokens: Dispenser, block: Block) -> str:
        """There is nothing to say about it."""
        for _ in tokens.invocations():
            tokens.args(0)
        return ""

    def build(self, config: str, builder: BlockBuilder) -> None:
        """Stand in the chain."""
        builder.link(Outside())


directive = OutsideDirective()
