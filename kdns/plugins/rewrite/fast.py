# -*- test-case-name: tests.plugins.rewrite.test_fast -*-
"""
Names of one zone asked for in another, on the fast path: ``name suffix .OLD .NEW answer auto``.

An answer of addresses only needs other owners. Every other one is changed record by record, as the link does it.
"""

from __future__ import annotations

from collections.abc import Sequence

from kdns.core.answer import Answer, records
from kdns.core.fast_path import Alias, Made, Source
from kdns.plugins.rewrite.names import MatchKind
from kdns.plugins.rewrite.replies import OwnerChange, ValueChange
from kdns.plugins.rewrite.rules import Entry, NameRule, auto_changes
from kdns.wire.constants import AAAA, SRV, A
from kdns.wire.names import MAX_NAME, BadName, MalformedName, from_text, is_subdomain, skip_name
from kdns.wire.query import RECORD_HEAD
from kdns.wire.records import Record, wire_record

MOST_DENIALS = 64
"""Bodies of negative answers that are kept changed; all names of a zone have the same."""


def alias_of(entries: Sequence[Entry], zone: bytes) -> Alias | None:
    """What one rule makes of all names below a zone; None where there is another rule about them, or one that does more."""
    about = []
    for entry in entries:
        reach = entry.rule.reach()
        if reach is None:
            return None
        if any(is_subdomain(one, zone) or is_subdomain(zone, one) for one in reach.zones):
            about.append(entry)
    if len(about) != 1:
        return None
    rule = about[0].rule
    if not isinstance(rule, NameRule) or rule.match.kind is not MatchKind.SUFFIX or rule.match.zone != zone:
        return None
    old, new = rule.match.text, rule.replacement
    if (
        not (old.startswith(".") and new.startswith(".") and new.endswith(".") and rule.auto and about[0].stop)
        or rule.answers
    ):
        return None
    try:
        target = from_text(new[1:].lower())
    except BadName:
        return None
    changes = auto_changes(rule)
    return Alias(target, lambda source: RenamedNames(source, zone, target, changes))


class RenamedNames:
    """A :class:`~kdns.core.fast_path.Source` for names below *zone*, which asks *source* for them below *target*."""

    def __init__(
        self, source: Source, zone: bytes, target: bytes, changes: Sequence[OwnerChange | ValueChange]
    ) -> None:
        self._answer = source.answer
        self._zone = zone
        self._target = target
        self._changes = changes
        self._denials: dict[bytes, bytes] = {}
        self.note = source.note
        self.success_ttl, self.denial_ttl = source.success_ttl, source.denial_ttl

    def answer(self, qname: bytes, qtype: int, now: float) -> Made | None:
        """See :meth:`kdns.core.fast_path.Source.answer`."""
        front = len(qname) - len(self._zone)
        asked = qname[:front] + self._target
        if not front or len(asked) > MAX_NAME:
            return None
        made = self._answer(asked, qtype, now)
        if made is None:
            return None
        rcode, counts, body, stamps, until, rotates, key = made
        if counts[0] and qtype in (A, AAAA) and not (counts[1] or counts[2]):
            size = len(body) // counts[0]
            head = len(asked)
            if counts[0] > 1 and rotates != size:
                return None
            body = b"".join([qname + body[at + head : at + size] for at in range(0, len(body), size)])
            return (rcode, counts, body, stamps, until, rotates and size - head + len(qname), key)
        if rotates:
            return None
        changed = self._denials.get(body) if not counts[0] else None
        if changed is None:
            try:
                changed = self._services(body) if qtype == SRV and counts[0] else self._changed(counts, body)
            except (BadName, MalformedName):
                return None
            if not counts[0]:
                if len(self._denials) >= MOST_DENIALS:
                    self._denials.clear()
                self._denials[body] = changed
        return (rcode, counts, changed, stamps, until, 0, key)

    def _services(self, body: bytes) -> bytes:
        """SRV records and the addresses of their targets, as :meth:`_changed` has them."""
        parts: list[bytes] = []
        at = 0
        while at < len(body):
            start, at = at, skip_name(body, at) + 10
            rtype, rclass, ttl, length = RECORD_HEAD.unpack_from(body, at - 10)
            rdata = body[at : at + length]
            if rtype == SRV:
                rdata = rdata[:6] + self._renamed(rdata[6:])
            elif rtype not in (A, AAAA):
                raise BadName("a record of another kind")
            parts += (
                self._renamed(body[start : at - 10]),
                RECORD_HEAD.pack(rtype, rclass, ttl, len(rdata)),
                rdata,
            )
            at += length
        return b"".join(parts)

    def _renamed(self, name: bytes) -> bytes:
        target = self._target
        if name == target or not is_subdomain(name.lower(), target):
            return name
        name = name[: len(name) - len(target)] + self._zone
        if len(name) > MAX_NAME:
            raise BadName("too long")
        return name

    def _changed(self, counts: tuple[int, int, int], body: bytes) -> bytes:
        """
        The records as the link sends them.

        :raises BadName: a name becomes none.
        """
        found = []
        at = 0
        while at < len(body):
            start, at = at, skip_name(body, at) + 10
            rtype, rclass, ttl, length = RECORD_HEAD.unpack_from(body, at - 10)
            found.append(Record(body[start : at - 10], rtype, rclass, ttl, body[at : at + length]))
            at += length
        answers, authority, _ = counts
        answer = Answer(
            body=records(found[:answers], found[answers : answers + authority], found[answers + authority :])
        )
        for change in reversed(self._changes):
            answer = change.apply(answer)
        return b"".join([part for section in answer.sections() for record in section for part in wire_record(record)])


__all__ = ["RenamedNames", "alias_of"]
