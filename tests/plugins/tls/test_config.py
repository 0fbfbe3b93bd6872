"""What the words of ``tls`` become; the golden cases of its errors are in ``tests.conformance.test_start``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import CorefileError
from kdns.corefile.keys import server_keys
from kdns.corefile.parser import Surroundings, parse
from kdns.plugin import Block
from kdns.plugins.tls.config import NO_ACME, ClientAuth, TlsConfig, directive


def parsed(text: str, root: str = "") -> TlsConfig:
    """The config of the words of a directive."""
    tree = parse(f"tls://. {{\n{text}\n}}\n", "Corefile", Surroundings(("tls",))).blocks[0]
    return directive.parse(Dispenser(tree.directives["tls"]), Block(server_keys(tree), frozenset(("tls",)), root))


class ConfigTests(SynchronousTestCase):
    """Parsing."""

    def test_files(self) -> None:
        """Relative paths are below the root; the last directive counts."""
        self.assertEqual(parsed("tls a.pem a.key"), TlsConfig("a.pem", "a.key"))
        self.assertEqual(parsed("tls a.pem /b.key ca.pem", "/etc"), TlsConfig("/etc/a.pem", "/b.key", "/etc/ca.pem"))
        self.assertEqual(parsed("tls a b\ntls c d"), TlsConfig("c", "d"))

    def test_client_auth(self) -> None:
        """What each word asks of a client."""
        found = {}
        for auth in ClientAuth:
            config = parsed(f"tls a b {{\nclient_auth {auth.value}\n}}")
            found[auth.value] = (config.client_auth.asks, config.client_auth.requires, config.client_auth.verifies)
        self.assertEqual(
            found,
            {
                "nocert": (False, False, False),
                "request": (True, False, False),
                "require": (True, True, False),
                "verify_if_given": (True, False, True),
                "require_and_verify": (True, True, True),
            },
        )

    def test_acme(self) -> None:
        """Certificates by ACME are refused, with what to do."""
        with self.assertRaises(CorefileError) as raised:
            parsed("tls {\nemail a@b.test\nacme a.test\n}")
        self.assertEqual(str(raised.exception), f"plugin/tls: {NO_ACME}")
