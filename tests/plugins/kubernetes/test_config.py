"""What a ``kubernetes`` directive says in a Corefile, and what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugins.kubernetes import directive
from kdns.plugins.kubernetes.config import Config, Source
from kdns.server.assembly import assemble, read
from kdns.wire.names import from_text
from tests.apiserver.credentials import Login, write_kubeconfig
from tests.conformance.cases import CASES
from tests.plugins.kubernetes.logs import Heard
from tests.support import a_house, blocks_of, parsed

DISPENSER_ERROR = "Wrong argument count or unexpected line ending after"


def parsed_block(options: str, zones: str = "cluster.local", keys: str = ".:53") -> Config:
    """The config of a directive with those option lines."""
    config = parsed(directive, f"{keys} {{\n    kubernetes {zones} {{\n        {options}\n    }}\n}}\n")
    assert isinstance(config, Config)
    return config


class OptionTests(SynchronousTestCase):
    """Each option, one at a time."""

    def setUp(self) -> None:
        self.plain = parsed_block("")

    def test_defaults(self) -> None:
        """Without options: all namespaces, no pods, a TTL of 5 seconds, the API of the own cluster."""
        self.assertEqual(self.plain.ttl, 5)
        self.assertEqual(self.plain.pods, "disabled")
        self.assertEqual(self.plain.startup_timeout, 5.0)
        self.assertIsNone(self.plain.namespaces)
        self.assertEqual(self.plain.fallthrough, frozenset())
        self.assertEqual(self.plain.source, Source())

    def test_source(self) -> None:
        """Where the cluster is read from, and what of it."""
        certificates = ("c.pem", "k.pem", "ca.pem")
        for line, wanted in (
            ("endpoint https://10.0.0.1:6443", {"endpoint": "https://10.0.0.1:6443"}),
            ("endpoint https://a https://b", {"endpoint": "https://a"}),
            ("tls c.pem k.pem ca.pem", {"tls": certificates}),
            ("kubeconfig admin.conf", {"kubeconfig": "admin.conf"}),
            ("kubeconfig admin.conf prod", {"kubeconfig": "admin.conf", "context": "prod"}),
            ("apiserver_qps 2.5", {"qps": 2.5}),
            ("apiserver_burst 20", {"burst": 20}),
            ("apiserver_max_inflight 3", {"max_inflight": 3}),
            ("namespace_labels team=dns", {"namespace_labels": "team=dns"}),
            ("labels app in (a, b)", {"labels": "app in (a, b)"}),
            ("pods verified", {"pods": True}),
            ("endpoint_pod_names", {"pod_names": True}),
            ("noendpoints", {"endpoints": False}),
            ("zonal", {"zones": True}),
            ("multicluster", {"multicluster": True}),
            ("manifests a.yaml dir", {"manifests": ("a.yaml", "dir")}),
            ("manifests a.yaml\n manifests b.yaml", {"manifests": ("a.yaml", "b.yaml")}),
            ("snapshot /var/lib/kdns/cluster", {"snapshot": "/var/lib/kdns/cluster"}),
        ):
            zones = "cluster.local"
            keys = "cluster.local:53" if line == "multicluster" else ".:53"
            self.assertEqual(parsed_block(line, zones, keys).source, replace(Source(), **wanted), line)

    def test_more_endpoints(self) -> None:
        """Addresses that are not used are told of."""
        heard = Heard(self, lambda: 0.0)
        parsed_block("endpoint https://a")
        self.assertEqual(heard.texts, [])
        parsed_block("endpoint https://a https://b")
        self.assertEqual(heard.lines, [(0.0, "warn", "endpoint: only the first address, https://a, is used")])

    def test_answers(self) -> None:
        """What is answered from it."""
        for line, wanted in (
            ("namespaces Prod dev", {"namespaces": frozenset((b"prod", b"dev"))}),
            ("namespaces prod\n namespaces dev", {"namespaces": frozenset((b"prod", b"dev"))}),
            ("pods insecure", {"pods": "insecure"}),
            ("pods disabled", {"pods": "disabled"}),
            ("ttl 0", {"ttl": 0}),
            ("ttl 3600", {"ttl": 3600}),
            ("fallthrough", {"fallthrough": frozenset((b"\x00",))}),
            ("fallthrough a.test B.test", {"fallthrough": frozenset((from_text("a.test"), from_text("b.test")))}),
            ("fallthrough a.test\n fallthrough b.test", {"fallthrough": frozenset((from_text("b.test"),))}),
            ("ignore empty_service", {"ignore_empty": True}),
            ("ignore", {}),
            ("startup_timeout 1m30s", {"startup_timeout": 90.0}),
        ):
            self.assertEqual(parsed_block(line), replace(self.plain, **wanted), line)

    def test_labels_of_pods(self) -> None:
        """Labels of pods are kept where metadata could show them, and only there: they take memory."""
        corefile = "cluster.local {\n metadata\n kubernetes {\n  pods verified\n }\n}\n"
        block, words = blocks_of(corefile, ("metadata", "kubernetes"))[0]
        self.assertTrue(directive.parse(words["kubernetes"], block).source.pod_labels)
        self.assertFalse(parsed_block("pods verified").source.pod_labels)

    def test_root(self) -> None:
        """Relative paths begin where ``root`` says."""
        block, words = blocks_of(
            ".:53 {\n kubernetes a {\n kubeconfig k\n tls c k ca\n snapshot s\n }\n}", ("kubernetes",)
        )[0]
        source = directive.parse(words["kubernetes"], replace(block, root="/etc/kdns")).source
        self.assertEqual(source.kubeconfig, "/etc/kdns/k")
        self.assertEqual(source.tls, ("/etc/kdns/c", "/etc/kdns/k", "/etc/kdns/ca"))
        self.assertEqual(source.snapshot, "/etc/kdns/s")

    def test_zones(self) -> None:
        """Zones are names or networks, by default those of the block; PTR records point into the first that is no reverse one."""
        for zones, keys, names, primary in (
            ("", "cluster.local:53", ["cluster.local."], "cluster.local"),
            ("", "10.0.0.0/24 cluster.local", ["0.0.10.in-addr.arpa.", "cluster.local."], "cluster.local"),
            ("in-addr.arpa b.test a.test", ".:53", ["in-addr.arpa.", "b.test.", "a.test."], "b.test"),
            ("fd00::/16 Cluster.Local", ".", ["0.0.d.f.ip6.arpa.", "cluster.local."], "cluster.local"),
            (".", ".", ["."], "."),
        ):
            config = parsed_block("", zones, keys)
            self.assertEqual([zone.text for zone in config.zones], names)
            self.assertEqual(config.primary, from_text(primary))

    def test_multicluster_zones(self) -> None:
        """The zones of several clusters are among those of the plugin; without arguments they are the block's."""
        config = parsed_block("multicluster set.local", "cluster.local set.local")
        self.assertEqual(config.multicluster, frozenset([from_text("set.local")]))
        config = parsed_block("multicluster", "", "cluster.local set.local")
        self.assertEqual(config.multicluster, frozenset(map(from_text, ("cluster.local", "set.local"))))


