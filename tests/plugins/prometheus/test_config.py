"""Tests of :mod:`kdns.plugins.prometheus.config`: the directive, and a page from start to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.metrics import Registry
from kdns.core.observe import Exchange
from kdns.corefile.errors import SetupError
from kdns.corefile.values import ListenAddress
from kdns.plugin.seam import BlockBuilder, Keeper, Resource
from kdns.plugins.prometheus import Config, directive
from kdns.plugins.prometheus.config import EnabledPlugins, labels_of
from kdns.plugins.prometheus.observer import enabled_plugins
from kdns.testing.memory import MemoryReactor
from tests.plugins.web import Client, memory_house
from tests.support import a_request, blocks_of, built, parsed


class ParseTests(SynchronousTestCase):
    """What the Corefile may say."""

    def test_configs(self) -> None:
        """Address and options, each with its default."""
        for text, wanted in [
            ("prometheus", Config(ListenAddress("localhost", 9153))),
            ("prometheus :9153", Config(ListenAddress("", 9153))),
            ("prometheus [::1]:9253 {\n runtime_metrics\n}", Config(ListenAddress("::1", 9253), True)),
            ("prometheus {\n tls web.yml\n}", Config(tls="web.yml")),
        ]:
            self.assertEqual(parsed(directive, f". {{\n{text}\n}}"), wanted, text)

    def test_errors(self) -> None:
        """What it may not say."""
        place = "Corefile:3 - Error during parsing: "
        for text, wanted in [
            ("prometheus {\n frob\n}", place + "unknown property 'frob'"),
            ("prometheus {\n tls\n}", place + "Wrong argument count or unexpected line ending after 'tls'"),
            ("prometheus {\n runtime_metrics x\n}", place + "Wrong argument count or unexpected line ending after 'x'"),
            ("prometheus\nprometheus", "this plugin can only be used once per Server Block"),
        ]:
            error = self.assertRaises(SetupError, parsed, directive, f". {{\n{text}\n}}")
            self.assertEqual(str(error), f"plugin/prometheus: {wanted}")

    def test_file_below_root(self) -> None:
        """A relative path begins at the block's root."""
        ((block, words),) = blocks_of(". {\n prometheus {\n  tls web.yml\n }\n}", ("prometheus",))
        from dataclasses import replace

        config: Any = directive.parse(words["prometheus"], replace(block, root="/etc/coredns"))
        self.assertEqual(config.tls, "/etc/coredns/web.yml")

    def test_missing_file(self) -> None:
        """TLS settings that cannot be read fail the configuration."""
        path = str(Path(self.mktemp()).absolute())
        error = self.assertRaises(
            SetupError, built, directive, f". {{\n prometheus {{\n  tls {path}\n }}\n}}", memory_house(MemoryReactor())
        )
        self.assertTrue(str(error).startswith(f"plugin/prometheus: web configuration {path}: "), error)


