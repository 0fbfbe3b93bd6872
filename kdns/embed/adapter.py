# -*- test-case-name: tests.embed.test_adapter -*-
"""
Between kdns's Request and Answer and the three lists of Twisted's ``IResolver``: the one place where the two meet, in both directions.

:class:`KdnsResolver` shows server blocks as an ``IResolver``; :class:`ResolverLink` makes a link of the chain of any ``IResolver``. Three
lists have no room for a response code, so that travels as one of the exceptions of :mod:`twisted.names.error`, with the whole message
as its argument: a negative answer keeps its SOA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as replaced
from io import BytesIO
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from msgspec.structs import replace
from twisted.application.service import Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    FirstError,
    fail,
    gatherResults,
    maybeDeferred,
    succeed,
)
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import DNSLookupError
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.names.error import (
    AuthoritativeDomainError,
    DNSFormatError,
    DNSNameError,
    DNSNotImplementedError,
    DNSQueryRefusedError,
    DNSQueryTimeoutError,
    DNSServerError,
    DNSUnknownError,
    DomainError,
)
from twisted.python.failure import Failure

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply
from kdns.core.failure import ResolutionFailed
from kdns.core.observe import Exchange, Observer
from kdns.core.request import Request, Transport
from kdns.core.validity import FROM_UPSTREAM, NOTHING
from kdns.plugin.seam import Resource, ServerContext
from kdns.server.blocks import ServedBlock, Zones
from kdns.server.listener import Listener
from kdns.wire.constants import (
    AA,
    FORMERR,
    IN,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    RA,
    RD,
    REFUSED,
    SERVFAIL,
    TC,
    rcode_text,
)
from kdns.wire.names import BadName, from_labels, labels_of
from kdns.wire.query import RECORD_HEAD, Edns
from kdns.wire.records import Record

Lists: TypeAlias = tuple[list[dns.RRHeader], list[dns.RRHeader], list[dns.RRHeader]]
"""Answers, authority, additional."""

Name: TypeAlias = str | bytes
"""A domain name as callers of Twisted Names write it: dots between labels, with or without one at the end."""


class Lookup(Protocol):
    """One of the ``lookup...`` methods, for type checkers: Twisted's own have no annotations."""

    def __call__(self, name: Name, timeout: Sequence[float] | None = None) -> Deferred[Lists]: ...


PATIENCE = 10.0
"""Seconds until a look-up is given up whose caller set no time-out; kdns's own forwarder gives up after 5."""

UDP_SIZE = 1232
"""UDP payload size sent to upstreams: what crosses today's networks in one piece."""

ERRORS: dict[int, type[DomainError]] = {
    FORMERR: DNSFormatError,
    SERVFAIL: DNSServerError,
    NXDOMAIN: DNSNameError,
    NOTIMP: DNSNotImplementedError,
    REFUSED: DNSQueryRefusedError,
}
"""The exception of each response code, as Twisted's own client raises them."""

_codec = dns.Message()


def wire_name(name: bytes) -> bytes:
    """
    A name of Twisted Names (dots between labels, no escapes) in wire form, its spelling kept.

    :raises BadName: it is none.
    """
    name = name.removesuffix(b".")
    return from_labels(name.split(b".")) if name else b"\x00"


def header_of(record: Record, authoritative: bool) -> dns.RRHeader:
    """A record as Twisted Names has it."""
    wire = record.owner + RECORD_HEAD.pack(record.rtype, record.rclass, record.ttl, len(record.rdata)) + record.rdata
    stream = BytesIO(wire)
    header = dns.RRHeader(auth=authoritative)
    header.decode(stream)
    kind: Any = _codec.lookupRecordType(record.rtype)
    payload = kind(ttl=record.ttl)
    payload.decode(stream, len(record.rdata))
    header.payload = payload
    return header


def record_of(header: dns.RRHeader) -> Record:
    """
    A record of Twisted Names as kdns has it.

    :raises BadName: its owner is no name.
    """
    stream = BytesIO()
    payload: Any = header.payload
    if payload is not None:
        payload.encode(stream, None)  # without a table of names nothing is compressed
    return Record(wire_name(header.name.name), header.type, header.cls, header.ttl, stream.getvalue())