class ErrorTests(SynchronousTestCase):
    """What an operator is told."""

    def error(self, options: str, zones: str = "cluster.local") -> str:
        """The text of the error."""
        return str(self.assertRaises(CorefileError, parsed_block, options, zones))

    def test_texts(self) -> None:
        """Place, option and value, where they help."""
        selector = "plugin/kubernetes: unable to parse namespace_label selector value: 'a b': couldn't parse the selector string \"a b\""
        for options, wanted in (
            ("frob", "plugin/kubernetes: Corefile:3 - Error during parsing: unknown property 'frob'"),
            ("ttl 3601", "plugin/kubernetes: Corefile:3 - Error during parsing: ttl must be in range [0, 3600]: 3601"),
            (
                "apiserver_burst -1",
                "plugin/kubernetes: Corefile:3 - Error during parsing: apiserver_burst must be >= 0",
            ),
            (
                "apiserver_max_inflight -2",
                "plugin/kubernetes: Corefile:3 - Error during parsing: apiserver_max_inflight must be >= 0",
            ),
            ("endpoint_pod_names x", f"plugin/kubernetes: Corefile:3 - Error during parsing: {DISPENSER_ERROR} 'x'"),
            ("zonal x", f"plugin/kubernetes: Corefile:3 - Error during parsing: {DISPENSER_ERROR} 'x'"),
            ("tls a b c d", f"plugin/kubernetes: Corefile:3 - Error during parsing: {DISPENSER_ERROR} 'd'"),
            ("kubeconfig a b c", f"plugin/kubernetes: Corefile:3 - Error during parsing: {DISPENSER_ERROR} 'c'"),
            ("snapshot", f"plugin/kubernetes: Corefile:3 - Error during parsing: {DISPENSER_ERROR} 'snapshot'"),
            ("manifests", f"plugin/kubernetes: Corefile:3 - Error during parsing: {DISPENSER_ERROR} 'manifests'"),
            ("ignore a b", f"plugin/kubernetes: Corefile:3 - Error during parsing: {DISPENSER_ERROR} 'b'"),
        ):
            self.assertEqual(self.error(options), wanted)
        self.assertTrue(self.error("namespace_labels a b").startswith(selector))

    def test_numbers(self) -> None:
        """A number that is none says so in Go's words, as dashboards of old know them."""
        self.assertEqual(
            self.error("apiserver_burst x"), 'plugin/kubernetes: strconv.Atoi: parsing "x": invalid syntax'
        )
        self.assertIn("invalid syntax", self.error("apiserver_qps x"))
        for text in ("nan", "inf"):
            self.assertIn("apiserver_qps", self.error(f"apiserver_qps {text}"))

    def test_only_reverse_zones(self) -> None:
        """There must be a zone that services have names in; the tops of the reverse zones count as such, as they do in CoreDNS."""
        for zones in ("in-addr.arpa", "ip6.arpa in-addr.arpa", "10.in-addr.arpa ip6.arpa"):
            self.assertEqual(parsed_block("", zones).primary, from_text("cluster.local"))
        for zones in ("10.in-addr.arpa", "10.0.0.0/8"):
            self.assertEqual(self.error("", zones), "plugin/kubernetes: non-reverse zone name must be used")


class GoldenTests(SynchronousTestCase):
    """The golden Corefiles about this plugin, assembled as at a start."""

    def test_golden(self) -> None:
        """The same error, or none."""
        cases = json.loads((CASES / "corefile-errors.json").read_text())["cases"]
        about = [case for case in cases if "kubernetes" in case["id"]]
        self.assertGreater(len(about), 25)
        for case in about:
            folder = Path(self.mktemp()).absolute()
            folder.mkdir()
            kubeconfig = write_kubeconfig(folder / "kubeconfig", "http://127.0.0.1:1", None, Login())
            text = case["corefile"].replace("{{PORT}}", "15353").replace("{{KUBECONFIG}}", str(kubeconfig))
            (folder / "Corefile").write_text(text)
            found = None
            try:
                assemble(read(str(folder / "Corefile"), {}), a_house(Clock()))
            except CorefileError as error:
                found = str(error).replace(f"{folder}/", "")
            self.assertEqual(found, case.get("kdns_expect", case)["error"], case["id"])