class PageTests(SynchronousTestCase):
    """What a scraper gets."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor(["127.0.0.1"])
        self.context = memory_house(self.reactor)
        self.client = Client(self.reactor)

    def start(self, corefile: str, kept: Keeper | None = None) -> BlockBuilder:
        """A block, built and started."""
        builder = built(directive, corefile, self.context, kept)
        for resource in builder.resources:
            resource.start()
        return builder

    def stop(self, resources: list[Resource]) -> None:
        """The end."""
        for resource in resources:
            resource.stop()
        self.reactor.settle()

    def test_scrape(self) -> None:
        """The page shows what was counted, the process and the plugins of the block; nothing is left behind at the end."""
        builder = self.start(". {\n prometheus :9153\n whoami\n}")
        request = a_request("a.test.")
        builder.observers[0].finished(Exchange(request, Answer(source="whoami"), b"", ".", "", 0.001))
        answered = self.client.get(9153, "/metrics")
        self.assertEqual(answered.status, 200)
        self.assertEqual(answered.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        lines = answered.body.decode().splitlines()
        for wanted in (
            'coredns_dns_responses_total{server="dns://:53",zone=".",view="",rcode="NOERROR",plugin="whoami"} 1',
            'coredns_plugin_enabled{server="dns://:53",zone=".",view="",name="whoami"} 1',
            'coredns_plugin_enabled{server="dns://:53",zone=".",view="",name="prometheus"} 1',
            "coredns_panics_total 0",
        ):
            self.assertIn(wanted, lines)
        self.assertTrue(any(line.startswith("process_resident_memory_bytes ") for line in lines))
        self.assertTrue(answered.body.endswith(b"\n"))
        self.assertEqual(self.client.get(9153, "/").status, 404)
        self.stop(builder.resources)
        self.assertEqual(self.reactor.leftovers(), [])

    def test_blocks_share(self) -> None:
        """Blocks share observer, page and listener, so what no block took is counted once."""
        kept = Keeper()
        one = self.start(". {\n prometheus :9153\n}", kept)
        two = self.start("test {\n prometheus :9153\n}", kept)
        self.assertIs(one.observers[0], two.observers[0])
        self.assertEqual(len({*map(id, one.resources), *map(id, two.resources)}), len(one.resources) + 1)

    def test_two_addresses(self) -> None:
        """Two addresses show the same page."""
        kept = Keeper()
        self.start(". {\n prometheus :9153\n}", kept)
        self.start("test {\n prometheus :9253\n}", kept)
        self.assertEqual(self.client.get(9153, "/metrics").body, self.client.get(9253, "/metrics").body)

    def test_reload(self) -> None:
        """After a reload the page is open, counters go on, and only plugins of the new configuration show."""
        kept = Keeper()
        old = self.start(". {\n prometheus :9153\n whoami\n}", kept)
        old.observers[0].finished(Exchange(a_request("a.test."), Answer(), b"", ".", "", 0.001))
        new = built(directive, "test {\n prometheus :9153\n}", self.context, Keeper(kept.taken))
        fresh = [resource for resource in new.resources if resource not in old.resources]
        self.assertEqual(len(fresh), 1)
        for resource in fresh:
            resource.start()
        self.stop([resource for resource in old.resources if resource not in new.resources])
        lines = self.client.get(9153, "/metrics").body.decode().splitlines()
        self.assertEqual(
            [line for line in lines if line.startswith("coredns_plugin_enabled")],
            ['coredns_plugin_enabled{server="dns://:53",zone="test.",view="",name="prometheus"} 1'],
        )
        self.assertIn(
            'coredns_dns_requests_total{server="dns://:53",zone=".",view="",proto="udp",family="1",type="A"} 1', lines
        )


class EnabledTests(SynchronousTestCase):
    """The metric of plugins in the chain."""

    def labels(self, corefile: str, *, binds: tuple[str, ...] = (), view: str = "") -> list[tuple[str, str, str, str]]:
        """What a block of these directives shows."""
        names = ("prometheus", "errors", "cache", "forward", "health", "bind", "reload", "log")
        ((block, _),) = blocks_of(corefile, names)
        return labels_of(BlockBuilder(memory_house(MemoryReactor()), block, 0, binds=binds, view=view))

    def test_labels(self) -> None:
        """Plugins in the order of the chain, those that only configure left out, under the first key."""
        corefile = "a.test:1053 b.test {\n forward\n bind\n cache\n errors\n health\n reload\n prometheus\n}"
        self.assertEqual(
            self.labels(corefile, view="v"),
            [("dns://:1053", "a.test.", "v", name) for name in ("prometheus", "errors", "cache", "forward")],
        )

    def test_addresses(self) -> None:
        """Once for each address that the block listens on."""
        self.assertEqual(
            self.labels(". {\n log\n}", binds=("127.0.0.1", "::1")),
            [("dns://127.0.0.1:53", ".", "", "log"), ("dns://[::1]:53", ".", "", "log")],
        )

    def test_shown_as_long_as_anybody_does(self) -> None:
        """Two that show the same show 1, and it goes with the last."""
        registry = Registry()
        family = enabled_plugins(registry)
        values = ("dns://:53", ".", "", "log")
        one, two = EnabledPlugins(family, [values]), EnabledPlugins(family, [values])
        one.start()
        two.start()
        line = 'coredns_plugin_enabled{server="dns://:53",zone=".",view="",name="log"} 1'
        self.assertIn(line, list(registry.lines()))
        one.stop()
        self.assertIn(line, list(registry.lines()))
        two.stop()
        self.assertEqual(list(registry.lines()), [])
