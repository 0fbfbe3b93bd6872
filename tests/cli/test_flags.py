# -*- test-case-name: tests.cli.test_flags -*-
"""Go's flag syntax."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.flags import BadFlags, Flags, parse_flags

GOOD: tuple[tuple[list[str], Flags], ...] = (
    ([], Flags()),
    (["-conf", "/etc/coredns/Corefile"], Flags(conf="/etc/coredns/Corefile")),
    (["--conf=Corefile.dev"], Flags(conf="Corefile.dev")),
    (["-conf=a=b"], Flags(conf="a=b")),
    (["-conf", "-dash"], Flags(conf="-dash")),
    (["-dns.port", "1053"], Flags(port=1053)),
    (["--p=5300"], Flags(port=5300)),
    (["-p", "1", "-dns.port=2"], Flags(port=2)),
    (["-p", "0"], Flags(port=0)),
    (["-takeover"], Flags(takeover=True)),
    (["-quiet", "-pidfile", "/run/kdns.pid"], Flags(quiet=True, pidfile="/run/kdns.pid")),
    (["-quiet=false", "-version=T"], Flags(version=True)),
    (["-plugins", "--"], Flags(plugins=True)),
    (["-log.format=json"], Flags(log_format="json")),
    (["-log.format", "text"], Flags()),
    (["-admin.socket", "off"], Flags(admin="off")),
    (["--admin.socket="], Flags(admin="")),
    (["-allow-missing", "nomad, k8s_gateway,"], Flags(may_miss=("nomad", "k8s_gateway"))),
    (["-allow-missing="], Flags()),
    (["-help"], Flags(help=True)),
    (["-h"], Flags(help=True)),
)

BAD: tuple[tuple[list[str], str, bool], ...] = (
    (["x"], "extra command line arguments: [x]", False),
    (["-quiet", "true", "-conf", "y"], "extra command line arguments: [true -conf y]", False),
    (["--", "-conf"], "extra command line arguments: [-conf]", False),
    (["-"], "extra command line arguments: [-]", False),
    (["-conf"], "flag needs an argument: -conf", True),
    (["-bogus=1"], "flag provided but not defined: -bogus", True),
    (["---conf"], "bad flag syntax: ---conf", True),
    (["-=x"], "bad flag syntax: -=x", True),
    (["-quiet=maybe"], 'invalid boolean value "maybe" for -quiet: parse error', True),
    (["-log.format=xml"], 'invalid value "xml" for flag -log.format: must be text or json', True),
    (["-p", "65536"], "address 65536: invalid port", False),
    (["-p", "dns"], "address dns: invalid port", False),
    (["-p", ""], "address : invalid port", False),
    (["-p", "-1"], "address -1: invalid port", False),
)


class FlagsTests(SynchronousTestCase):
    """A command line written for CoreDNS means the same to kdns."""

    def test_understood(self) -> None:
        """One dash or two, a value behind ``=`` or as the next word, switches with and without a value."""
        for words, wanted in GOOD:
            self.assertEqual(parse_flags(words), wanted, words)

    def test_refused(self) -> None:
        """What is wrong is said in Go's words; only a mistake in the flags themselves shows the usage."""
        for words, text, usage in BAD:
            error = self.assertRaises(BadFlags, parse_flags, words)
            self.assertEqual((str(error), error.usage), (text, usage), words)
