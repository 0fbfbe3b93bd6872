# -*- test-case-name: tests.plugins.test_header -*-
"""``header``: set and clear the flags AA, RA and RD of queries and replies."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from kdns.core.explaining import Note
from kdns.plugin import NOTHING, Answer, Block, BlockBuilder, Dispenser, Link, Next, Reply, Request, then
from kdns.wire.constants import AA, RA, RD
from kdns.wire.presentation import flag_texts

FLAGS = {"aa": AA, "ra": RA, "rd": RD}


@dataclass(frozen=True, slots=True)
class Change:
    """Flags to set and to clear; none is in both."""

    set: int = 0
    clear: int = 0

    def then(self, action: str, flags: int) -> Change:
        """This change and one more; of two that contradict each other the later one counts."""
        if action == "set":
            return Change(self.set | flags, self.clear & ~flags)
        return Change(self.set & ~flags, self.clear | flags)

    def applied(self, flags: int) -> int:
        """*flags* with the change."""
        return flags & ~self.clear | self.set

    def __str__(self) -> str:
        parts = [f"sets {' '.join(flag_texts(self.set))}"] if self.set else []
        parts += [f"clears {' '.join(flag_texts(self.clear))}"] if self.clear else []
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class HeaderConfig:
    """``header { query|response set|clear FLAG... }``."""

    query: Change = Change()
    response: Change = Change()


class HeaderLink(Link):
    """Changes flags on the way in and out."""

    name = "header"
    varies = NOTHING

    def __init__(self, config: HeaderConfig) -> None:
        self._query = config.query
        self._response = config.response
        self._rd = config.query.then("set", config.response.set & RD).then("clear", config.response.clear & RD)
        """What becomes of RD in replies: they copy it from the query as the plugins behind saw it."""

    def answer(self, request: Request, next: Next) -> Reply:
        """Pass on the changed query, and change the answer; a failure stays as it is."""
        flags = self._query.applied(request.flags)
        return then(next(request if flags == request.flags else replace(request, flags=flags)), self._changed)

    def _changed(self, answer: Answer) -> Answer:
        if answer.silent:
            return answer
        repeat_flags = answer.repeat_flags
        rd = answer.rd
        if (self._rd.set | self._rd.clear) & RD:
            rd = bool(self._rd.set & RD)
        return replace(
            answer,
            flags=self._answer_flags(answer.flags),
            repeat_flags=None if repeat_flags is None else self._answer_flags(repeat_flags),
            rd=rd,
        )

    def _answer_flags(self, flags: int) -> int:
        return self._response.applied(flags) & ~RD

    def explain(self, request: Request) -> list[Note]:
        """What the rules do."""
        parts = [("query", self._query), ("response", self._response)]
        return [Note(f"{selector}: {change}") for selector, change in parts if change != Change()]


class HeaderDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "header"

    def parse(self, tokens: Dispenser, block: Block) -> HeaderConfig:
        """Rules in order; of several blocks the first with a rule counts."""
        changes = {"query": Change(), "response": Change()}
        found = False
        for _ in tokens.invocations():
            counts = not found
            tokens.remaining_args()
            for word in tokens.block():
                arguments = tokens.remaining_args()
                if counts:
                    self._rule(tokens, changes, [word.lower(), *(each.lower() for each in arguments)])
                    found = True
        if not found:
            raise tokens.arg_error()
        return HeaderConfig(**changes)

    def _rule(self, tokens: Dispenser, changes: dict[str, Change], words: list[str]) -> None:
        selector = words[0]
        if selector not in changes:
            raise tokens.plain_error(f"setting up rule: invalid selector={selector} should be query or response")
        if len(words) < 2:
            raise tokens.plain_error("setting up rule: no flag action provided")
        action = words[1]
        if action not in ("set", "clear"):
            raise tokens.plain_error(f"setting up rule: unknown flag action={action}, should be set or clear")
        if len(words) < 3:
            raise tokens.plain_error("setting up rule: invalid length for flags, at least one should be provided")
        for word in words[2:]:
            if word not in FLAGS:
                raise tokens.plain_error(f"setting up rule: unknown/unsupported flag={word}")
            changes[selector] = changes[selector].then(action, FLAGS[word])

    def build(self, config: HeaderConfig, builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(HeaderLink(config))


directive = HeaderDirective()
