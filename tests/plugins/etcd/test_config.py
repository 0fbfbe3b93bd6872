# -*- test-case-name: tests.plugins.etcd.test_config -*-
"""``etcd`` in a Corefile: what it means, and what is refused."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.etcd import directive
from kdns.plugins.etcd.config import EtcdConfig, Source
from kdns.plugins.stores.rest import TrustFiles
from kdns.testing.certificates import Authority
from kdns.testing.plugin import PluginBench
from kdns.wire.names import ROOT, from_text


class ConfigTests(SynchronousTestCase):
    """kdns.plugins.etcd.config. What CoreDNS's errors are is in the golden cases."""

    def config(self, text: str) -> EtcdConfig:
        """The config of some lines in a block for the root."""
        bench = PluginBench.__new__(PluginBench)
        bench._directive, bench._zone, bench._behind = directive, ".", ()
        found: EtcdConfig = bench.parse(text)
        return found

    def test_defaults(self) -> None:
        """Without options it is SkyDNS's path on this host, for the zones of the block."""
        self.assertEqual(self.config("etcd"), EtcdConfig((ROOT,), Source(("http://localhost:2379",), "/skydns/")))

    def test_all(self) -> None:
        """Every option; those that have no effect in CoreDNS have none here."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        authority = Authority()
        own = authority.client("kdns")
        for name, pem in (("c", own.certificate_pem), ("k", own.key_pem), ("a", authority.certificate_pem)):
            (folder / name).write_bytes(pem)
        found = self.config(
            f"etcd a.test b.test {{\n path a//b/\n endpoint https://e1:1 e2 [::1]:7\n credentials u p\n"
            f" tls {folder}/c {folder}/k {folder}/a\n min-lease-ttl 10s\n max-lease-ttl 5\n fallthrough b.test\n stubzones\n"
            " debug\n upstream 10.0.0.1\n}"
        )
        files = TrustFiles(f"{folder}/c", f"{folder}/k", f"{folder}/a")
        source = Source(("https://e1:1", "https://e2:2379", "https://[::1]:7"), "/a/b/", "u", "p", files)
        wanted = EtcdConfig((from_text("a.test"), from_text("b.test")), source, 10, 10, (from_text("b.test"),))
        self.assertEqual(found, wanted)
        self.assertNotIn("'p'", repr(found))

    def test_zero(self) -> None:
        """A TTL of 0 is the default; the path / stands for all keys."""
        found = self.config("etcd {\n min-lease-ttl 0\n max-lease-ttl 0s\n path /\n endpoint h\n}")
        self.assertEqual((found.min_lease_ttl, found.max_lease_ttl), (30, 86400))
        self.assertEqual(found.source, Source(("http://h:2379",), "/"))

    def test_refused(self) -> None:
        """What cannot be an endpoint, and a second use."""
        bench = PluginBench.__new__(PluginBench)
        bench._directive, bench._zone, bench._behind = directive, ".", ()
        self.assertIn("endpoint 'ftp://h' is no URL", bench.error("etcd {\n endpoint ftp://h\n}"))
        self.assertIn("endpoint", bench.error("etcd {\n endpoint http://h:x\n}"))
        self.assertIn("once per Server Block", bench.error("etcd a.test\netcd b.test"))
