"""Replies from elsewhere that are no honest mistakes: what the client gets must still be a message."""

from __future__ import annotations

import dns.message
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.reply import render_reply
from kdns.wire.constants import QR
from kdns.wire.message import scan
from kdns.wire.query import HEADER, Edns
from tests.support import a_request

QUESTION = b"\x03web\x07example\x00\x00\x01\x00\x01"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"


def an_address(last: int) -> bytes:
    """An address record whose owner points at the question."""
    return b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04" + bytes((192, 0, 2, last))


class SeveralOptTests(SynchronousTestCase):
    """An upstream that sends several OPT records."""

    def relayed(self, counts: tuple[int, int, int], *records: bytes) -> dns.message.Message:
        """What a client with EDNS is told when the upstream sends these records; octets left over are an error."""
        message = scan(HEADER.pack(7, QR, 1, *counts) + QUESTION + b"".join(records))
        request = a_request("web.example.", edns=Edns(1232, 0, 0, b""))
        return dns.message.from_wire(render_reply(request, Answer(body=message)))

    def test_around_a_record(self) -> None:
        """None of them is relayed, not even when one stands where it should."""
        told = self.relayed((1, 0, 3), an_address(1), OPT, an_address(2), OPT)
        self.assertEqual([len(told.answer), len(told.additional), told.edns], [1, 1, 0])

    def test_at_the_end(self) -> None:
        """Two in a row at the end leave nothing behind."""
        told = self.relayed((1, 0, 2), an_address(1), OPT, OPT)
        self.assertEqual([len(told.answer), len(told.additional)], [1, 0])

    def test_among_the_answers(self) -> None:
        """One among the answers is not relayed."""
        told = self.relayed((2, 0, 0), OPT, an_address(1))
        self.assertEqual([str(rrset[0]) for rrset in told.answer], ["192.0.2.1"])