def lists_of(answer: Answer) -> Lists:
    """The sections of an answer as ``IResolver`` returns them."""
    authoritative = bool(answer.flags & AA)
    sections = answer.sections()
    first, second, third = ([header_of(record, authoritative) for record in section] for section in sections)
    return first, second, third


def error_of(answer: Answer, request: Request, why: str = "") -> Exception:
    """
    The exception that stands for an answer's response code; its arguments are the message and a text.

    That a name does not exist, said by the authority for it, is Twisted's ``AuthoritativeDomainError``, which keeps a
    ``ResolverChain`` from asking others.
    """
    message = dns.Message(
        request.ident, 1, rCode=answer.rcode, auth=bool(answer.flags & AA), recAv=bool(answer.flags & RA)
    )
    message.addQuery(b".".join(labels_of(request.spelled)), request.qtype, request.qclass)
    message.answers, message.authority, message.additional = lists_of(answer)
    if not why:
        by = f" by {answer.source}" if answer.source else ""
        why = "; ".join([rcode_text(answer.rcode) + by, *(text for _, text in answer.ede if text)])
    why = f"{b'.'.join(labels_of(request.qname)).decode(errors='backslashreplace')}: {why}"
    if answer.rcode == NXDOMAIN and answer.flags & AA:
        return AuthoritativeDomainError(message, why)
    return ERRORS.get(answer.rcode, DNSUnknownError)(message, why)


class LastFailure(Observer):
    """Keeps why the last query failed: answers have no room for it."""

    repeats = True

    def __init__(self) -> None:
        self.failure: ResolutionFailed | None = None

    def finished(self, exchange: Exchange) -> None:
        self.failure = exchange.failure


