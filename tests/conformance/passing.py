# -*- test-case-name: tests.conformance.test_in_memory -*-
"""
A foreign plugin that only passes on, and declares nothing: ``tests.conformance.passing``, and ``tests.conformance.passing.inner`` behind
the cache and the cluster.

With it in a chain, every question must be answered as without it.
"""

from __future__ import annotations

import re

from kdns.plugin import NOTHING, Block, BlockBuilder, Dispenser, Link, Next, Reply, Request, Varies


class Passing(Link):
    """Passes on."""

    name = "passing"

    def __init__(self, varies: Varies | None) -> None:
        if varies is not None:
            self.varies = varies

    def answer(self, request: Request, next: Next) -> Reply:
        """See :class:`kdns.core.chain.Link`."""
        return next(request)


class PassingDirective:
    """A directive without words."""

    def __init__(self, name: str, before: str, varies: Varies | None = None) -> None:
        self.name = name
        self.before = before
        self._varies = varies

    def parse(self, tokens: Dispenser, block: Block) -> None:
        """Take no words."""
        for _ in tokens.invocations():
            tokens.args(0)

    def build(self, config: None, builder: BlockBuilder) -> None:
        """Stand in the chain."""
        builder.link(Passing(self._varies))


directive = PassingDirective("tests.conformance.passing", "errors")
inner = PassingDirective("tests.conformance.passing.inner", "forward", NOTHING)


def with_passing(corefile: str) -> str:
    """The Corefile with both plugins in each server block that has something in it; blocks open at the end of a line."""
    depth, lines = 0, []
    source = corefile.splitlines()
    for number, line in enumerate(source):
        lines.append(line)
        code = re.sub(r"#.*", "", line).rstrip()
        opens = code.endswith("{")
        empty = source[number + 1 : number + 2] == ["}"]
        if opens and depth == 0 and not empty and not code.lstrip().startswith("("):
            lines += ["    tests.conformance.passing", "    tests.conformance.passing.inner"]
        depth += opens - (code.strip() == "}")
    return "\n".join(lines) + "\n"
