# -*- test-case-name: tests.plugins.forward.test_cores -*-
"""
Whether some octets are the reply to a query: a core module of *forward*.

Who forges a reply must guess port, identifier and question; so each is compared, and the wait goes on when one is wrong
(RFC 5452 section 9.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kdns.wire.constants import IN, NOERROR, NS, QR, RCODE_MASK, RD
from kdns.wire.message import MalformedMessage, Relayed, scan
from kdns.wire.query import HEADER


class Verdict(Enum):
    """What some octets are to a query; the value is the label where it is counted as ignored."""

    REPLY = "reply"
    """The reply."""

    ERROR_ONLY = "error"
    """An error without a question, as servers send that could not read the query."""

    OTHER_IDENT = "id"
    """The reply to something else."""

    OTHER_QUESTION = "question"
    """A reply with the right identifier to a question nobody asked here."""

    MALFORMED = "malformed"
    """No reply at all."""


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A question under way.

    :ivar qname: lower case.
    """

    ident: int
    qname: bytes
    qtype: int
    qclass: int

    def judge(self, message: bytes) -> tuple[Verdict, Relayed | None]:
        """What *message* is, and the message scanned if it is a reply."""
        if len(message) < 12:
            return Verdict.MALFORMED, None
        if message[0] << 8 | message[1] != self.ident:
            return Verdict.OTHER_IDENT, None
        try:
            relayed = scan(message)
        except MalformedMessage:
            return Verdict.MALFORMED, None
        question = relayed.question
        if question is None:
            if relayed.flags & RCODE_MASK != NOERROR:
                return Verdict.ERROR_ONLY, relayed
            return Verdict.OTHER_QUESTION, None
        name, qtype, qclass = question
        # Without case: a server may spell the name in its own way (RFC 1035 section 2.3.3).
        if qtype != self.qtype or qclass != self.qclass or name.lower() != self.qname:
            return Verdict.OTHER_QUESTION, None
        return Verdict.REPLY, relayed


def check_query(ident: int, domain: bytes, recursion: bool) -> bytes:
    """The message of a health check: who serves *domain*?"""
    question = domain + NS.to_bytes(2, "big") + IN.to_bytes(2, "big")
    return HEADER.pack(ident, RD if recursion else 0, 1, 0, 0, 0) + question


def answers_check(ident: int, message: bytes) -> bool:
    """Whether *message* is a DNS reply to the check, be it an error."""
    return len(message) >= 12 and message[0] << 8 | message[1] == ident and bool(message[2] << 8 & QR)
