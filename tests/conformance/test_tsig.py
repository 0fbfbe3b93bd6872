"""The golden cases of ``tsig``: signed with dnspython, and checked by it."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.wire
from dns.rdtypes.ANY.TSIG import TSIG
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.cases import CASES, deviations
from tests.conformance.client import IDENT, query, tell
from tests.conformance.world import MemoryWorld, placed
from tests.encrypted import Client, connect

OVER_UDP = ("big-udp", "big-udp-unsigned", "axfr-udp-signed")
"""Cases whose replies are others over TCP. All that are asked over UDP are asked over TCP, too."""

SECRET = "NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk="


def split(message: bytes) -> tuple[bytes, dns.name.Name, Any]:
    """A message without its last record, and that record's owner and rdata, read by dnspython."""
    parser = dns.wire.Parser(message, 4)
    counts = [parser.get_uint16() for _ in range(4)]
    for _ in range(counts[0]):
        parser.get_name(decompress=True)
        parser.get_bytes(4)
    start, owner, rdata = 0, dns.name.root, None
    for _ in range(sum(counts[1:])):
        start = parser.current
        owner = parser.get_name(decompress=True)
        rtype, rclass, _, length = parser.get_struct("!HHIH")
        with parser.restrict_to(length):
            rdata = dns.rdata.from_wire_parser(
                dns.rdataclass.RdataClass(rclass), dns.rdatatype.RdataType(rtype), parser
            )
        if rtype == dns.rdatatype.TSIG:
            break
    if rdata is None or rdata.rdtype != dns.rdatatype.TSIG:
        return message, owner, None
    without = message[:10] + (counts[3] - 1).to_bytes(2, "big") + message[12:start]
    return without, owner, rdata


class TsigTests(SynchronousTestCase):
    """A server for each file."""

    maxDiff = None

    def signed(self, case: Any, now: int) -> tuple[bytes, bytes]:
        """The query of a case, signed as it says, and the MAC."""
        message = query(case)
        asked = case.get("tsig")
        if asked is None:
            return message, b""
        name = dns.name.from_text(asked["key"])
        algorithm = dns.name.from_text(asked.get("algorithm", "hmac-sha256."))
        key = dns.tsig.Key(name, asked.get("secret", SECRET), algorithm)
        when = now + asked.get("time_off", 0)
        fudge = asked.get("fudge", 300)
        rdata: Any = TSIG(dns.rdataclass.ANY, dns.rdatatype.TSIG, algorithm, when, fudge, b"", IDENT, 0, b"")
        try:
            rdata, _ = dns.tsig.sign(message, key, rdata, when)
        except NotImplementedError:
            rdata = rdata.replace(mac=bytes(32))
        if asked.get("bad_mac"):
            rdata = rdata.replace(mac=bytes([rdata.mac[0] ^ 1]) + rdata.mac[1:])
        if "truncate_mac" in asked:
            rdata = rdata.replace(mac=rdata.mac[: asked["truncate_mac"]])
        record = (name.to_wire() or b"") + b"\x00\xfa\x00\xff\x00\x00\x00\x00"
        body = rdata.to_wire(origin=dns.name.root)
        count = int.from_bytes(message[10:12], "big") + 1
        signed = message[:10] + count.to_bytes(2, "big") + message[12:] + record + len(body).to_bytes(2, "big") + body
        return signed, rdata.mac

    def told(self, reply: bytes, case: Any, state: dict[str, Any], now: int) -> dict[str, Any]:
        """A reply in the words of the files."""
        without, owner, rdata = split(reply)
        told = tell(without)
        found = dict(told.expect)
        found["tsig"] = None
        if rdata is None:
            return found
        asked = case["tsig"]
        key = dns.tsig.Key(owner, b64decode(asked.get("secret", SECRET)), rdata.algorithm)
        good, timers_only = False, state["count"] > 0
        try:
            context = dns.tsig._digest(without, key, rdata, None, state["mac"], state.get("context"), timers_only)
            context.verify(rdata.mac)
            good = True
        except (dns.exception.DNSException, NotImplementedError):
            pass
        if case["qtype"] == "AXFR" and good:
            state["context"] = dns.tsig._maybe_start_digest(key, rdata.mac, True)
        state["count"] += 1
        when = "now" if rdata.time_signed == now else "0" if rdata.time_signed == 0 else "client's"
        other = "server time" if rdata.other == now.to_bytes(6, "big") else rdata.other.hex()
        found["tsig"] = {
            "key": str(owner), "algorithm": str(rdata.algorithm), "class": 255, "ttl": 0, "fudge": rdata.fudge,
            "error": int(rdata.error), "mac_length": len(rdata.mac), "mac_good": good,
            "original_id_is_query_id": rdata.original_id == IDENT, "time": when, "other_data": other,
        }  # fmt: skip
        if timers_only:
            found["tsig"]["timers_only"] = True
        return found

    def asked(self, world: MemoryWorld, message: bytes, case: Any) -> list[bytes]:
        """All messages of the reply."""
        if case["proto"] == "udp":
            reply, _ = world.ask(message)
            return [] if reply is None else [reply]
        client = Client()
        connect(world.reactor, 1053, client)
        client.send_messages(message)
        world.reactor.advance(1.0)
        client.transport.abortConnection()
        world.reactor.settle()
        return client.messages

    def whole(self, messages: list[dict[str, Any]], counts: list[int]) -> Any:
        """A transfer: its records, its first message and the others; kdns makes smaller messages, and more of them."""
        bare = [{key: value for key, value in message.items() if key != "answer"} for message in messages]
        self.assertEqual([one for one in bare[1:] if one != bare[1]], [])
        return sum(counts), bare[:2]

    def check(self, name: str) -> None:
        """Ask all cases of a file."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        document: Any = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))
        world = MemoryWorld(placed(document["corefile"], document["files"], folder))
        world.start()
        wrong = []
        cases = document["cases"]
        again = [{**case, "proto": "tcp"} for case in cases if case["proto"] == "udp" and case["id"] not in OVER_UDP]
        for case in (*cases, *again):
            deviation = deviations().get((name, case["id"]))
            wanted = case["expect"] if deviation is None else dict(deviation.kdns)
            # Time of the reactor moves while a reply is waited for, so seconds are whole at the beginning.
            now = int(world.reactor.seconds()) + 1
            world.reactor.advance(now - world.reactor.seconds())
            message, mac = self.signed(case, now)
            state: dict[str, Any] = {"count": 0, "mac": mac}
            replies = [self.told(reply, case, state, now) for reply in self.asked(world, message, case)]
            found: Any
            if "messages" in wanted:
                sent = wanted["messages"]
                wanted = self.whole(sent, [int(one["answer"][0].split()[0]) for one in sent])
                found = self.whole(replies, [len(reply["answer"]) for reply in replies])
            else:
                found = replies[0] if replies else {"no_reply": True}
            if found != wanted:
                wrong.append(f"{name}/{case['id']}: wanted {wanted}\n got {found}")
        self.assertEqual(world.stop(), [])
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    def test_require_all(self) -> None:
        """Everything must be signed."""
        self.check("tsig-require-all")

    def test_require_axfr(self) -> None:
        """Transfers must be signed."""
        self.check("tsig-require-axfr")

    def test_big_transfer(self) -> None:
        """Each message of a transfer is signed."""
        self.check("tsig-big-transfer")
