"""The clients that people use, against a kdns in a process of its own on loopback."""

from __future__ import annotations

import atexit
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import ClassVar

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.resolver
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.fuzzing import LiveServer

TIMEOUT = 30.0
"""Seconds for a program that takes less than one."""

WEB = "web.prod.svc.cluster.local"
BIG = "big.edge.svc.cluster.local"
"""A headless service with more addresses than 512 octets hold."""


def run(*command: str, text: str = "") -> str:
    """Run a program and return what it says."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


@cache
def shared_server() -> LiveServer:
    """The one server that all tests ask; it ends with this process."""
    server = LiveServer().__enter__()
    atexit.register(server.__exit__, None, None, None)
    return server


class ClientCase(SynchronousTestCase):
    """Asks the shared server."""

    program: ClassVar[str] = ""
    """The program that is needed."""

    def setUp(self) -> None:
        if self.program and shutil.which(self.program) is None:
            raise SkipTest(f"{self.program} is not installed")
        self.server = shared_server()
        self.addCleanup(self.look)

    def look(self) -> None:
        """The server still answers, and there is nothing to complain of."""
        self.server.check_alive()
        complaints, self.server.complaints = self.server.complaints, []
        self.assertEqual(complaints, [])

    @property
    def port(self) -> str:
        """The server's port."""
        return str(self.server.port)


class DigTests(ClientCase):
    """BIND's dig."""

    program = "dig"

    def dig(self, *words: str) -> str:
        """What dig says."""
        return run("dig", "@127.0.0.1", "-p", self.port, "+tries=1", *words)

    def test_short(self) -> None:
        """Addresses, ports, names of addresses, over UDP and TCP."""
        self.assertEqual(self.dig("+short", WEB, "A"), "10.96.10.1\n")
        self.assertEqual(self.dig("+short", "+tcp", WEB, "A"), "10.96.10.1\n")
        self.assertEqual(self.dig("+short", "-x", "10.96.10.1"), f"{WEB}.\n")
        self.assertIn(f" 80 {WEB}.", self.dig("+short", f"_http._tcp.{WEB}", "SRV"))

    def test_whole(self) -> None:
        """No complaint about the message, EDNS and cookie included."""
        found = self.dig("+norec", "+nsid", "+subnet=10.0.0.0/8", WEB, "A")
        self.assertIn("status: NOERROR", found)
        self.assertIn("; COOKIE: ", found)
        found = found.replace(";; WARNING: .local is reserved for Multicast DNS", "")  # dig says so of any cluster
        for complaint in ("WARNING", "Malformed", "malformed", "extra bytes", "mismatch"):
            self.assertNotIn(complaint, found)

    def test_truncated(self) -> None:
        """What is too big for 512 octets is asked again over TCP."""
        plain = self.dig("+noedns", "+ignore", BIG, "A")
        self.assertRegex(plain, r"flags: qr aa tc rd")
        whole = self.dig("+noedns", BIG, "A")
        self.assertIn("retrying in TCP mode", whole)
        self.assertGreater(whole.count("\tA\t"), plain.count("\tA\t"))

    def test_negative(self) -> None:
        """NXDOMAIN and NODATA come with the SOA."""
        for name, qtype, status in (("nope.prod.svc.cluster.local", "A", "NXDOMAIN"), (WEB, "MX", "NOERROR")):
            found = self.dig(name, qtype)
            self.assertIn(f"status: {status}", found)
            self.assertRegex(found, r"cluster\.local\.\s+\d+\s+IN\s+SOA\s+ns\.dns\.cluster\.local\.")

    def test_version(self) -> None:
        """dig finds out that version 1 of EDNS is not understood, and asks again."""
        self.assertIn("BADVERS", self.dig("+edns=1", "+noednsneg", WEB, "A"))
        self.assertIn("10.96.10.1", self.dig("+edns=1", WEB, "A"))

    def test_on_one_connection(self) -> None:
        """Several questions on one connection."""
        found = self.dig("+tcp", "+keepopen", "+short", WEB, "A", BIG, "A", WEB, "AAAA", WEB, "A")
        self.assertEqual(found.count("10.96.10.1\n"), 2)


