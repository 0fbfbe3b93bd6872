"""The command line of ``kdns node-cache``."""

from __future__ import annotations

import io
import re
import sys
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.flags import BadFlags
from kdns.cli.main import COMMANDS
from kdns.cli.node_cache import HELP, KUBE_DNS, SWITCHES, TEXTS, main, parse
from kdns.node_cache.config import NodeCacheConfig
from tests.test_docs import ROOT

LOCAL, SERVICE = ip_address("169.254.20.10"), ip_address("10.96.0.10")


def config(*words: str, folder: bool = False) -> NodeCacheConfig:
    """What a command line says."""
    _, found = parse(words, folder)
    assert found is not None
    return found


class FlagTests(SynchronousTestCase):
    """node-cache's flags mean here what they mean there."""

    def test_known(self) -> None:
        """It is a command of kdns."""
        self.assertEqual(COMMANDS["node-cache"], "kdns.cli.node_cache")

    def test_manifest(self) -> None:
        """The arguments of the public manifest."""
        words = "-localip 169.254.20.10,10.96.0.10 -conf /etc/Corefile -upstreamsvc kube-dns-upstream"
        found = config(*words.split())
        self.assertEqual(found, NodeCacheConfig((LOCAL, SERVICE), upstream_service="kube-dns-upstream"))
        self.assertEqual(found.upstream_variable(), "KUBE_DNS_UPSTREAM_SERVICE_HOST")

    def test_every_flag(self) -> None:
        """Each flag reaches its setting, with one dash or two; those of every server go on to it."""
        flags, found = parse(
            [
                "--localip=169.254.20.10,fd00::10",
                *("-basecorefile", "/a", "-corefile", "/b", "-kubednscm", "/c", "-upstreamsvc", "dns"),
                *("-interfacename=x0", "-setupinterface=false", "--setupiptables=false", "-skipteardown=true"),
                *("-syncinterval=1m30s", "-metrics-listen-address", "[::1]:9999", "-health-port=8081"),
                *("-reloadwithsignal", "-dns.port=5353", "-pidfile", "/d", "-quiet", "-log.format=json"),
            ]
        )
        wanted = NodeCacheConfig(
            (LOCAL, ip_address("fd00::10")),
            corefile="/b",
            template="/a",
            kube_dns="/c",
            upstream_service="dns",
            interface="x0",
            setup_interface=False,
            setup_rules=False,
            skip_teardown=True,
            interval=90.0,
            metrics_host="::1",
            metrics_port=9999,
            port=5353,
            health_port=8081,
        )
        self.assertEqual(found, wanted)
        self.assertEqual((flags.port, flags.pidfile, flags.quiet, flags.log_format), (5353, "/d", True, "json"))

    def test_output(self) -> None:
        """The Corefile is written where -conf says, else where -corefile says."""
        self.assertEqual(config("-localip", "::1", "-corefile", "/b", "-conf", "/a").corefile, "/a")
        self.assertEqual(config("-localip", "::1", "-corefile", "/b").corefile, "/b")

    def test_kube_dns(self) -> None:
        """The ConfigMap is looked for where it is mounted by default."""
        self.assertEqual(config("-localip", "::1", folder=True).kube_dns, KUBE_DNS)
        self.assertEqual(config("-localip", "::1", "-kubednscm=", folder=False).kube_dns, "")

    def test_interval(self) -> None:
        """A bare number is seconds."""
        for text, seconds in (("60", 60.0), ("5s", 5.0), ("2m", 120.0)):
            self.assertEqual(config("-localip", "::1", "-syncinterval", text).interval, seconds)

    def test_refused(self) -> None:
        """What cannot be understood is said in node-cache's words, and whether the usage is shown."""
        local = ("-localip", "::1")
        for words, text, usage in (
            ((), 'invalid localip specified - ""', False),
            (("-localip", "10.0.0.1, 10.0.0.2"), 'invalid localip specified - " 10.0.0.2"', False),
            (("-localip", "example.org"), 'invalid localip specified - "example.org"', False),
            (("-localip",), "flag needs an argument: -localip", True),
            ((*local, "-nope"), "flag provided but not defined: -nope", True),
            ((*local, "-health-port", "0"), 'invalid healthcheck port specified - "0"', False),
            ((*local, "-dns.port", "x"), "address x: invalid port", False),
            ((*local, "-skipteardown=maybe"), 'invalid boolean value "maybe" for -skipteardown', True),
            ((*local, "-syncinterval", "0"), "wanted at least 1 second", True),
            ((*local, "-syncinterval", "5x"), 'invalid value "5x" for flag -syncinterval', True),
            ((*local, "-metrics-listen-address", "9353"), "invalid metrics listen address", False),
            ((*local, "more"), "extra command line arguments: [more]", False),
        ):
            error = self.assertRaises(BadFlags, parse, words)
            self.assertIn(text, str(error))
            self.assertEqual(error.usage, usage, words)


class OutputTests(SynchronousTestCase):
    """What is printed."""

    def ended(self, *words: str) -> tuple[int, str]:
        """Exit status and standard error."""
        errors, sys.stderr = sys.stderr, io.StringIO()
        try:
            return main(words), sys.stderr.getvalue()
        finally:
            sys.stderr = errors

    def test_endings(self) -> None:
        """A bad flag is 2 with the usage, a bad value 1 with one line, and help is 0."""
        self.assertEqual(self.ended("-h"), (0, HELP))
        self.assertEqual(self.ended("-nope"), (2, f"flag provided but not defined: -nope\n{HELP}"))
        wanted = '[FATAL] Error parsing flags - invalid localip specified - "x", Exiting\n'
        self.assertEqual(self.ended("-localip", "x"), (1, wanted))

    def test_help_and_page(self) -> None:
        """Help and docs/operations.md have every flag."""
        page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        for name in (*TEXTS, *SWITCHES):
            self.assertRegex(HELP, rf"(?m)^  -{re.escape(name)}\b")
            self.assertIn(f"`-{name}", page)