class KdnsResolver(ResolverBase, Service):
    """
    Server blocks as an ``IResolver``, without any socket to answer on.

    It is a service too: the resources of its plugins (a watch, health checks) start and stop with it.

    :param zones: the blocks that answer. A name in none of them is refused, so that a ``ResolverChain`` asks the next resolver.
    :param resources: what the blocks need to run, in the order to start.
    :param label: as metrics name it.
    """

    def __init__(
        self, context: ServerContext, zones: Zones, resources: Sequence[Resource] = (), label: str = "embedded://"
    ) -> None:
        ResolverBase.__init__(self)
        self._context = context
        self._resources = list(resources)
        self._last = LastFailure()
        self._server = Listener(context, label, _observed(zones, self._last))
        self._waiting: set[Deferred[Any]] = set()
        self._starting: Deferred[None] | None = None
        self._outcome: Failure | None = None
        self._ready: list[Deferred[None]] = []

    # The service

    def startService(self) -> None:
        """Start what the blocks need; :meth:`when_ready` tells when that is done."""
        Service.startService(self)
        self._outcome = None
        begun = [maybeDeferred(resource.start) for resource in self._resources]
        everything: Deferred[Any] = gatherResults(begun, consumeErrors=True)
        self._starting = everything
        everything.addBoth(self._started)

    def _started(self, outcome: Any) -> None:
        self._starting = None
        self._outcome = outcome if isinstance(outcome, Failure) else None
        ready, self._ready = self._ready, []
        for one in ready:
            one.callback(None) if self._outcome is None else one.errback(self._outcome)

    def when_ready(self) -> Deferred[None]:
        """A Deferred of the caller's own that fires when the plugins can answer."""
        if self._starting is None:
            return succeed(None) if self._outcome is None else fail(self._outcome)
        ready: Deferred[None] = Deferred(self._ready.remove)
        self._ready.append(ready)
        return ready

    def stopService(self) -> Deferred[None]:
        """Drop the look-ups in flight and stop the resources of the blocks; nothing is left when the Deferred fires."""
        Service.stopService(self)
        for waiting in list(self._waiting):
            waiting.cancel()
        self._server.stop()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        for resource in reversed(self._resources):
            stopped = resource.stop()
            if stopped is not None:
                await stopped

    # The resolver

    if TYPE_CHECKING:
        lookupAddress: Lookup
        lookupIPV6Address: Lookup
        lookupAddress6: Lookup
        lookupMailExchange: Lookup
        lookupNameservers: Lookup
        lookupCanonicalName: Lookup
        lookupMailBox: Lookup
        lookupMailGroup: Lookup
        lookupMailRename: Lookup
        lookupPointer: Lookup
        lookupAuthority: Lookup
        lookupNull: Lookup
        lookupWellKnownServices: Lookup
        lookupService: Lookup
        lookupHostInfo: Lookup
        lookupMailboxInfo: Lookup
        lookupText: Lookup
        lookupSenderPolicy: Lookup
        lookupResponsibility: Lookup
        lookupAFSDatabase: Lookup
        lookupZone: Lookup
        lookupNamingAuthorityPointer: Lookup

        def query(self, query: dns.Query, timeout: Sequence[float] | None = None) -> Deferred[Lists]: ...

        def setServiceParent(self, parent: Any) -> None: ...

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Sequence[float] | None) -> Deferred[Lists]:
        """The one method that every ``lookup...`` method of the interface calls."""
        try:
            request = self._request(wire_name(name), cls, type)
        except BadName as error:
            return fail(DNSFormatError(str(error)))
        done: Deferred[Lists] = Deferred.fromCoroutine(self._ask(request))
        self._waiting.add(done)
        patience = float(sum(timeout)) if timeout else PATIENCE
        done.addTimeout(patience, self._context.reactor, _timed_out)
        return done.addBoth(self._asked, done)

    def _asked(self, outcome: Any, done: Deferred[Lists]) -> Any:
        self._waiting.discard(done)
        return outcome

    async def _ask(self, request: Request) -> Lists:
        if self._starting is not None:
            await self._started_for(request)
        answer = await self._server.resolve(request)
        failure = self._last.failure  # it came in this very turn: a failure resumes whoever waits for it
        if answer.flags & TC:
            # There is more than fits over UDP.
            answer = await self._server.resolve(replace(request, transport=Transport.TCP))
            failure = self._last.failure
        if answer.silent:
            raise DNSQueryRefusedError("the server does not reply to this query")
        if answer.rcode != NOERROR:
            raise error_of(answer, request, "" if failure is None or failure.rcode != answer.rcode else str(failure))
        return lists_of(answer)

    async def _started_for(self, request: Request) -> None:
        """Wait for the start, in which the cluster is read for the first time."""
        try:
            await self.when_ready()
        except CancelledError:
            raise
        except Exception as error:
            why = error.subFailure.value if isinstance(error, FirstError) else error
            raise error_of(Answer(SERVFAIL), request, f"the resolver did not start: {why}") from error

    def _request(self, spelled: bytes, qclass: int, qtype: int) -> Request:
        size = 12 + len(spelled) + 4 + 11
        edns = Edns(UDP_SIZE, 0, 0, b"")
        arrived = self._context.clock()
        ident = self._context.random.getrandbits(16)
        return Request(
            spelled.lower(), spelled, qtype, qclass, ident, RD, edns, Transport.UDP, "127.0.0.1", 0, "127.0.0.1",
            arrived, size, self._server,
        )  # fmt: skip

    def lookupAllRecords(self, name: Name, timeout: Sequence[float] | None = None) -> Deferred[Lists]:
        """
        The addresses of a name: Twisted asks for everything when it wants them, as ``ResolverChain.getHostByName`` does.

        A server need not answer ANY with all it has (RFC 8482), and kdns's cluster zone, like CoreDNS's, answers it with nothing.
        """
        return Deferred.fromCoroutine(self._both(name, timeout))

    async def _both(self, name: Name, timeout: Sequence[float] | None) -> Lists:
        families = [self.lookupAddress(name, timeout), self.lookupIPV6Address(name, timeout)]
        outcomes: list[tuple[bool, Any]] = await DeferredList(families, consumeErrors=True)
        found: list[Lists] = [lists for success, lists in outcomes if success]
        if not found:
            outcomes[0][1].raiseException()
        joined: Lists = ([], [], [])
        for lists in found:
            for section, headers in zip(joined, lists, strict=True):
                section += [header for header in headers if header not in section]
        return joined

    def getHostByName(self, name: Name, timeout: Sequence[float] | None = None, effort: int = 10) -> Deferred[str]:
        """The first IPv4 address of a name, or else its first IPv6 address; *effort* is ignored, aliases come with the answer."""
        return Deferred.fromCoroutine(self._host(name, timeout))

    async def _host(self, name: Name, timeout: Sequence[float] | None) -> str:
        for ask in (self.lookupAddress, self.lookupIPV6Address):
            try:
                answers, _, _ = await ask(name, timeout)
            except (DomainError, AuthoritativeDomainError):
                continue
            for header in answers:
                if isinstance(header.payload, (dns.Record_A, dns.Record_AAAA)):
                    return address_text(header.payload)
        raise DNSLookupError(f"no address for {dns.domainString(name).decode(errors='backslashreplace')}")