class KdigTests(ClientCase):
    """Knot's kdig."""

    program = "kdig"

    def kdig(self, *words: str) -> str:
        """What kdig says."""
        return run("kdig", "@127.0.0.1", "-p", self.port, "+retry=0", *words)

    def test_answers(self) -> None:
        """Over UDP and TCP, with padding, cookie and DO, and no complaint."""
        for words in (["+notcp"], ["+tcp"], ["+padding=64", "+cookie", "+dnssec"], ["+bufsize=4096"]):
            found = self.kdig(*words, WEB, "A")
            self.assertIn("status: NOERROR", found)
            self.assertIn("10.96.10.1", found)
            for complaint in ("WARNING", ";; ERROR", "malformed"):
                self.assertNotIn(complaint, found)

    def test_on_one_connection(self) -> None:
        """Several questions on one connection."""
        found = self.kdig("+tcp", "+keepopen", "+short", WEB, "A", WEB, "A")
        self.assertEqual(found.count("10.96.10.1"), 2)


class DnsperfTests(ClientCase):
    """dnsperf, for a second."""

    program = "dnsperf"

    def perf(self, *words: str) -> str:
        """What dnsperf says about some names, asked again and again."""
        names = Path(self.mktemp())
        names.write_text(f"{WEB} A\n{BIG} A\nnope.prod.svc.cluster.local A\n1.10.96.10.in-addr.arpa PTR\n{WEB} AAAA\n")
        return run("dnsperf", "-s", "127.0.0.1", "-p", self.port, "-d", str(names), "-l", "1", "-Q", "2000", *words)

    def check(self, found: str) -> None:
        """Everything was answered, and as it should be."""
        sent, completed = (int(match) for match in re.findall(r"Queries (?:sent|completed):\s+(\d+)", found))
        self.assertGreater(sent, 500)
        self.assertEqual(completed, sent)
        codes = re.search(r"Response codes:\s+(.*)", found)
        assert codes is not None, found
        self.assertEqual({word.split()[0] for word in codes[1].split(", ")}, {"NOERROR", "NXDOMAIN"})

    def test_udp(self) -> None:
        """Over UDP, none is lost."""
        self.check(self.perf("-q", "50"))

    def test_tcp(self) -> None:
        """Over TCP, many on a connection."""
        self.check(self.perf("-m", "tcp", "-q", "50", "-c", "4"))


class DnspythonTests(ClientCase):
    """dnspython's resolver and messages."""

    def test_resolver(self) -> None:
        """A stub resolver with a search list, as pods have it."""
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], self.server.port
        resolver.search = [dns.name.from_text(name) for name in ("prod.svc.cluster.local", "svc.cluster.local")]
        resolver.ndots = 5
        for tcp in (False, True):
            answer = resolver.resolve("web", "A", search=True, tcp=tcp)
            self.assertEqual([str(rdata) for rdata in answer], ["10.96.10.1"])
            self.assertEqual(str(answer.canonical_name), f"{WEB}.")
        self.assertRaises(dns.resolver.NXDOMAIN, resolver.resolve, f"nope.{WEB}.", "A")
        self.assertRaises(dns.resolver.NoAnswer, resolver.resolve, f"{WEB}.", "MX")

    def test_fallback(self) -> None:
        """A truncated reply is asked for again over TCP."""
        query = dns.message.make_query(BIG, "A")
        reply, over_tcp = dns.query.udp_with_fallback(query, "127.0.0.1", TIMEOUT, self.server.port)
        self.assertTrue(over_tcp)
        self.assertGreater(len(reply.answer[0]), 50)
        self.assertFalse(reply.flags & dns.flags.TC)

    def test_random_case(self) -> None:
        """The question comes back as it was spelled."""
        query = dns.message.make_query("wEb.PrOd.SvC.cLuStEr.LoCaL.", "A")
        reply = dns.query.udp(query, "127.0.0.1", TIMEOUT, self.server.port)
        self.assertEqual(str(reply.question[0].name), "wEb.PrOd.SvC.cLuStEr.LoCaL.")
        self.assertEqual(reply.rcode(), dns.rcode.NOERROR)
