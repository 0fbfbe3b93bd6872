"""What the words of ``sign`` become; most errors are golden cases (``tests.conformance.test_start``)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.sign.config import DIRECTORY, SignConfig, directive
from kdns.testing.plugin import PluginBench
from kdns.wire.names import from_text
from tests.conformance.cases import CASES

MAT = CASES / "mat"


class ConfigTests(SynchronousTestCase):
    """Parsing; nothing is signed in these folders."""

    def setUp(self) -> None:
        self.bench = PluginBench(
            directive, f"sign db {{\nkey file {MAT}/csk\ndirectory {self.mktemp()}\n}}", zone="example.org"
        )
        self.addCleanup(self.bench.stop)

    def parsed(self, text: str) -> tuple[SignConfig, ...]:
        found: tuple[SignConfig, ...] = self.bench.parse(text)
        return found

    def test_zones(self) -> None:
        """A config for each zone, with keys of its name."""
        found = self.parsed(f"sign db example.org b.test {{\nkey file {MAT}/csk.key\n}}")
        self.assertEqual([config.origin for config in found], [from_text("example.org"), from_text("b.test")])
        self.assertEqual(found[0].key_paths, (f"{MAT}/csk",))
        self.assertEqual(found[1].signed_path, f"{DIRECTORY}/db.b.test.signed")
        self.assertEqual(self.parsed(f"sign db . {{\nkey file {MAT}/csk\n}}")[0].signed_path, f"{DIRECTORY}/db..signed")

    def test_repeated(self) -> None:
        """Of two for one file the later one counts."""
        one, two = (f"sign {name} {{\nkey file {MAT}/csk\ndirectory out\n}}" for name in ("a", "b"))
        (config,) = self.parsed(f"{one}\n{two}")
        self.assertEqual((config.path, config.signed_path), ("b", "out/db.example.org.signed"))

    def test_errors(self) -> None:
        """What kdns refuses in words of its own."""
        for text, wanted in (
            ("sign db", "no key is given: key file BASE"),
            ("sign db {\nkey foo\n}", "Corefile:3 - Error during parsing: unknown kind of key 'foo'"),
            (f"sign db a/b.test {{\nkey file {MAT}/csk\n}}", "zone a/b.test. cannot be the name of a file"),
        ):
            self.assertIn(f"plugin/sign: {wanted}", self.bench.error(text), text)
