# -*- test-case-name: tests.plugins.rewrite.test_replies -*-
"""
What rules that fired do to the reply: changes of names, TTLs and rcodes, and CNAME targets.

A change is made for one query, when its rule fires. Changes are undone like parentheses: the last rule's first.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from kdns.core.answer import Answer, records
from kdns.plugins.rewrite.names import NameChange, NameMatch, changed_name
from kdns.wire.constants import CNAME, DNAME, MX, NAPTR, NS, PTR, SOA, SRV, TC
from kdns.wire.names import MalformedName, read_name, to_text
from kdns.wire.records import Record

_NAME_OFFSETS = {CNAME: 0, DNAME: 0, NS: 0, PTR: 0, SOA: 0, MX: 2, SRV: 6}
"""Where the first name stands in rdata of a type that ``answer value`` changes; NAPTR has its own rule."""


@dataclass(frozen=True, slots=True)
class OwnerChange:
    """Change the owner of each record."""

    change: NameChange

    def apply(self, answer: Answer) -> Answer:
        """The answer with changed owners."""
        return answer.mapped(self._record)

    def _record(self, record: Record) -> Record:
        owner = changed_name(self.change, record.owner)
        return record if owner is record.owner else record._replace(owner=owner)


@dataclass(frozen=True, slots=True)
class ValueChange:
    """Change the name that a record points to: of CNAME, DNAME, MX, NAPTR, NS, PTR, SRV, and MNAME of SOA."""

    change: NameChange

    def apply(self, answer: Answer) -> Answer:
        """The answer with changed targets."""
        return answer.mapped(self._record)

    def _record(self, record: Record) -> Record:
        offset = _NAME_OFFSETS.get(record.rtype)
        rdata = record.rdata
        if offset is None:
            if record.rtype != NAPTR:
                return record
            offset = 4
            for _ in range(3):
                if offset >= len(rdata):
                    return record
                offset += 1 + rdata[offset]
        try:
            target, end = read_name(rdata, offset)
        except MalformedName:
            return record
        changed = changed_name(self.change, target)
        return record if changed is target else record._replace(rdata=rdata[:offset] + changed + rdata[end:])


@dataclass(frozen=True, slots=True)
class TtlChange:
    """Bring TTLs into a range of seconds."""

    least: int
    most: int

    def apply(self, answer: Answer) -> Answer:
        """The answer with changed TTLs."""
        if self.least == self.most:
            return answer.with_ttl(self.least)
        return answer.mapped(self._record)

    def _record(self, record: Record) -> Record:
        ttl = min(max(record.ttl, self.least), self.most)
        return record if ttl == record.ttl else record._replace(ttl=ttl)


@dataclass(frozen=True, slots=True)
class RcodeChange:
    """Replace one response code by another."""

    old: int
    new: int

    def apply(self, answer: Answer) -> Answer:
        """The answer with the changed code."""
        return replace(answer, rcode=self.new) if answer.rcode == self.old else answer


@dataclass(frozen=True, slots=True)
class CnameChange:
    """Give the first CNAME whose target fits another one; what it leads to must be looked up then."""

    match: NameMatch
    replacement: str

    def found(self, answer: Answer) -> tuple[int, str] | None:
        """Where in the answer section that CNAME stands, and the new target as text."""
        for index, record in enumerate(answer.answer):
            if record.rtype == CNAME and record.rdata:
                target = to_text(record.rdata).lower()
                replaced = self.match.replaced(target, self.replacement)
                if replaced is not None and replaced != target:
                    return index, replaced
        return None

    @staticmethod
    def joined(answer: Answer, index: int, target: bytes, found: Answer) -> Answer:
        """The answer up to its changed CNAME, then what the look-up of the target found."""
        section, authority, additional = answer.sections()
        changed = (*section[:index], section[index]._replace(rdata=target), *found.answer)
        flags = answer.flags & ~TC | found.flags & TC
        return replace(answer, flags=flags, body=records(changed, authority, additional))


ReplyChange = OwnerChange | ValueChange | TtlChange | RcodeChange | CnameChange
