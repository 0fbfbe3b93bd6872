"""Tests of :mod:`kdns.plugins.forward.config` and of the start with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugin.seam import BlockBuilder, ServerContext
from kdns.plugins.forward import Carrier, HealthCheck, NamedTarget, Stanza, Target, directive
from kdns.plugins.forward.config import DohMethod, TlsFiles
from kdns.plugins.forward.policy import Policy
from kdns.testing.memory import MemoryReactor
from kdns.wire.constants import NXDOMAIN, REFUSED, SERVFAIL
from kdns.wire.names import ROOT, from_text
from tests.conformance.support import StartCase, start_cases
from tests.support import blocks_of, parsed

ONE = (Target("10.0.0.1"),)


def stanza(options: str = "", line: str = ". 10.0.0.1") -> Stanza:
    """The stanza of ``forward LINE { OPTIONS }``."""
    block = f" {{\n{options}\n}}" if options else ""
    (made,) = parsed(directive, f". {{\nforward {line}{block}\n}}\n")
    assert isinstance(made, Stanza)
    return made


class OptionTests(SynchronousTestCase):
    """Each option, and what it leaves in the stanza."""

    def test_defaults(self) -> None:
        """Without options everything is as the page says."""
        made = stanza()
        self.assertEqual(made, Stanza(ONE))
        self.assertEqual((made.origin, made.expire, made.read_timeout, made.max_fails), (ROOT, 10.0, 2.0, 2))
        self.assertEqual((made.health_check, made.policy), (HealthCheck(0.5, True, ROOT), Policy.RANDOM))

    def test_options(self) -> None:
        """One row for each form of each option."""
        for text, wanted in (
            (
                "except A.example.com b.example.com.",
                {"excepted": (from_text("a.example.com"), from_text("b.example.com"))},
            ),
            ("except a\nexcept b", {"excepted": (b"\x01a\x00", b"\x01b\x00")}),
            ("force_tcp", {"force_tcp": True}),
            ("prefer_udp", {"prefer_udp": True}),
            ("expire 20s", {"expire": 20.0}),
            ("max_age 1m", {"max_age": 60.0}),
            ("max_idle_conns 4", {"max_idle_conns": 4}),
            ("read_timeout 500ms", {"read_timeout": 0.5}),
            ("max_fails 0", {"max_fails": 0}),
            ("max_connect_attempts 0", {"max_connect_attempts": 0}),
            ("max_connect_attempts 7", {"max_connect_attempts": 7}),
            ("health_check 3s", {"health_check": HealthCheck(3.0)}),
            ("health_check 3s no_rec", {"health_check": HealthCheck(3.0, False)}),
            (
                "health_check 1s domain Example.org no_rec",
                {"health_check": HealthCheck(1.0, False, from_text("example.org"))},
            ),
            ("policy round_robin", {"policy": Policy.ROUND_ROBIN}),
            ("policy sequential", {"policy": Policy.SEQUENTIAL}),
            ("policy random", {}),
            ("max_concurrent 1000", {"max_concurrent": 1000}),
            ("next NXDOMAIN refused", {"next_rcodes": frozenset({NXDOMAIN, REFUSED})}),
            ("next_on_nodata", {"next_on_nodata": True}),
            ("failover ServFail REFUSED", {"failover": frozenset({SERVFAIL, REFUSED})}),
            ("failfast_all_unhealthy_upstreams", {"failfast": True}),
            ("tls", {}),
            ("tls ca.pem", {"tls": TlsFiles(authority="ca.pem")}),
            ("tls cert.pem key.pem", {"tls": TlsFiles("cert.pem", "key.pem")}),
            ("tls cert.pem key.pem ca.pem", {"tls": TlsFiles("cert.pem", "key.pem", "ca.pem")}),
            ("tls_servername dns.example.com", {"tls_servername": "dns.example.com"}),
            ("doh_method GET", {"doh_method": DohMethod.GET}),
            ("source_address 10.0.0.9", {"source_address": "10.0.0.9"}),
            ("resolver 10.0.0.3 [::1]:5353", {"resolver": (Target("10.0.0.3"), Target("::1", 5353))}),
        ):
            fields: dict[str, Any] = dict(wanted)
            self.assertEqual(stanza(text), Stanza(ONE, **fields), text)

    def test_errors(self) -> None:
        """What an option refuses, with the text."""
        for text, wanted in (
            ("max_idle_conns -1", "max_idle_conns can't be negative: -1"),
            ("read_timeout 0", "read_timeout must be positive: 0s"),
            ("read_timeout -1s", "read_timeout can't be negative: -1s"),
            ("health_check -1s", "health_check can't be negative: -1s"),
            ("health_check 1s frob", "health_check: unknown option frob"),
            ("health_check 1s domain a..b", "health_check: invalid domain name a..b"),
            ("except a..b", "unable to normalize 'a..b'"),
            ("doh_method PUT", "doh_method must be GET or POST, found 'PUT'"),
            ("source_address here", "source_address is no IP address: 'here'"),
            ("resolver dns.example.com", "resolver is no IP address: 'dns.example.com'"),
            ("resolver tls://10.0.0.1", "resolver is no IP address: 'tls://10.0.0.1'"),
        ):
            error = self.assertRaises(CorefileError, stanza, text)
            self.assertEqual(str(error), f"plugin/forward: {wanted}")

    def test_counts_of_arguments(self) -> None:
        """Too few and too many words are refused."""
        for text in (
            "except",
            "force_tcp now",
            "prefer_udp now",
            "expire",
            "expire 1s 2s",
            "policy",
            "next",
            "failover",
            "next_on_nodata x",
            "failfast_all_unhealthy_upstreams x",
            "tls a b c d",
            "tls_servername",
            "health_check",
            "health_check 1s domain",
            "resolver",
            "source_address",
        ):
            error = self.assertRaises(CorefileError, stanza, text)
            self.assertIn("Wrong argument count or unexpected line ending after", str(error), text)

    def test_unknown_option_has_a_hint(self) -> None:
        """A slip of the pen is recognised."""
        error = self.assertRaises(CorefileError, stanza, "max_fail 3")
        self.assertEqual(error.hint, "did you mean 'max_fails'?")

    def test_from(self) -> None:
        """FROM is a zone or a network, of which the first zone counts."""
        self.assertEqual(stanza(line="Example.COM 10.0.0.1").origin, from_text("example.com"))
        self.assertEqual(stanza(line="10.0.0.0/24 10.0.0.1").origin, from_text("0.0.10.in-addr.arpa"))
        self.assertEqual(stanza(line="10.0.0.0/15 10.0.0.1").origin, from_text("0.10.in-addr.arpa"))

    def test_several_stanzas(self) -> None:
        """They come in file order."""
        made = parsed(directive, ". {\nforward a 10.0.0.1\nforward b 10.0.0.2\n}\n")
        self.assertEqual([one.origin for one in made], [b"\x01a\x00", b"\x01b\x00"])

    def test_to(self) -> None:
        """The forms of a TO; each is taken once."""
        made = stanza(
            line=". dns://10.0.0.1 10.0.0.1:53 tls://9.9.9.9%dns.example https://1.1.1.1 resolv.conf tls://name"
        )
        self.assertEqual(
            made.to,
            (
                Target("10.0.0.1"),
                Target("9.9.9.9", 853, Carrier.TLS, "dns.example"),
                Target("1.1.1.1", 443, Carrier.HTTPS),
                NamedTarget("resolv.conf", 53),
                NamedTarget("name", 853, Carrier.TLS),
            ),
        )

    def test_takes(self) -> None:
        """Names at and below the zone, without the exceptions; the zone itself is no exception."""
        made = stanza("except blocked.example.com example.com", "example.com 10.0.0.1")
        for name, taken in (
            ("example.com", True),
            ("blocked.example.com", False),
            ("x.blocked.example.com", False),
            ("example.org", False),
            ("wexample.com", False),
        ):
            self.assertEqual(made.takes(from_text(name)), taken, name)
        self.assertTrue(stanza("except a", "b 10.0.0.1").takes(from_text("a.b")))


class GoldenTests(SynchronousTestCase):
    """What CoreDNS says to the same Corefiles."""

    def outcome(self, case: StartCase, root: str) -> str | None:
        """The error that the start ends with."""
        reactor = MemoryReactor()
        try:
            block, words = blocks_of(case.corefile.replace("{{PORT}}", "1053"), ("forward", "whoami"))[0]
            config = directive.parse(words["forward"], type(block)(block.keys, block.directives, root))
            builder = BlockBuilder(ServerContext(reactor, clock=reactor.seconds), block, 0)
            directive.build(config, builder)
            for resource in builder.resources:
                started = resource.start()
                if isinstance(started, Deferred):
                    reactor.settle()
                    failures: list[Any] = []
                    started.addErrback(failures.append)
                    if failures:
                        return str(failures[0].value)
                resource.stop()
        except CorefileError as error:
            return str(error)
        return None

    def test_start_cases(self) -> None:
        """Every golden case of forward ends as it should."""
        cases = [case for case in start_cases() if case.name.startswith("forward-") or case.name == "argument-brace"]
        self.assertGreater(len(cases), 20)
        for number, case in enumerate(cases):
            folder = Path(self.mktemp() + str(number))
            folder.mkdir()
            case.write(folder)
            wanted = case.wanted.error
            if wanted is not None:
                wanted = wanted.replace("REASON", "no such host")
            self.assertEqual(self.outcome(case, str(folder)), wanted, case.name)
