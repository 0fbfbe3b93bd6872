# -*- test-case-name: tests.server.test_service -*-
"""
Plugins for tests of assembly and service, by dotted name in a Corefile.

``tests.server.plugins.Say TEXT [broken | slow | cannot-start]`` answers TXT with its text. It runs one resource for itself, and keeps
one by its text, and it writes into :data:`diary` what happens to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, fail

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply
from kdns.core.request import Request
from kdns.core.validity import ALWAYS
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder, Resource
from kdns.wire.records import txt

diary: list[str] = []
"""What happened, for the test to read and to clear."""

starting: list[Deferred[None]] = []
"""Starts that wait until the test ends them."""


@dataclass(eq=False)
class Recording(Resource):
    """A resource that writes down what happens to it."""

    name: str
    manner: str = ""
    checks: list[Any] = field(default_factory=list)

    def start(self) -> Deferred[None] | None:
        """Begin, later, or not at all."""
        diary.append(f"start {self.name}")
        if self.manner == "slow":
            waiting: Deferred[None] = Deferred(lambda _: diary.append(f"cancelled {self.name}"))
            starting.append(waiting)
            return waiting
        if self.manner == "cannot-start":
            return fail(RuntimeError(f"{self.name} cannot start"))
        return None

    def leave(self) -> None:
        """The end is near."""
        diary.append(f"leave {self.name}")

    def stop(self) -> None:
        """End."""
        diary.append(f"stop {self.name}")

    def set_checks(self, checks: Sequence[Any]) -> None:
        """Take the list of those that have a say in readiness."""
        self.checks = list(checks)


@dataclass
class Saying(Link):
    """The link."""

    text: str
    name: str = "say"

    def answer(self, request: Request, next: Next) -> Reply:
        """TXT with the text, whatever the question."""
        return Answer(body=Sections(answer=(txt(request.spelled, 60, self.text.encode()),)), validity=ALWAYS)


class Say:
    """``Say TEXT [MANNER]``."""

    name = "tests.server.plugins.Say"

    def parse(self, tokens: Dispenser, block: Block) -> tuple[str, str]:
        """Text and manner."""
        for _ in tokens.invocations():
            words = tokens.args(1, 2)
        if words[-1] == "broken":
            raise tokens.error("it is broken")
        return words[0], words[1] if len(words) > 1 else ""

    def build(self, config: tuple[str, str], builder: BlockBuilder) -> None:
        """Link, resources, readiness."""
        text, manner = config
        builder.link(Saying(text))
        builder.run(Recording(f"run {text}", manner))
        builder.keep(("say", text), config, lambda: Recording(f"keep {text}"))
        builder.ready_when("say", lambda: True)


class First(Say):
    """The same, outermost of all."""

    name = "tests.server.plugins.First"
    before = "errors"
