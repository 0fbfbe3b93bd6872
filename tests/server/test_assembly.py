"""From a Corefile to a configuration: order, endpoints, resources, and what is refused."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.corefile.order import DIRECTIVE_ORDER
from kdns.plugin.registry import BUILT_IN
from kdns.server import assembly
from kdns.server.assembly import Configuration, Endpoint, assemble, read_text
from kdns.testing.certificates import Authority
from kdns.wire.names import from_text
from tests.server import plugins
from tests.support import a_house, lack

SAY = "tests.server.plugins.Say"
FIRST = "tests.server.plugins.First"


class AssemblyTests(SynchronousTestCase):
    """Everything is made, and nothing is started."""

    def setUp(self) -> None:
        plugins.diary.clear()
        self.clock = Clock()

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(plugins.diary, [])

    def assembled(self, corefile: str, running: Configuration | None = None) -> Configuration:
        """Assemble a Corefile."""
        return assemble(read_text(corefile, {}), a_house(self.clock), running.kept if running else None)

    def test_may_be_missing(self) -> None:
        """A directive that nobody has is left out where that is allowed; one that is there is served all the same."""
        unknown = [name for name in DIRECTIVE_ORDER if name not in BUILT_IN][:1] + ["k8s_gateway", "no.such.Plugin"]
        lines = "\n".join(f"{name} x {{\n y z\n}}" for name in unknown)
        text = f"a.test {{\nwhoami\n{lines}\n}}\n"
        for names in ((), tuple(unknown[1:]), tuple(unknown[:-1])):
            with self.assertRaises(CorefileError, msg=names):
                assemble(read_text(text, {}, may_miss=names), a_house(self.clock))
        corefile = read_text(text, {}, may_miss=(*unknown, "whoami"))
        self.assertEqual([one.name for one in corefile.left_out], unknown)
        found = assemble(corefile, a_house(self.clock))
        self.assertEqual([list(block.directives) for block in found.corefile.blocks], [["whoami"]])

    def refusal(self, corefile: str) -> str:
        """What a Corefile is refused with."""
        with self.assertRaises(CorefileError) as raised:
            self.assembled(corefile)
        return str(raised.exception)

    def test_endpoints(self) -> None:
        """Blocks for one port share an endpoint; bound addresses have their own."""
        found = self.assembled(
            "a.test:53 b.test:5353 {\n whoami\n}\n.:53 {\n whoami\n}\nc.test {\n bind 127.0.0.1 ::1\n whoami\n}\n"
        )
        zones = {endpoint: sorted(zones.blocks) for endpoint, zones in found.endpoints.items()}
        self.assertEqual(
            zones,
            {
                Endpoint("dns", "", 53): sorted((from_text("a.test."), b"\x00")),
                Endpoint("dns", "", 5353): [from_text("b.test.")],
                Endpoint("dns", "127.0.0.1", 53): [from_text("c.test.")],
                Endpoint("dns", "::1", 53): [from_text("c.test.")],
            },
        )
        self.assertEqual(
            [endpoint.label for endpoint in zones], ["dns://:53", "dns://:5353", "dns://127.0.0.1:53", "dns://[::1]:53"]
        )
        self.assertEqual(
            found.announcements,
            ["a.test.:53", "b.test.:5353", ".:53", "c.test.:53 on 127.0.0.1", "c.test.:53 on ::1"],
        )

    def test_order(self) -> None:
        """Links stand in the order of plugins, whatever the order of lines; a foreign plugin names its place."""
        found = self.assembled(f".:53 {{\n whoami\n {SAY} x\n cache\n errors\n {FIRST} y\n}}\n")
        links = [getattr(link, "text", link.name) for link in found.builders[0].links]
        self.assertEqual(links, [name for name in ("y", "errors", "cache", "x", "whoami") if name in links])
        self.assertEqual((links[0], links[-2:]), ("y", ["x", "whoami"]))

    def test_resources(self) -> None:
        """Each resource once, a kept one shared by the blocks that ask for the same."""
        found = self.assembled(f"a.test {{\n {SAY} x\n}}\nb.test {{\n {SAY} x\n}}\n")
        names = [getattr(resource, "name", "") for resource in found.resources]
        self.assertEqual(sorted(names), ["keep x", "run x", "run x"])
        self.assertEqual(
            [(check.name, check.zones) for check in found.checks], [("say", "a.test."), ("say", "b.test.")]
        )

    def test_order_of_resources(self) -> None:
        """Resources stand in the order of plugins over all blocks, however many each block has."""
        found = self.assembled(f"a.test {{\n {SAY} x\n}}\nb.test {{\n {SAY} z\n {FIRST} y\n}}\n")
        names = [getattr(resource, "name", "") for resource in found.resources]
        self.assertEqual(names, ["run y", "keep y", "run x", "keep x", "run z", "keep z"])

    def test_kept(self) -> None:
        """A new configuration takes over what did not change."""
        one = self.assembled(f". {{\n {SAY} x\n}}\n")
        two = self.assembled(f". {{\n {SAY} x\n whoami\n}}\n", one)
        three = self.assembled(f". {{\n {SAY} z\n}}\n", two)

        def kept(found: Configuration) -> list[int]:
            return [id(one) for one in found.resources if getattr(one, "name", "").startswith("keep")]

        self.assertEqual(kept(one), kept(two))
        self.assertNotEqual(kept(two), kept(three))

    def test_errors(self) -> None:
        """What is wrong is said with its place, and nothing is built."""
        self.assertEqual(
            self.refusal(f". {{\n {SAY} x broken\n}}\n"),
            f"plugin/{SAY}: Corefile:2 - Error during parsing: it is broken",
        )
        lack(self, "sign")
        self.assertIn("kdns does not have this plugin of CoreDNS yet", self.refusal(". {\n sign\n}\n"))
        self.assertIn("Unknown directive 'frob'", self.refusal(". {\n frob\n}\n"))
        self.assertIn("quic://:853 needs a certificate", self.refusal("quic://. {\n whoami\n}\n"))
        self.assertIn("it is already defined", self.refusal(". {\n whoami\n}\n. {\n whoami\n}\n"))

    def test_shared_listener(self) -> None:
        """Blocks of one listener must not set its connections up in two ways; what only one of them sets counts."""
        one = "https://a.test {\n https {\n  max_connections 7\n }\n whoami\n}\n"
        found = self.assembled(one + "https://b.test {\n whoami\n}\n")
        self.assertEqual([zones.limits.connections for zones in found.endpoints.values()], [7])
        self.assertEqual(found.warnings, ["[WARNING] https://:443 is not encrypted: no server block of it has tls"])
        text = (
            "plugin/https: Corefile:7 - Error during parsing: another server block on https://:443 has other settings"
        )
        self.assertIn(text, self.refusal(one + one.replace("a.test", "b.test").replace("7", "8")))

    def test_quic(self) -> None:
        """QUIC needs its library; without it the error says what to install."""
        identity = Authority().server("dns.test")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "cert.pem").write_bytes(identity.certificate_pem)
        (folder / "key.pem").write_bytes(identity.key_pem)
        block = f" tls {folder}/cert.pem {folder}/key.pem\n whoami\n}}\n"
        for scheme in ("quic", "https3"):
            found = self.assembled(f"{scheme}://. {{\n" + block)
            self.assertEqual([endpoint.scheme for endpoint in found.endpoints], [scheme])
        self.patch(assembly, "find_spec", lambda name: None)
        with self.assertRaises(CorefileError) as raised:
            self.assembled("quic://. {\n" + block)
        self.assertIn(
            "quic:// needs aioquic, which is not installed (pip install 'kdns[quic]')", raised.exception.advice()
        )

    def test_first_error_in_order_of_plugins(self) -> None:
        """Of several errors the one of the outermost plugin is told, whatever the order of lines."""
        text = self.refusal(f". {{\n whoami x\n errors x\n {FIRST} x broken\n}}\n")
        self.assertIn(FIRST, text)
        self.assertIn("plugin/errors", self.refusal(". {\n whoami x\n errors x\n}\n"))

    def test_forgiven(self) -> None:
        """Who forgives is told of every fault with its line, the one that ends a start first, and which of them come of the machine."""
        lack(self, "sign")
        corefile = (
            ". {\n cache x..y\n bind nowhere\n bogus\n forward . 127.0.0.1 {\n  expire 5\n }\n}\n"
            "a..b {\n sign\n whoami x\n import nothing\n}\nb.test b.test {\n whoami\n}\n"
        )
        told: list[tuple[int | None, str, bool]] = []

        def forgive(error: CorefileError, of_machine: bool = False) -> bool:
            told.append((error.line, error.text.partition(":")[0].partition("(")[0].strip(), of_machine))
            return True

        parsed = read_text(corefile, {}, forgive=forgive)
        assemble(parsed, a_house(self.clock), forgive=forgive)
        self.assertEqual(told[0], (4, "Unknown directive 'bogus'", False))
        self.assertIn("Unknown directive 'bogus'", self.refusal(corefile))
        self.assertEqual(
            told[1:],
            [
                (12, "File to import not found", False),
                (9, "zone is not a valid domain name", False),
                (4, "no such plugin can be imported", False),
                (10, "kdns does not have this plugin of CoreDNS yet; those it has", False),
                (2, "zone is not a valid domain name", False),
                (6, "time", False),
                (11, "Wrong argument count or unexpected line ending after 'x'", False),
                (3, "not a valid IP address or interface name", True),
                (14, "cannot serve dns", False),
            ],
        )

    def test_warnings(self) -> None:
        """What is odd and no error is told."""
        found = self.assembled("_a.test {\n import *.nothing\n whoami\n}\n")
        self.assertEqual(
            found.warnings,
            [
                "[WARNING] No files matching import glob pattern: *.nothing",
                'Warning: Domain "_a.test." does not follow RFC1035 preferred syntax',
            ],
        )

    def test_empty_block(self) -> None:
        """A block with nothing that answers takes its queries, and refuses them."""
        found = self.assembled("a.test {\n}\nb.test {\n bind 127.0.0.1\n}\nc.test {\n errors\n}\n")
        empty = [
            block.empty for zones in found.endpoints.values() for blocks in zones.blocks.values() for block in blocks
        ]
        self.assertEqual(sorted(empty), [False, True, True])
