# -*- test-case-name: tests.plugins.auto.test_folder -*-
"""Zone files of a folder that come, change and go."""

from __future__ import annotations

import os

from kdns.plugins.auto import directive
from kdns.testing.plugin import PluginBench
from kdns.wire.constants import NXDOMAIN, REFUSED
from kdns.wire.names import from_text
from tests.plugins.file.support import ZoneTestCase, zone_text


class FolderTests(ZoneTestCase):
    """kdns.plugins.auto."""

    def bench(self, zones: str = ".") -> PluginBench:
        """*auto* on the folder in front of an upstream."""
        bench = PluginBench(directive, f"auto {zones} {{\n directory {self.folder}\n reload 1s\n}}")
        self.addCleanup(bench.stop)
        return bench

    def source(self, bench: PluginBench, name: str) -> str:
        """Who answers."""
        return bench.ask(name).source

    def test_come_and_go(self) -> None:
        """A file is a zone from the next look on, until the look after it is gone."""
        self.write("db.a.test", zone_text(5, "www A 10.0.0.1"))
        bench = self.bench()
        self.assertEqual([self.source(bench, f"www.{zone}.test") for zone in "ab"], ["auto", "forward"])
        path = self.write("inner/db.b.test", zone_text(5, "www A 10.0.0.1"))
        bench.advance(1)
        self.assertEqual(self.source(bench, "www.b.test"), "auto")
        os.unlink(path)
        bench.advance(1)
        self.assertEqual(self.source(bench, "www.b.test"), "forward")
        shown = "\n".join(bench.context.registry.lines())
        self.assertIn('kdns_zone_serial{plugin="auto",zone="a.test."} 5', shown)
        self.assertNotIn("b.test.", shown)
        self.assertEqual(
            (self.logged("Inserting zone `b.test.' from:"), self.logged("Deleting zone `b.test.'")), (1, 1)
        )

    def test_changes(self) -> None:
        """Another serial is read; a file that breaks keeps its version."""
        self.write("db.a.test", zone_text(5, "www A 10.0.0.1"))
        bench = self.bench()
        self.write("db.a.test", zone_text(6, "www A 10.0.0.2"))
        bench.advance(1)
        self.assertEqual(bench.ask("www.a.test").answer[0].rdata[3], 2)
        self.write("db.a.test", zone_text(7, "www A x"))
        bench.advance(1)
        self.assertEqual(bench.ask("www.a.test").answer[0].rdata[3], 2)
        self.assertEqual(self.logged('Parsing zone "a.test.": failed to parse file'), 1)

    def test_repeated(self) -> None:
        """Neither the table nor a cache says what the zones do not say any more."""
        path = self.write("db.a.test", zone_text(5, "www A 10.0.0.1"))
        bench = self.bench()

        def change() -> None:
            os.unlink(path)
            self.write("db.b.test", zone_text(5, "www A 10.0.0.3"))
            bench.advance(1)

        bench.check_repeats(["www.a.test", "nope.a.test", "www.b.test", "www.c.test"], change=change)

    def test_bad_file(self) -> None:
        """A mistake in one file keeps no other from being served, is listed and logged once, and the file is tried again."""
        self.write("db.a.test", zone_text(5))
        self.write("db.bad.test", "www A 10.0.0.1\n")
        bench = self.bench()
        self.assertEqual([self.source(bench, name) for name in ("ns.a.test", "ns.bad.test")], ["auto", "forward"])
        bench.advance(1)
        self.assertEqual(self.logged("Parse zone `bad.test.': failed to parse file"), 1)
        (state,) = bench.context.degraded
        self.assertEqual(state.name, f"zone bad.test. of {self.folder}/db.bad.test")
        self.write("db.bad.test", zone_text(5))
        bench.advance(1)
        self.assertEqual(self.source(bench, "ns.bad.test"), "auto")
        self.assertEqual(list(bench.context.degraded), [])
        self.write("db.bad.test", "www A 10.0.0.1\n")
        self.write("db.worse.test", "www A 10.0.0.1\n")
        bench.advance(1)
        self.assertEqual(len(list(bench.context.degraded)), 2)
        for name in ("bad", "worse"):
            os.unlink(self.folder / f"db.{name}.test")
        bench.advance(1)
        self.assertEqual(list(bench.context.degraded), [])

    def test_twice(self) -> None:
        """Of two files for a zone the first in lexical order counts."""
        self.write("b/db.a.test", zone_text(5, "www A 10.0.0.2"))
        self.write("a/db.a.test", zone_text(5, "www A 10.0.0.1"))
        bench = self.bench()
        self.assertEqual(bench.ask("www.a.test").answer[0].rdata[3], 1)
        self.assertEqual(self.logged('Multiple zone files match origin "a.test."'), 1)

    def test_mounted_configmap(self) -> None:
        """Files of a mounted ConfigMap are found under their own names, and followed when the mount changes."""
        self.write("..1/db.a.test", zone_text(5, "www A 10.0.0.1"))
        os.symlink("..1", self.folder / "..data")
        os.symlink("..data/db.a.test", self.folder / "db.a.test")
        bench = self.bench()
        self.assertEqual((bench.ask("www.a.test").answer[0].rdata[3], self.logged("Multiple")), (1, 0))
        self.write("..2/db.a.test", zone_text(6, "www A 10.0.0.2"))
        os.symlink("..2", self.folder / "..new")
        os.rename(self.folder / "..new", self.folder / "..data")
        bench.advance(1)
        self.assertEqual(bench.ask("www.a.test").answer[0].rdata[3], 2)

    def test_limits(self) -> None:
        """Names outside the zones of the directive are not its business."""
        self.write("db.a.test", zone_text(5))
        bench = self.bench("b.test")
        self.assertEqual(self.source(bench, "ns.a.test"), "forward")

    def test_without_next(self) -> None:
        """Inside its zones a name without a file is REFUSED where nobody is behind; outside it is a failure."""
        self.write("db.a.test", zone_text(5))
        world = self.world(".:{{PORT}} {\n auto test {\n directory DIR\n reload 0\n }\n}\n")
        rcodes = [self.ask(world, name)["rcode"] for name in ("ns.a.test", "x.a.test", "b.test", "b.example")]
        self.assertEqual(rcodes, ["NOERROR", "NXDOMAIN", "REFUSED", "SERVFAIL"])
        self.assertNotEqual(NXDOMAIN, REFUSED)

    def test_no_folder(self) -> None:
        """A folder that is not there yet is looked for again."""
        bench = PluginBench(directive, f"auto {{\n directory {self.folder}/none\n reload 1s\n}}")
        self.addCleanup(bench.stop)
        bench.advance(1)
        self.assertEqual(self.logged("Directory does not exist"), 1)
        self.assertEqual(self.logged("error reading"), 1)
        self.assertEqual([state.name for state in bench.context.degraded], [f"folder {self.folder}/none"])
        self.write("none/db.a.test", zone_text(5))
        bench.advance(1)
        self.assertEqual(self.source(bench, "ns.a.test"), "auto")
        self.assertEqual(list(bench.context.degraded), [])
        self.assertEqual(list(bench.builder.links[0].zones), [from_text("a.test")])  # type: ignore[attr-defined]
