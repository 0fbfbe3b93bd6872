# -*- test-case-name: tests.conformance.test_in_memory -*-
"""
A plugin for tests, by its dotted name in a Corefile: ``tests.conformance.named TEXT [ZONE]`` answers every question with a TXT record.

The golden cases about block selection were recorded with ``template ANY ANY [ZONE] { answer "{{ .Name }} 60 IN TXT TEXT" }`` in each block.
What they test is which block answers, so this stands in for a plugin that kdns does not have.
"""

from __future__ import annotations

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply
from kdns.core.request import Request
from kdns.core.validity import ALWAYS, NOTHING
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.wire.constants import AA
from kdns.wire.names import from_text, is_subdomain
from kdns.wire.records import txt


class Named(Link):
    """The link of the chain."""

    name = "named"
    varies = NOTHING

    def __init__(self, text: bytes, zone: bytes) -> None:
        self.text = text
        self.zone = zone

    def answer(self, request: Request, next: Next) -> Reply:
        """Say the text, whatever the question about a name in the zone."""
        if not is_subdomain(request.qname, self.zone):
            return next(request)
        body = Sections(answer=(txt(request.qname, 60, self.text),))
        return Answer(flags=AA, body=body, validity=ALWAYS, source=self.name)


class NamedDirective:
    """``tests.conformance.named TEXT [ZONE]``."""

    name = "tests.conformance.named"

    def parse(self, tokens: Dispenser, block: Block) -> tuple[str, str]:
        """Take the text and the zone."""
        words = [word for _ in tokens.invocations() for word in tokens.args(1, 2)]
        return words[0], words[1] if len(words) > 1 else "."

    def build(self, config: tuple[str, str], builder: BlockBuilder) -> None:
        """Stand in the chain."""
        text, zone = config
        builder.link(Named(text.encode(), from_text(zone)))


directive = NamedDirective()
