"""Tests of what :mod:`kdns.testing.upstream` answers; dnspython reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kdns.testing.records import parse_record
from kdns.testing.upstream import Action, Entry, FakeUpstream, Truncate
from kdns.testing.upstream.messages import parse_query
from kdns.wire.constants import NXDOMAIN, REFUSED, SERVFAIL
from kdns.wire.names import from_text

GOLDEN = Path(__file__).parent.parent / "conformance" / "cases" / "upstream.json"
SOA = "example.com. 60 IN SOA ns.example.com. admin.example.com. 7 7200 3600 1209600 30"
SERVERS_ALONE = {"silent", "wrong_id"}


def question(name: str, rtype: str = "A", rclass: str = "IN", size: int | None = None, **more: Any) -> bytes:
    """A query in octets; *size* brings an OPT record."""
    query = dns.message.make_query(name, rtype, rclass, id=0x1234)
    query.flags = dns.flags.Flag(more.get("flags", dns.flags.RD))
    if size is not None:
        query.use_edns(0, dns.flags.DO if more.get("do") else 0, size)
    return query.to_wire()


def texts(section: list[Any]) -> list[str]:
    """Records of a section as the file writes them."""
    return [
        f"{rrset.name} {rrset.ttl} {dns.rdataclass.to_text(rrset.rdclass)} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}"
        for rrset in section
        for rdata in rrset
    ]


class GoldenTests(SynchronousTestCase):
    """The file of golden answers, rule by rule."""

    def setUp(self) -> None:
        self.upstream = FakeUpstream.from_json(GOLDEN)

    def ask(self, name: str, *more: Any, transport: str = "udp", **options: Any) -> Any:
        """The last reply to a question, as dnspython reads it."""
        steps = self.upstream.answer(question(name, *more, **options), transport)
        return dns.message.from_wire(steps[-1].message, one_rr_per_rrset=True)

    def test_every_record(self) -> None:
        """Each record of the file is sent as it stands there, to who asks for it, over TCP."""
        checked = 0
        for name, entry in json.loads(GOLDEN.read_bytes())["names"].items():
            if SERVERS_ALONE & set(entry):
                continue
            for text in entry.get("answer", []):
                record = parse_record(text)
                rclass, rtype = text.split()[2:4]
                if record.owner != from_text(name) and not entry.get("always"):
                    rtype = "A"  # behind a CNAME
                reply = self.ask(name, rtype, rclass, transport="tcp")
                self.assertIn(text, texts(reply.answer))
                self.assertEqual(texts(reply.authority), entry.get("authority", []))
                self.assertEqual(texts(reply.additional), entry.get("additional", []))
                checked += 1
        self.assertGreater(checked, 100)

    def test_any(self) -> None:
        """ANY gets all records of the name, in their order."""
        answer = texts(self.ask("www.example.com.", "ANY").answer)
        self.assertEqual([line.split()[3] for line in answer], ["A", "AAAA", "TXT", "MX", "CAA"])

    def test_alias(self) -> None:
        """A chain is followed in order; where it leads to nothing of the type, it is sent alone."""
        reply = self.ask("alias.example.com.")
        self.assertEqual([line.split()[3] for line in texts(reply.answer)], ["CNAME", "A"])
        reply = self.ask("alias.example.com.", "AAAA")
        self.assertEqual(([line.split()[3] for line in texts(reply.answer)], reply.authority), (["CNAME"], []))
        self.assertEqual(len(self.ask("alias.example.com.", "CNAME").answer), 1)
        self.assertEqual(len(self.ask("cname-only.example.com.").answer), 1)

    def test_loop_of_aliases(self) -> None:
        """Aliases that lead in a circle lead to nothing."""
        self.upstream.say("a.test.", "a.test. 1 CNAME b.test.", "b.test. 1 CNAME a.test.")
        self.assertEqual(texts(self.ask("a.test.").answer), [])

    def test_negative(self) -> None:
        """Unknown names do not exist, known ones without a fitting record have no data; each has its SOA record, or its own section."""
        for name, rtype, rcode, authority in (
            ("nowhere.example.com.", "A", "NXDOMAIN", [SOA]),
            ("www.example.com.", "SRV", "NOERROR", [SOA]),
            ("2.1.1.1.in-addr.arpa.", "PTR", "NXDOMAIN", [SOA.replace("example.com.", "in-addr.arpa.", 1)]),
            ("1.ip6.arpa.", "PTR", "NXDOMAIN", [SOA.replace("example.com.", "in-addr.arpa.", 1)]),
            (".", "A", "NOERROR", [SOA]),
            ("nodata-nosoa.example.com.", "A", "NOERROR", []),
            ("nx-nosoa.example.com.", "A", "NXDOMAIN", []),
            ("nx-long.example.com.", "A", "NXDOMAIN", [SOA.replace("60", "7200", 1)]),
            ("fail.example.com.", "A", "SERVFAIL", []),
            ("deleg.example.com.", "A", "NOERROR", ["deleg.example.com. 300 IN NS ns.deleg.example.com."]),
        ):
            reply = self.ask(name, rtype)
            self.assertEqual(dns.rcode.to_text(reply.rcode()), rcode, name)
            self.assertEqual(texts(reply.authority), authority, name)
            self.assertEqual(reply.answer, [])

    def test_flags(self) -> None:
        """RD, CD and the opcode come from the query; others are set and cleared as the entry says."""
        for name, asked, wanted in (
            ("www.example.com.", "RD", "QR RD RA"),
            ("www.example.com.", "", "QR RA"),
            ("www.example.com.", "RD AD CD", "QR RD RA CD"),
            ("auth.example.com.", "RD", "QR AA RD RA"),
            ("norec.example.com.", "RD", "QR RD"),
            ("adflag.example.com.", "RD CD", "QR RD RA AD CD"),
        ):
            reply = self.ask(name, flags=dns.flags.from_text(asked))
            self.assertEqual(dns.flags.to_text(reply.flags), wanted, name)

    def test_edns(self) -> None:
        """A query with OPT gets one of version 0 and 1232 octets with DO as asked; the entry can forbid that."""
        reply = self.ask("www.example.com.", size=4096, do=True)
        self.assertEqual((reply.edns, int(reply.payload), reply.ednsflags), (0, 1232, dns.flags.DO))
        self.assertEqual(self.ask("www.example.com.", size=4096).ednsflags, 0)
        self.assertEqual(self.ask("www.example.com.").edns, -1)
        self.assertEqual(self.ask("noopt.example.com.", size=4096).edns, -1)

    def test_options_are_not_answered(self) -> None:
        """EDNS options of the query are skipped."""
        query = dns.message.make_query("www.example.com.", "A", id=1)
        query.use_edns(0, 0, 1232, options=[dns.edns.GenericOption(dns.edns.OptionType.make(65001), b"x")])
        (step,) = self.upstream.answer(query.to_wire(), "udp")
        self.assertEqual(dns.message.from_wire(step.message).options, ())

    def test_octets(self) -> None:
        """Small replies have no pointers at all: these are the octets."""
        for query, reply in (
            (
                "123407ff000100000000000003777777076578616d706c6503636f6d0000010001",
                "12348190000100010000000003777777076578616d706c6503636f6d0000010001"
                "03777777076578616d706c6503636f6d00000100010000012c0004c0000251",
            ),
            (
                "1234010000010000000000000000010001",
                "1234818000010000000100000000010001076578616d706c6503636f6d00000600010000003c0037026e73076578616d706c"
                "6503636f6d000561646d696e076578616d706c6503636f6d000000000700001c2000000e10001275000000001e",
            ),
            (
                "123424000001000000000000076578616d706c6503636f6d0000060001",
                "1234a0800001000100000000076578616d706c6503636f6d0000060001076578616d706c6503636f6d00000600010000012c"
                "0037026e73076578616d706c6503636f6d000561646d696e076578616d706c6503636f6d000000000700001c2000000e1000"
                "1275000000001e",
            ),
        ):
            (step,) = self.upstream.answer(bytes.fromhex(query), "udp")
            # The first query has the bits AA, TC, RA, Z and AD too, which a reply does not copy.
            self.assertEqual(step.message.hex(), reply)

    def test_spelling(self) -> None:
        """Question and the owners equal to it have the asker's spelling, others their own; an entry can say otherwise."""
        reply = self.ask("WwW.ExAmPlE.cOm.")
        self.assertEqual(texts(reply.answer), ["WwW.ExAmPlE.cOm. 300 IN A 192.0.2.81"])
        self.assertEqual(str(reply.question[0].name), "WwW.ExAmPlE.cOm.")
        self.assertEqual(
            texts(self.ask("ALIAS.example.com.").answer),
            ["ALIAS.example.com. 120 IN CNAME api.example.com.", "api.example.com. 300 IN A 192.0.2.80"],
        )
        reply = self.ask("LoWeR.example.com.")
        self.assertEqual(str(reply.question[0].name), "lower.example.com.")
        self.assertEqual(texts(reply.answer), ["lower.example.com. 300 IN A 192.0.2.102"])

    def test_wrong_question(self) -> None:
        """A reply can be about another name."""
        reply = self.ask("lame.example.com.")
        self.assertEqual(str(reply.question[0].name), "other.example.com.")
        self.assertEqual(texts(reply.answer), ["other.example.com. 300 IN A 192.0.2.101"])

    def test_size(self) -> None:
        """Too much for a datagram: owners are compressed; still too much: TC and nothing. Over TCP all is sent, names written out."""
        for size, count, octets in ((None, 0, 33), (512, 0, 44), (600, 0, 44), (1232, 60, 1004), (4096, 60, 1904)):
            (step,) = self.upstream.answer(question("big.example.com.", size=size), "udp")
            reply = dns.message.from_wire(step.message, one_rr_per_rrset=True)
            self.assertEqual(
                (len(reply.answer), len(step.message), bool(reply.flags & dns.flags.TC)),
                (count, octets, not count),
            )
        (step,) = self.upstream.answer(question("big.example.com."), "tcp")
        self.assertEqual(len(step.message), 1893)
        self.assertEqual(len(self.ask("big.example.com.", size=100).answer), 0)

    def test_truncated_on_purpose(self) -> None:
        """A reply over UDP can be cut on purpose, to nothing or to half; over TCP it is whole."""
        for name, cut, whole in (("tc.example.com.", 0, 1), ("tcpart.example.com.", 2, 4)):
            reply = self.ask(name)
            self.assertEqual((len(reply.answer), bool(reply.flags & dns.flags.TC)), (cut, True))
            reply = self.ask(name, transport="tcp")
            self.assertEqual((len(reply.answer), bool(reply.flags & dns.flags.TC)), (whole, False))

    def test_counter(self) -> None:
        """A counting entry tells how often its name has been asked for, over all transports and in any spelling."""
        self.ask("seq.example.com.")
        self.ask("SEQ.example.com.", transport="tcp")
        self.assertEqual(texts(self.ask("seq.example.com.").answer), ["seq.example.com. 300 IN A 192.0.2.3"])
        self.assertEqual(texts(self.ask("seqshort.example.com.").answer), ["seqshort.example.com. 1 IN A 192.0.2.1"])

    def test_silent_late_and_wrong_ids(self) -> None:
        """Silence, delay, a wrong id, and a wrong id before the right one."""
        self.assertEqual(self.upstream.answer(question("silent.example.com."), "udp"), [])
        (step,) = self.upstream.answer(question("slow.example.com."), "udp")
        self.assertEqual(step.delay, 0.6)
        self.assertEqual(self.ask("wrongid.example.com.").id, 0x1235)
        first, second = (
            dns.message.from_wire(step.message)
            for step in self.upstream.answer(question("wrongid-then-right.example.com."), "udp")
        )
        self.assertEqual((first.id, second.id), (0x1235, 0x1234))
        self.assertEqual(texts(first.answer), ["wrongid-then-right.example.com. 300 IN A 192.0.2.66"])
        self.assertEqual(texts(second.answer), ["wrongid-then-right.example.com. 300 IN A 192.0.2.100"])

    def test_unknown_keys(self) -> None:
        """A file that wants something unknown is refused."""
        document = json.loads(GOLDEN.read_bytes())
        document["names"]["www.example.com."]["mood"] = "bad"
        with self.assertRaises(msgspec.ValidationError):
            FakeUpstream.from_json(json.dumps(document).encode())
        document["names"]["www.example.com."] = {"rcode": "FINE"}
        with self.assertRaises(ValueError):
            FakeUpstream.from_json(json.dumps(document).encode())


