# -*- test-case-name: tests.plugins.test_chaos -*-
"""``chaos``: tell version, authors and host name in the class CH (RFC 4892)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from socket import gethostname

from kdns import __version__
from kdns.core.explaining import Note
from kdns.core.fast_path import NO_EFFECT, Effect
from kdns.plugin import (
    ALWAYS,
    NOTHING,
    Answer,
    Block,
    BlockBuilder,
    Dispenser,
    Link,
    Next,
    Reply,
    Request,
    Validity,
    from_text,
    records,
)
from kdns.wire.constants import CH, TXT
from kdns.wire.records import txt

VERSION = f"kdns-{__version__}"
AUTHORS = ("the kdns authors",)

MOST = 255
"""Bytes of a character string (RFC 1035 section 3.3)."""

ORDER_SECONDS = 1.0
"""Seconds for which the authors stay in one order."""

_VERSION_NAMES = (from_text("version.bind"), from_text("version.server"))
_AUTHORS_NAME = from_text("authors.bind")
_HOST_NAMES = (from_text("hostname.bind"), from_text("id.server"))

CHAOS_NAMES = frozenset((*_VERSION_NAMES, _AUTHORS_NAME, *_HOST_NAMES))
"""The names that are answered."""


@dataclass(frozen=True, slots=True)
class ChaosConfig:
    """``chaos [VERSION] [AUTHORS...]``."""

    version: str = VERSION
    authors: tuple[str, ...] = AUTHORS
    """Sorted, each once."""


class ChaosLink(Link):
    """Answers TXT queries of class CH about the server, and passes everything else on."""

    name = "chaos"
    varies = NOTHING

    def __init__(self, config: ChaosConfig, host: str, random: Random, clock: Callable[[], float]) -> None:
        self._texts = {name: _string(config.version) for name in _VERSION_NAMES}
        self._texts |= {name: _string(host) for name in _HOST_NAMES}
        self._authors = [_string(author) for author in config.authors]
        self._random = random
        self._clock = clock

    def answer(self, request: Request, next: Next) -> Reply:
        """One text, or one for each author, in an order that changes each second."""
        if request.qclass != CH or request.qtype != TXT:
            return next(request)
        text = self._texts.get(request.qname)
        if text is not None:
            return self._said(request, [text], ALWAYS)
        if request.qname != _AUTHORS_NAME:
            return next(request)
        authors = self._authors[:]
        self._random.shuffle(authors)
        return self._said(request, authors, Validity(True, until=self._clock() + ORDER_SECONDS))

    def _said(self, request: Request, texts: list[bytes], validity: Validity) -> Answer:
        found = [txt(request.spelled, 0, text)._replace(rclass=CH) for text in texts]
        return Answer(body=records(found), validity=validity, source=self.name)

    def fast_effect(self, server: str, zone: bytes) -> Effect:
        """Nothing to queries of class IN."""
        return NO_EFFECT

    def explain(self, request: Request) -> list[Note]:
        """That the server speaks of itself."""
        own = request.qname in CHAOS_NAMES
        return [Note("the name asks about this server")] if own and request.qclass == CH else []


def _string(text: str) -> bytes:
    return text.encode()[:MOST]


class ChaosDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "chaos"

    def parse(self, tokens: Dispenser, block: Block) -> ChaosConfig:
        """``chaos [VERSION] [AUTHORS...]``; of several the first counts."""
        found: ChaosConfig | None = None
        for _ in tokens.invocations():
            words = tokens.remaining_args()
            for _ in tokens.block():
                raise tokens.unknown_property()
            if found is None:
                version, authors = words[0] if words else VERSION, tuple(sorted(set(words[1:])))
                found = ChaosConfig(version, authors or AUTHORS)
        return found or ChaosConfig()

    def build(self, config: ChaosConfig, builder: BlockBuilder) -> None:
        """Add the link, and have the listener take queries of class CH."""
        builder.any_class = True
        context = builder.context
        builder.link(ChaosLink(config, gethostname(), context.random, context.clock))


directive = ChaosDirective()
