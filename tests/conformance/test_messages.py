"""Golden messages: octets in, octets out, and where nothing may come out."""

from __future__ import annotations

import json
from typing import Any

import dns.edns
import dns.message
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import FORMERR
from tests.conformance.cases import CASES, deviations
from tests.conformance.world import EPOCH, MemoryWorld

SERIAL = int(EPOCH).to_bytes(4, "big")


class GoldenMessagesTests(SynchronousTestCase):
    """Each message of ``messages.json``, sent to one server."""

    def test_messages(self) -> None:
        """Replies are the golden ones to the octet, but for the SOA serial, which those show as 0."""
        document: Any = json.loads((CASES / "messages.json").read_text(encoding="utf-8"))
        world = MemoryWorld(document["corefile"], (CASES / "cluster.yaml",))
        world.start()
        wrong = []
        for row in document["messages"]:
            reply, _ = world.ask(bytes.fromhex(row["query"]), row["proto"])
            got = None if reply is None else reply.replace(SERIAL, b"\x00\x00\x00\x00").hex()
            deviation = deviations().get(("messages", row["id"]))
            wanted = row["reply"] if deviation is None else deviation.kdns["reply"]
            if got != wanted:
                wrong.append(f"{row['id']}: wanted {wanted}, got {got}")
        self.assertEqual(world.stop(), [])
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
        self.assertGreater(len(document["messages"]), 70)


class CutInsideTheCookieTests(SynchronousTestCase):
    """A query that ends inside its client cookie, asked of a server that has answered the whole query before."""

    def check(self, qname: str, proto: str) -> None:
        """Every cut is FORMERR, before and after the whole query is in the answer table."""
        document: Any = json.loads((CASES / "messages.json").read_text(encoding="utf-8"))
        world = MemoryWorld(document["corefile"], (CASES / "cluster.yaml",))
        world.start()
        cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
        whole = dns.message.make_query(qname, "A", id=7, use_edns=0, options=[cookie]).to_wire()
        rcodes = []
        for _ in range(3):
            for cut in range(9):
                reply, _ = world.ask(whole[: len(whole) - cut], proto)
                assert reply is not None
                rcodes.append(dns.message.from_wire(reply).rcode())
                self.assertEqual(cut == 0, reply.endswith(b"12345678"))
        self.assertEqual(world.stop(), [])
        self.assertEqual(rcodes, [rcodes[0], *[FORMERR] * 8] * 3)

    def test_known_name(self) -> None:
        """A name whose reply is in the answer table."""
        for proto in ("udp", "tcp"):
            self.check("web.prod.svc.cluster.local.", proto)

    def test_unknown_name(self) -> None:
        """A name that does not exist, which is answered from a template."""
        for proto in ("udp", "tcp"):
            self.check("nope.prod.svc.cluster.local.", proto)

    def test_not_a_cookie(self) -> None:
        """What stands where a cookie would stand, and is none, is part of the question: each client gets its own bytes back."""
        document: Any = json.loads((CASES / "messages.json").read_text(encoding="utf-8"))
        world = MemoryWorld(document["corefile"], (CASES / "cluster.yaml",))
        world.start()
        cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"abcdefgh")
        behind = dns.message.make_query(
            "web.prod.svc.cluster.local.", "A", id=7, use_edns=0, options=[cookie]
        ).to_wire()
        for _ in range(3):
            for last in (b"abcdefgh", bytes(8), b"12345678", b"87654321"):
                padding = dns.edns.GenericOption(dns.edns.OptionType.PADDING, b"\x00\x0a\x00\x08" + last)
                query = dns.message.make_query("web.prod.svc.cluster.local.", "A", id=7, use_edns=0, options=[padding])
                reply, _ = world.ask(query.to_wire(), "udp")
                assert reply is not None
                self.assertEqual(reply[-8:], last)
                reply, _ = world.ask(behind + b"\x00\x0a\x00\x08" + last, "udp")
                assert reply is not None
                self.assertEqual(reply[-8:], b"abcdefgh")
        self.assertEqual(world.stop(), [])
