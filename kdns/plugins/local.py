# -*- test-case-name: tests.plugins.test_local -*-
"""``local``: answer for localhost, and for reverse zones that no resolver should be asked about (RFC 6761 section 6.3, RFC 6303)."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.core.explaining import Note
from kdns.core.fast_path import NO_EFFECT, Effect
from kdns.core.metrics import Counter
from kdns.corefile.values import quote
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
    Sections,
    from_text,
    is_subdomain,
    longest_zone,
    records,
)
from kdns.wire.constants import AAAA, NOERROR, NS, NXDOMAIN, PTR, SOA, A
from kdns.wire.records import Record, a_or_aaaa, ns, ptr, soa

TTL = 604_800
"""Seconds: a week, for these names never change."""

LOCALHOST = from_text("localhost")
_PREFIX = b"\x09localhost"
_ROOT_LOCALHOST = from_text("root.localhost")

REVERSE = frozenset(from_text(f"{first}.in-addr.arpa") for first in (0, 127, 255))
"""Reverse zones of "this network", of the loopback and of broadcasts (RFC 6303 section 4.2)."""

_LOOPBACK = from_text("1.0.0.127.in-addr.arpa")

_ADDRESSES = {A: b"\x7f\x00\x00\x01", AAAA: bytes(15) + b"\x01"}


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """``local { localhost_prefix on|off }``."""

    prefix: bool = True
    """Whether every name that begins with the label ``localhost`` is the local host: search paths make such names."""


class LocalLink(Link):
    """Answers for names that mean the client's own host."""

    name = "local"
    varies = NOTHING

    def __init__(self, config: LocalConfig, counter: Counter) -> None:
        self._prefix = config.prefix
        self._counter = counter

    def answer(self, request: Request, next: Next) -> Reply:
        """Answer for local names, and pass on all others."""
        qname = request.qname
        if self._is_local_host(qname):
            if qname == LOCALHOST:
                return self._host(request)
            self._counter.inc()
            return self._host(request, self._counter)
        zone = longest_zone(qname, REVERSE)
        return next(request) if zone is None else self._reverse(request, zone)

    def _is_local_host(self, qname: bytes) -> bool:
        return (self._prefix and qname.startswith(_PREFIX)) or is_subdomain(qname, LOCALHOST)

    def _host(self, request: Request, *charges: Counter) -> Answer:
        address = _ADDRESSES.get(request.qtype)
        if address is not None:
            body = records([a_or_aaaa(request.spelled, TTL, address)])
        else:
            body = _apex(request) if request.qname == LOCALHOST else _nothing(request.spelled)
        return Answer(body=body, validity=ALWAYS, source=self.name, charges=charges)

    def _reverse(self, request: Request, zone: bytes) -> Answer:
        qname, spelled = request.qname, request.spelled
        rcode = NOERROR
        if qname == zone:
            body = _apex(request)
        elif qname == _LOOPBACK and request.qtype == PTR:
            body = records([ptr(spelled, TTL, LOCALHOST)])
        else:
            body = _nothing(spelled[len(spelled) - len(zone) :])
            if not is_subdomain(_LOOPBACK, qname):
                rcode = NXDOMAIN  # names above the one PTR record exist (RFC 8020)
        return Answer(rcode, body=body, validity=ALWAYS, source=self.name)

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """With the prefix a name in any zone may be answered here; without it names outside the zones are passed on."""
        return None if self._prefix else NO_EFFECT

    def fast_sources(self) -> dict[bytes, None]:
        """The zones that are answered here."""
        return dict.fromkeys((LOCALHOST, *REVERSE))

    def explain(self, request: Request) -> list[Note]:
        """Why the name means this host."""
        if self._is_local_host(request.qname):
            return [Note("the name stands for the client's own host")]
        if longest_zone(request.qname, REVERSE) is not None:
            return [Note("the reverse zone is answered here, and not by a resolver")]
        return []


def _apex(request: Request) -> Sections:
    """The records of a zone's own name."""
    if request.qtype == SOA:
        return records([_soa(request.spelled)])
    if request.qtype == NS:
        return records([ns(request.spelled, TTL, LOCALHOST)])
    return _nothing(request.spelled)


def _nothing(owner: bytes) -> Sections:
    """No records, and the SOA that says for how long."""
    return records(authority=[_soa(owner)])


def _soa(owner: bytes) -> Record:
    return soa(owner, TTL, LOCALHOST, _ROOT_LOCALHOST, (1, 0, 0, 0, TTL))


class LocalDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "local"

    def parse(self, tokens: Dispenser, block: Block) -> LocalConfig:
        """``local [{ localhost_prefix on|off }]``; the last value counts."""
        prefix = True
        for _ in tokens.invocations():
            tokens.args(0)
            for option in tokens.block():
                if option != "localhost_prefix":
                    raise tokens.unknown_property("localhost_prefix")
                word = tokens.word()
                if word not in ("on", "off"):
                    raise tokens.error(f"localhost_prefix expects 'on' or 'off', got {quote(word)}")
                prefix = word == "on"
        return LocalConfig(prefix)

    def build(self, config: LocalConfig, builder: BlockBuilder) -> None:
        """Add the link."""
        counter = builder.context.registry.counter(
            "coredns_local_localhost_requests_total", "Queries for names like localhost.DOMAIN."
        ).counter()
        builder.link(LocalLink(config, counter))


directive = LocalDirective()
