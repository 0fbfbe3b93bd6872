# -*- test-case-name: tests.testing.test_upstream -*-
"""
The answers of the fake upstream resolver: bytes in, bytes and actions out.

The rules, in the order they are asked: what is said for all names, what is planned for the next queries of the name, what is said about
the name, the answer for names that nobody knows. Sending, waiting and hanging up are server.py's business.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from kdns.testing.records import parse_record, parse_records
from kdns.testing.upstream.entries import Action, Entry, TcpManners, Truncate, entries_from_json
from kdns.testing.upstream.messages import (
    TCP_SIZE,
    UDP_SIZE,
    ParsedQuery,
    Reply,
    Sections,
    parse_query,
    reply_flags,
    write_reply,
)
from kdns.wire.constants import ANY, CNAME, IN, NOERROR, NXDOMAIN, TC, TXT, A
from kdns.wire.names import from_text, is_subdomain
from kdns.wire.records import Record

SOA_TEXT = "example.com. 60 IN SOA ns.example.com. admin.example.com. 7 7200 3600 1209600 30"
REVERSE_SOA_TEXT = "in-addr.arpa. 60 IN SOA ns.example.com. admin.example.com. 7 7200 3600 1209600 30"

_REVERSE = from_text("in-addr.arpa."), from_text("ip6.arpa.")
_FORGED = bytes((192, 0, 2, 66))
_FILLING = b"\xc8" + b"f" * 200


class Step(NamedTuple):
    """A reaction to a query, *delay* seconds after it came."""

    delay: float
    message: bytes
    action: Action = Action.SEND


class Received(NamedTuple):
    """A received query; *qname* is lower-case, None with *qtype* 0 when the query was unreadable."""

    transport: str
    query: bytes
    qname: bytes | None
    qtype: int


@dataclass(slots=True)
class FakeUpstream:
    """
    A resolver with scripted answers that records its queries.

    :ivar names: entries by lower-case wire name; :meth:`say` writes here.
    :ivar everywhere: entries that come before all others, by transport (``udp``, ``tcp``, ``tls``).
    :ivar received: every query, oldest first.
    """

    names: dict[bytes, Entry] = field(default_factory=dict)
    soa: Record = field(default_factory=lambda: parse_record(SOA_TEXT))
    reverse_soa: Record = field(default_factory=lambda: parse_record(REVERSE_SOA_TEXT))
    tcp: TcpManners = field(default_factory=TcpManners)
    everywhere: dict[str, Entry] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    _planned: dict[bytes, deque[Entry]] = field(default_factory=dict, init=False)
    _asked: Counter[tuple[bytes, str]] = field(default_factory=Counter, init=False)

    @classmethod
    def from_json(cls, source: Path | bytes) -> FakeUpstream:
        """A resolver that answers as a file says; see entries.py."""
        names, soa, reverse_soa = entries_from_json(source)
        return cls(names, soa, reverse_soa)

    # Answers

    def say(self, name: str, *answer: str, entry: Entry | None = None) -> None:
        """From now on answer queries for *name* with these records in presentation form, and otherwise as *entry* says."""
        said = entry or Entry()
        self.names[from_text(name)] = replace(said, answer=parse_records(answer)) if answer else said

    def plan(self, name: str, *entries: Entry) -> None:
        """Treat the next queries for *name* as *entries* say, one each, and the others as before."""
        self._planned.setdefault(from_text(name), deque()).extend(entries)

    def say_everywhere(self, entry: Entry | None, *transports: str) -> None:
        """Treat all queries over *transports* (none given: over all) as *entry* says; None: as before."""
        for transport in transports or ("udp", "tcp", "tls"):
            if entry is None:
                self.everywhere.pop(transport, None)
            else:
                self.everywhere[transport] = entry

    # Queries

    def asked(self, name: str | None = None, transport: str | None = None) -> int:
        """Number of queries, for *name* and over *transport* when given."""
        wanted = None if name is None else from_text(name)
        return sum(
            count
            for (qname, over), count in self._asked.items()
            if wanted in (None, qname) and transport in (None, over)
        )

    # Reactions

    def answer(self, query: bytes, transport: str) -> list[Step]:
        """The reaction to *query*, which came over *transport*: ``udp``, ``tcp`` or ``tls``."""
        asked = parse_query(query)
        if asked is None:
            self.received.append(Received(transport, query, None, 0))
            return []
        qname = asked.qname.lower()
        self.received.append(Received(transport, query, qname, asked.qtype))
        self._asked[qname, transport] += 1
        return self._steps(query, asked, self._entry(qname, transport), transport)

    def _entry(self, qname: bytes, transport: str) -> Entry:
        if transport in self.everywhere:
            return self.everywhere[transport]
        if planned := self._planned.get(qname):
            return planned.popleft()
        if (entry := self.names.get(qname)) is not None:
            return entry
        reverse = any(is_subdomain(qname, zone) for zone in _REVERSE)
        return Entry(rcode=NXDOMAIN, authority=(self.reverse_soa if reverse else self.soa,))

    def _steps(self, query: bytes, asked: ParsedQuery, entry: Entry, transport: str) -> list[Step]:
        if entry.silent:
            return []
        if entry.action in (Action.ASK_BACK, Action.HANG_UP):
            return [Step(entry.delay, query if entry.action is Action.ASK_BACK else b"", entry.action)]
        if entry.raw is not None:
            return [Step(entry.delay, query[:2] + entry.raw, entry.action)] * entry.copies
        if entry.garbage is not None:
            return [Step(entry.delay, entry.garbage, entry.action)] * entry.copies
        reply = self._reply(asked, entry)
        limit = _limit(asked, transport)
        if entry.huge:
            reply, limit = _filled(reply, entry.huge), TCP_SIZE
        elif entry.truncate is not None and transport == "udp":
            reply = _cut(reply, entry.truncate)
        steps = []
        if entry.wrong_id_first:
            forged = Record(asked.qname, A, IN, 300, _FORGED)
            first = reply._replace(sections=Sections((forged,)))
            steps.append(Step(entry.delay, write_reply(_other_id(first), limit), entry.action))
        message = write_reply(_other_id(reply) if entry.wrong_id else reply, limit)
        return steps + [Step(entry.delay, message, entry.action)] * entry.copies

    def _reply(self, asked: ParsedQuery, entry: Entry) -> Reply:
        answer = self._fitting(asked, entry)
        authority = entry.authority
        if authority is None:
            authority = (self.soa,) if not answer and entry.rcode is None else ()
        flags = (reply_flags(asked) | entry.set_flags) & ~entry.clear_flags
        return Reply(
            asked,
            asked.qname if entry.question is None else entry.question,
            flags,
            NOERROR if entry.rcode is None else entry.rcode,
            Sections(answer, authority, entry.additional),
            entry.opt,
        )

    def _fitting(self, asked: ParsedQuery, entry: Entry) -> tuple[Record, ...]:
        if entry.always:
            return entry.answer
        records = entry.answer
        if entry.counter:
            number = sum(count for (qname, _), count in self._asked.items() if qname == asked.qname.lower())
            records += (Record(asked.qname, A, IN, entry.ttl, bytes((192, 0, 2, number % 256))),)
        return _chain(asked.qname.lower(), asked.qtype, records)


def _chain(owner: bytes, qtype: int, records: tuple[Record, ...]) -> tuple[Record, ...]:
    """The records of the requested type at *owner*, or behind the CNAMEs that follow; else only those CNAMEs."""
    aliases: list[Record] = []
    while len(aliases) <= len(records):
        here = [record for record in records if record.owner.lower() == owner]
        if fitting := [record for record in here if qtype in (record.rtype, ANY)]:
            return (*aliases, *fitting)
        alias = next((record for record in here if record.rtype == CNAME), None)
        if alias is None:
            return tuple(aliases)
        aliases.append(alias)
        owner = alias.rdata.lower()
    return ()


def _limit(asked: ParsedQuery, transport: str) -> int:
    if transport != "udp":
        return TCP_SIZE
    return max(UDP_SIZE, asked.size or 0)


def _cut(reply: Reply, how: Truncate) -> Reply:
    answer = reply.sections.answer
    left = Sections(answer[: len(answer) // 2]) if how is Truncate.HALF else Sections()
    return reply._replace(flags=reply.flags | TC, sections=left)


def _filled(reply: Reply, size: int) -> Reply:
    """Add records until the reply has at least *size* bytes, also when owners are compressed."""
    filling = Record(reply.qname, TXT, IN, 300, _FILLING)
    more = (filling,) * (size // (len(_FILLING) + 12) + 1)
    return reply._replace(sections=reply.sections._replace(answer=(*reply.sections.answer, *more)))


def _other_id(reply: Reply) -> Reply:
    return reply._replace(asked=reply.asked._replace(ident=(reply.asked.ident + 1) & 0xFFFF))