def address_text(payload: dns.Record_A | dns.Record_AAAA) -> str:
    """The address in a record as text."""
    if isinstance(payload, dns.Record_A):
        return str(payload.dottedQuad())
    return str(ip_address(payload.address))


def _timed_out(outcome: Any, patience: float) -> Any:
    error = DNSQueryTimeoutError(0)
    error.args = (f"no answer within {patience:g} s",)
    raise error


def _observed(zones: Zones, observer: Observer) -> Zones:
    """The same zones with blocks that tell *observer*; a block of several zones stays one."""
    found: dict[int, ServedBlock] = {}
    for blocks in zones.blocks.values():
        for block in blocks:
            found.setdefault(id(block), replaced(block, observers=(*block.observers, observer)))
    return replaced(
        zones, blocks={zone: [found[id(block)] for block in blocks] for zone, blocks in zones.blocks.items()}
    )


class ResolverLink(Link):
    """
    Any ``IResolver`` as the last link of a chain, so that kdns's cache can stand in front of it.

    :param name: as errors name it.
    """

    varies = NOTHING

    def __init__(self, resolver: Any, name: str = "resolver") -> None:
        self.name = name
        self._resolver = resolver

    def answer(self, request: Request, next: Next) -> Reply:
        """Ask the resolver."""
        name = b".".join(labels_of(request.spelled))
        asked: Deferred[Any] = maybeDeferred(self._resolver.query, dns.Query(name, request.qtype, IN))
        return asked.addCallbacks(self._answered, self._failed)

    def _answered(self, lists: Lists) -> Answer:
        return _answer(NOERROR, *lists)

    def _failed(self, failure: Failure) -> Answer:
        error = failure.value
        if isinstance(error, (DeferredTimeout, NotImplementedError)):
            raise ResolutionFailed(f"{self.name}: {type(error).__name__}")
        if not isinstance(error, (DomainError, AuthoritativeDomainError)):
            failure.raiseException()
        message = error.args[0] if error.args and isinstance(error.args[0], dns.Message) else None
        rcode = next((code for code, kind in ERRORS.items() if isinstance(error, kind)), NXDOMAIN)
        if message is not None:
            return _answer(message.rCode, message.answers, message.authority, message.additional)
        if rcode != NXDOMAIN:
            raise ResolutionFailed(f"{self.name}: {rcode_text(rcode)}", rcode)
        return Answer(NXDOMAIN, RA, validity=FROM_UPSTREAM, source=self.name)


def _answer(
    rcode: int,
    answers: Sequence[dns.RRHeader],
    authority: Sequence[dns.RRHeader],
    additional: Sequence[dns.RRHeader],
) -> Answer:
    try:
        first, second, third = (
            tuple(record_of(header) for header in section if header.type != dns.OPT)
            for section in (answers, authority, additional)
        )
    except BadName as error:
        raise ResolutionFailed(f"a record that is none: {error}") from error
    return Answer(rcode, RA, Sections(first, second, third), validity=FROM_UPSTREAM, source="resolver")