class ProgrammedTests(SynchronousTestCase):
    """What a test says to the resolver."""

    def setUp(self) -> None:
        self.upstream = FakeUpstream()
        self.upstream.say("web.test.", "web.test. 30 A 10.0.0.1")

    def ask(self, name: str = "web.test.", transport: str = "udp") -> list[Any]:
        """What is done about a question."""
        return self.upstream.answer(question(name), transport)

    def rcodes(self, transport: str = "udp") -> list[int]:
        """The rcodes of the replies."""
        return [dns.message.from_wire(step.message).rcode() for step in self.ask(transport=transport)]

    def test_plan(self) -> None:
        """The next queries of a name are treated as planned, one by one; the others as before."""
        self.upstream.plan("web.test.", Entry(silent=True), Entry(rcode=SERVFAIL))
        self.assertEqual([self.rcodes() for _ in range(3)], [[], [SERVFAIL], [0]])

    def test_everywhere(self) -> None:
        """All names can be treated alike over some transports or all, until that is taken back."""
        self.upstream.say_everywhere(Entry(rcode=REFUSED), "tcp")
        self.assertEqual((self.rcodes("tcp"), self.rcodes("udp")), ([REFUSED], [0]))
        self.upstream.say_everywhere(Entry(silent=True))
        self.assertEqual((self.rcodes("tcp"), self.rcodes("udp"), self.rcodes("tls")), ([], [], []))
        self.upstream.say_everywhere(None)
        self.assertEqual((self.rcodes("tcp"), self.rcodes("udp")), ([0], [0]))

    def test_rcode(self) -> None:
        """Any rcode can be said, the extended ones with EDNS."""
        self.upstream.say("web.test.", entry=Entry(rcode=23))
        (step,) = self.upstream.answer(question("web.test.", size=1232), "udp")
        self.assertEqual(dns.message.from_wire(step.message).rcode(), 23)

    def test_copies_and_garbage(self) -> None:
        """Replies can come several times, or be anything."""
        self.upstream.say("web.test.", "web.test. 30 A 10.0.0.1", entry=Entry(copies=3, delay=0.5))
        steps = self.ask()
        self.assertEqual((len(steps), len(set(steps)), steps[0].delay), (3, 1, 0.5))
        self.upstream.say("web.test.", entry=Entry(garbage=b"\x12\x34garbage"))
        self.assertEqual([step.message for step in self.ask()], [b"\x12\x34garbage"])

    def test_huge(self) -> None:
        """A reply can be larger than the asker takes, and is still well formed."""
        self.upstream.say("web.test.", "web.test. 30 A 10.0.0.1", entry=Entry(huge=9000))
        (step,) = self.ask()
        self.assertGreater(len(step.message), 9000)
        self.assertGreater(len(dns.message.from_wire(step.message, one_rr_per_rrset=True).answer), 40)

    def test_deeds(self) -> None:
        """What is not a reply is told to the server: octets from elsewhere, the query itself, or none."""
        for action, message in ((Action.ASK_BACK, question("web.test.")), (Action.HANG_UP, b"")):
            self.upstream.say("web.test.", entry=Entry(action=action, delay=1.0))
            self.assertEqual(self.ask(), [(1.0, message, action)])
        self.upstream.say("web.test.", entry=Entry(action=Action.SEND_FROM_ELSEWHERE, rcode=NXDOMAIN))
        self.assertEqual([step.action for step in self.ask()], [Action.SEND_FROM_ELSEWHERE])

    def test_truncate_program(self) -> None:
        """A programmed entry can be cut too."""
        self.upstream.say("web.test.", "web.test. 30 A 10.0.0.1", entry=Entry(truncate=Truncate.NOTHING))
        (step,) = self.ask()
        self.assertTrue(dns.message.from_wire(step.message).flags & dns.flags.TC)

    def test_counts_and_log(self) -> None:
        """Queries are counted by name and transport, and kept as they came."""
        self.ask("Web.Test.")
        self.ask("other.test.", "tcp")
        self.ask("web.test.", "tcp")
        self.assertEqual(self.upstream.asked(), 3)
        self.assertEqual(self.upstream.asked("web.test."), 2)
        self.assertEqual(self.upstream.asked(transport="tcp"), 2)
        self.assertEqual(self.upstream.asked("WEB.test.", "tcp"), 1)
        first = self.upstream.received[0]
        self.assertEqual(first, ("udp", question("Web.Test."), from_text("web.test."), 1))

    def test_unreadable(self) -> None:
        """What is no query is kept, and not answered."""
        for octets in (b"", b"\x00" * 11, question("a.")[:-1], b"\x12\x34\x81" + question("a.")[3:]):
            self.assertEqual(self.upstream.answer(octets, "udp"), [])
            self.assertIs(parse_query(octets), None)
        self.assertEqual([(received.qname, received.qtype) for received in self.upstream.received], [(None, 0)] * 4)
        self.assertEqual(self.upstream.asked(), 0)
