# -*- test-case-name: tests.plugins.test_timeouts -*-
"""``timeouts``: how long connections over TCP may take, and how much they may ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kdns.corefile.values import BadValue, format_duration, parse_duration, parse_int
from kdns.plugin import Block, BlockBuilder, Dispenser

LEAST, MOST = 1.0, 86_400.0
"""Seconds that a timeout may have."""

OPTIONS = ("read", "write", "idle")


@dataclass(frozen=True, slots=True)
class TimeoutsConfig:
    """``timeouts { read D; write D; idle D; maxtcpqueries N }``; None where the block says nothing."""

    read: float | None = None
    write: float | None = None
    idle: float | None = None
    queries: int | None = None
    """0: no limit."""


class TimeoutsDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "timeouts"

    def parse(self, tokens: Dispenser, block: Block) -> TimeoutsConfig:
        """Options in any order; the last value of each counts."""
        found: dict[str, Any] = {}
        for _ in tokens.invocations():
            tokens.args(0)
            for option in tokens.block():
                word = tokens.word()
                if option == "maxtcpqueries":
                    found["queries"] = self._queries(tokens, word)
                    continue
                seconds = self._seconds(tokens, word)
                if option not in OPTIONS:
                    raise tokens.error(f"unknown option: '{option}'")
                found[option] = seconds
            if not found:
                raise tokens.error("timeouts block with no timeouts specified")
        return TimeoutsConfig(**found)

    def _seconds(self, tokens: Dispenser, word: str) -> float:
        try:
            seconds = parse_duration(f"{word}s" if word.isascii() and word.isdigit() else word)
        except BadValue:
            raise tokens.error(f"failed to parse duration '{word}'") from None
        if not LEAST <= seconds <= MOST:
            shown = format_duration(seconds)
            raise tokens.error(f"timeout provided '{shown}' needs to be between 1 second and 24 hours")
        return seconds

    def _queries(self, tokens: Dispenser, word: str) -> int:
        try:
            number = parse_int(word)
        except BadValue as error:
            raise tokens.error(f"invalid value for maxtcpqueries '{word}': {error}") from None
        if number != -1 and number < 1:
            text = f"maxtcpqueries provided '{number}' needs to be -1 (unlimited) or a positive integer"
            raise tokens.error(text)
        return max(number, 0)

    def build(self, config: TimeoutsConfig, builder: BlockBuilder) -> None:
        """Have the block's listeners keep them."""
        for field in (*OPTIONS, "queries"):
            value = getattr(config, field)
            if value is not None:
                builder.timeouts[field] = value


directive = TimeoutsDirective()
