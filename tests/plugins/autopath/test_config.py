"""What a Corefile says about search paths."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import SetupError
from kdns.plugins.autopath import directive
from kdns.plugins.autopath.config import search_domains
from kdns.testing.plugin import PluginBench
from kdns.wire.names import from_text
from tests.plugins.kubernetes.cluster import Bench


class ConfigTests(SynchronousTestCase):
    """From words to a value."""

    def file(self, text: str) -> str:
        """A resolv.conf."""
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        return str(path)

    def test_errors(self) -> None:
        """What is wrong is said in CoreDNS's words."""
        bench = PluginBench(directive, "autopath @nothing", behind=[PluginBench(directive, "autopath @x").upstream])
        nothing = "no resolv-conf specified"
        for text, wanted in (
            ("autopath", nothing),
            ("autopath @kubernetes {\n frob\n}", nothing),
            ("autopath a.test nofile", 'failed to parse "nofile": open nofile: no such file or directory'),
            ("autopath @forward", "forward does not implement the AutoPather interface"),
        ):
            self.assertEqual(bench.error(text), f"plugin/autopath: {wanted}", text)

    def test_directory(self) -> None:
        """A folder is no resolv.conf."""
        error = self.assertRaises(SetupError, PluginBench, directive, f"autopath {Path.cwd()}")
        self.assertIn("is a directory", str(error))

    def test_plugin(self) -> None:
        """A plugin that is not in the block gives no paths; kubernetes does, if it is."""
        self.assertEqual(PluginBench(directive, "autopath @kubernetes").config.plugin, "kubernetes")
        bench = PluginBench(directive, "autopath A.test @kubernetes", behind=[Bench().zone])
        self.assertEqual([zone.text for zone in bench.config.zones], ["a.test."])

    def test_path(self) -> None:
        """The last line counts, whether it says search or domain; names are lower case, and what is none is left out."""
        for text, wanted in (
            ("search A.test b.test\nnameserver 192.0.2.1\n", ["a.test", "b.test"]),
            ("search a.test\ndomain c.test d.test\n", ["c.test"]),
            ("domain c.test\nsearch a.test . b..test\n", ["a.test"]),
            ("nameserver 192.0.2.1\nsearch\n# search x\n", []),
            ("", []),
        ):
            self.assertEqual(search_domains(self.file(text)), tuple(map(from_text, wanted)), text)

    def test_last(self) -> None:
        """Of several the last one counts."""
        path = self.file("search a.test\n")
        config = PluginBench(directive, f"autopath @x\nautopath {path}").config
        self.assertEqual((config.plugin, config.path), ("", (from_text("a.test"),)))
