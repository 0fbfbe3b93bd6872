"""Words of dnstap."""

from __future__ import annotations

from socket import gethostname

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import CorefileError
from kdns.corefile.parser import Surroundings
from kdns.corefile.parser import parse as parse_corefile
from kdns.plugins.dnstap.config import Endpoint, OutputConfig, TapConfig, parse


def read(text: str) -> tuple[TapConfig, ...]:
    """What the words mean."""
    tree = parse_corefile(f". {{\n{text}\n}}\n", "Corefile", Surroundings(("dnstap",))).blocks[0]
    return parse(Dispenser(tree.directives["dnstap"]))


class ConfigTests(SynchronousTestCase):
    def test_endpoints(self) -> None:
        """An endpoint is a path, or a host with a port."""
        for word, endpoint in (
            ("/run/tap.sock", Endpoint("unix", "/run/tap.sock")),
            ("tap.sock", Endpoint("unix", "tap.sock")),
            ("unix:///run/tap.sock", Endpoint("unix", "/run/tap.sock")),
            ("tcp://collector:6000", Endpoint("tcp", "collector", 6000)),
            ("tls://[fd00::1]:6001", Endpoint("tls", "fd00::1", 6001)),
        ):
            ((config),) = read(f"dnstap {word}")
            self.assertEqual(config.output, OutputConfig(endpoint))
            self.assertEqual((config.full, config.identity), (False, gethostname()))
        self.assertEqual(str(Endpoint("tls", "fd00::1", 6001)), "tls://[fd00::1]:6001")

    def test_all(self) -> None:
        """Everything that can be said."""
        first, second = read(
            "dnstap tcp://h:1 full 3 4 {\nidentity me\nversion v1\nextra {type}\nskipverify\n}\n"
            "dnstap listen tls://h:2 {\ntls a b c\n}"
        )
        self.assertEqual(
            first,
            TapConfig(OutputConfig(Endpoint("tcp", "h", 1), False, 3, 4, True), True, "me", "v1", "{type}"),
        )
        self.assertEqual(second.output, OutputConfig(Endpoint("tls", "h", 2), True, certificate=("a", "b", "c")))

    def test_errors(self) -> None:
        """What CoreDNS would misread is an error with its place."""
        for words, text in (
            ("tap.sock 10", 'the word behind the endpoint can only be full, found "10"'),
            ("http://h:1", "an endpoint is unix://PATH, tcp://HOST:PORT or tls://HOST:PORT"),
            ("tcp://h", "bad endpoint"),
            ("tcp://h:0", "a port is a number from 1 to 65535"),
            ("tcp://h:x", "bad endpoint"),
        ):
            error = self.assertRaises(CorefileError, read, f"dnstap {words}")
            self.assertIn(text, str(error))
            self.assertIn("Corefile:2", str(error))
