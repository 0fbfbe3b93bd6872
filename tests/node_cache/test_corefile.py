"""The Corefile that is made of template and settings, through their changes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.corefile.loader import Corefile
from kdns.node_cache.config import NodeCacheConfig
from kdns.node_cache.corefile import NodeCorefile
from kdns.server.assembly import read_text

ENVIRONMENT = {"KUBE_DNS_UPSTREAM_SERVICE_HOST": "10.96.0.11"}
TEMPLATE = """\
.:53 {
    bind __PILLAR__LOCAL__DNS__
    forward . __PILLAR__CLUSTER__DNS__
}
"""


class CorefileTests(SynchronousTestCase):
    """Files in a folder of the test."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.settings = self.folder / "kube-dns"
        self.settings.mkdir(parents=True)
        (self.folder / "base").mkdir()
        self.template = self.folder / "base" / "Corefile.base"
        self.template.write_text(TEMPLATE)
        self.faults: list[str | None] = []
        self.config = NodeCacheConfig(
            (ip_address("169.254.20.10"),),
            corefile=str(self.folder / "Corefile"),
            template=str(self.template),
            kube_dns=str(self.settings),
            upstream_service="kube-dns-upstream",
        )
        self.corefile = self.made(self.config)

    def made(self, config: NodeCacheConfig) -> NodeCorefile:
        return NodeCorefile(config, ENVIRONMENT, lambda text, name: read_text(text, {}, name), self.faults.append)

    def keys(self, loaded: Corefile) -> list[str]:
        return [key for block in loaded.blocks for key in block.key_texts]

    def test_written(self) -> None:
        """What is parsed is what is written, in one step, and errors name that file."""
        loaded = self.corefile.load()
        written = Path(self.config.corefile)
        self.assertEqual(written.read_text(), self.corefile.text)
        self.assertIn("forward . 10.96.0.11", self.corefile.text)
        self.assertEqual(loaded.blocks[0].directives["forward"].place.file, str(written))
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["Corefile", "base", "kube-dns"])
        self.assertEqual(self.faults, [None])

    def test_changes(self) -> None:
        """A change of template or settings is noticed, and used at the next load; the same content in other files is none."""
        self.assertTrue(self.corefile.changed())
        self.corefile.load()
        self.assertFalse(self.corefile.changed())
        (self.settings / "stubDomains").write_text('{"acme.local": ["10.0.0.1"]}')
        self.assertTrue(self.corefile.changed())
        self.assertEqual(self.keys(self.corefile.load()), [".:53", "acme.local:53"])
        self.template.unlink()
        self.template.write_text(TEMPLATE)
        self.assertFalse(self.corefile.changed())
        self.template.write_text(TEMPLATE.replace(".:53", "example.org:53"))
        self.assertTrue(self.corefile.changed())
        (self.settings / "stubDomains").unlink()
        self.assertEqual(self.keys(self.corefile.load()), ["example.org:53"])

    def test_bad_settings(self) -> None:
        """Settings that cannot be used leave those before in force, and at the start none; they are named, and the end of it is told."""
        domains = self.settings / "stubDomains"
        domains.write_text("{")
        self.assertEqual(self.keys(self.corefile.load()), [".:53"])
        domains.write_text('{"acme.local": ["10.0.0.1"]}')
        self.corefile.load()
        domains.write_bytes(b"\xff")
        self.assertTrue(self.corefile.changed())
        self.assertEqual(self.keys(self.corefile.load()), [".:53", "acme.local:53"])
        self.assertFalse(self.corefile.changed())
        first, fine, second = self.faults
        self.assertIn(f"{self.settings}: stubDomains: wanted JSON", first or "")
        self.assertIsNone(fine)
        self.assertIn("the settings before stay in force", second or "")

    def test_no_settings(self) -> None:
        """The ConfigMap is optional: its folder may be missing, or not be asked for, and is noticed when it comes."""
        self.settings.rmdir()
        self.assertEqual(self.keys(self.corefile.load()), [".:53"])
        self.assertEqual(self.faults, [None])
        self.settings.mkdir()
        self.assertTrue(self.corefile.changed())
        self.assertEqual(self.keys(self.made(replace(self.config, kube_dns="")).load()), [".:53"])

    def test_bad_template(self) -> None:
        """A template that is missing, or that no Corefile can be made of, is an error of the configuration."""
        self.template.write_text("__PILLAR__X__ {\n}\n")
        self.assertIn("__PILLAR__X__", str(self.assertRaises(CorefileError, self.corefile.load)))
        self.template.unlink()
        wanted = f"open {self.template}: no such file or directory"
        self.assertEqual(str(self.assertRaises(CorefileError, self.corefile.load)), wanted)
        self.assertEqual(self.faults[-1], wanted)

    def test_unwritable(self) -> None:
        """A Corefile that cannot be written is used all the same."""
        corefile = self.made(replace(self.config, corefile="/no/such/folder/Corefile"))
        self.assertEqual(self.keys(corefile.load()), [".:53"])
        (fault,) = self.faults
        self.assertIn("write /no/such/folder/Corefile: no such file or directory", fault or "")
