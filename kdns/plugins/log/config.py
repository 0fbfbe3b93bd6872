# -*- test-case-name: tests.plugins.test_log -*-
"""What the Corefile says about the query log: which names, which kinds of replies, which format."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.corefile.dispenser import Dispenser
from kdns.plugins.log.lines import COMBINED, COMMON, QueryLog, Rule
from kdns.plugins.seam import Block, Site
from kdns.wire.names import ROOT, BadName, from_text

CLASSES = ("all", "denial", "error", "success")


@dataclass(frozen=True, slots=True)
class Config:
    """All ``log [NAMES...] [FORMAT] { class CLASSES... }`` of a server block, in file order."""

    rules: tuple[Rule, ...]


class LogDirective:
    """The directive of the Corefile."""

    name = "log"

    def parse(self, tokens: Dispenser, block: Block) -> Config:
        """Read all its repetitions."""
        rules: list[Rule] = []
        for _ in tokens.invocations():
            words = tokens.remaining_args()
            template = COMMON
            # One word alone is a name, braces or not.
            if len(words) > 1 and "{" in words[-1]:
                template = words.pop().replace("{common}", COMMON).replace("{combined}", COMBINED)
            names = [_name(tokens, word) for word in words] or [ROOT]
            classes: set[str] = set()
            for option in tokens.block():
                if option != "class":
                    raise tokens.unknown_property("class")
                for word in tokens.args(1, None):
                    if word not in CLASSES:
                        raise tokens.plain_error(f"invalid Class: {word}")
                    classes.add(word)
            if not classes or "all" in classes:
                classes = set(CLASSES[1:])
            rules += [Rule(name, template, frozenset(classes)) for name in names]
        return Config(tuple(rules))

    def build(self, config: Config, site: Site) -> None:
        """Watch the block's replies."""
        site.observe(QueryLog(config.rules, site.house.output))


def _name(tokens: Dispenser, word: str) -> bytes:
    try:
        return from_text(word)
    except BadName as error:
        raise tokens.plain_error(f"not a domain name: {word}") from error
