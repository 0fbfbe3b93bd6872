# -*- test-case-name: tests.conformance.test_in_memory -*-
"""
A plugin for tests, by its dotted name in a Corefile: ``tests.conformance.named TEXT`` answers every question with a TXT record of its text.

The golden cases about block selection were recorded with ``template ANY ANY { answer "{{ .Name }} 60 IN TXT TEXT" }`` in each block. What
they test is which block answers, so this stands in for a plugin that kdns does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply
from kdns.core.request import Request
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.wire.constants import AA
from kdns.wire.records import txt


@dataclass(slots=True)
class Named(Link):
    """The link of the chain."""

    text: bytes
    name: str = "named"

    def answer(self, request: Request, next: Next) -> Reply:
        """Say the text, whatever the question."""
        return Answer(flags=AA, body=Sections(answer=(txt(request.qname, 60, self.text),)), source=self.name)


class NamedDirective:
    """``tests.conformance.named TEXT``."""

    name = "tests.conformance.named"

    def parse(self, tokens: Dispenser, block: Block) -> str:
        """Take the text."""
        words = [word for _ in tokens.invocations() for word in tokens.args(1)]
        return words[0]

    def build(self, config: str, builder: BlockBuilder) -> None:
        """Stand in the chain."""
        builder.link(Named(config.encode()))


directive = NamedDirective()
