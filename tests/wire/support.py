# -*- test-case-name: tests.wire -*-
"""What tests of the codec share: names and records as hypothesis draws them, and the same in the words of dnspython."""

from __future__ import annotations

import dns.message
import dns.rdata
import dns.rrset
from hypothesis import settings
from hypothesis import strategies as st

from kdns.wire.constants import AAAA, CNAME, IN, MX, NS, PTR, SOA, SRV, TXT, A
from kdns.wire.names import MAX_NAME, from_labels
from kdns.wire.records import Record

REPEATABLE = settings(max_examples=60, deadline=None, derandomize=True)
"""The same examples in every run; tests/fuzz.py is where others are looked for."""

labels = st.binary(min_size=1, max_size=63)
short_labels = st.sampled_from([b"web", b"WEB", b"prod", b"svc", b"cluster", b"local", b"a.b", b"\x00\xff", b"x" * 63])


def names(label: st.SearchStrategy[bytes] = short_labels) -> st.SearchStrategy[bytes]:
    """Names in wire form."""
    fitting = st.lists(label, max_size=6).filter(lambda parts: sum(len(part) + 1 for part in parts) < MAX_NAME)
    return fitting.map(from_labels)


def rdata_of(rtype: int) -> st.SearchStrategy[bytes]:
    """Rdata of a type, uncompressed."""
    if rtype in (CNAME, NS, PTR):
        return names()
    if rtype == SRV:
        return st.tuples(st.binary(min_size=6, max_size=6), names()).map(b"".join)
    if rtype == MX:
        return st.tuples(st.binary(min_size=2, max_size=2), names()).map(b"".join)
    if rtype == SOA:
        return st.tuples(names(), names(), st.binary(min_size=20, max_size=20)).map(b"".join)
    if rtype == A:
        return st.binary(min_size=4, max_size=4)
    if rtype == AAAA:
        return st.binary(min_size=16, max_size=16)
    if rtype == TXT:
        strings = st.lists(st.binary(max_size=255), min_size=1, max_size=3)
        return strings.map(lambda texts: b"".join(bytes((len(text),)) + text for text in texts))
    return st.binary(max_size=40)


UNKNOWN = 65280

records = st.sampled_from([A, AAAA, NS, CNAME, PTR, SRV, MX, SOA, TXT, UNKNOWN]).flatmap(
    lambda rtype: st.builds(
        Record, names(), st.just(rtype), st.just(IN), st.integers(min_value=0, max_value=2**31 - 1), rdata_of(rtype)
    )
)

sections = st.tuples(st.lists(records, max_size=6), st.lists(records, max_size=3), st.lists(records, max_size=4))


def decoded(message: bytes) -> tuple[list[Record], list[Record], list[Record]]:
    """The records of a message as dnspython reads it, without the OPT."""
    read = dns.message.from_wire(message, one_rr_per_rrset=True)
    return _records(read.answer), _records(read.authority), _records(read.additional)


def _records(rrsets: list[dns.rrset.RRset]) -> list[Record]:
    found = []
    for rrset in rrsets:
        for rdata in rrset:
            found.append(
                Record(
                    rrset.name.to_wire() or b"",
                    int(rrset.rdtype),
                    int(rrset.rdclass),
                    rrset.ttl,
                    rdata.to_wire() or b"",
                )
            )
    return found
