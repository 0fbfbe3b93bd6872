"""The Corefile of a node from its template."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.kube_dns import KubeDnsSettings
from kdns.node_cache.template import STALE, BadTemplate, corefile_text
from kdns.server.assembly import read_text

TEMPLATE = """\
cluster.local:53 {
    errors
    cache {
            success 9984 30
            denial 9984 5
    }
    reload
    loop
    bind 169.254.20.10 10.96.0.10
    forward . __PILLAR__CLUSTER__DNS__ {
            force_tcp
    }
    prometheus :9253
    health 169.254.20.10:8080
    }
.:53 {
    errors
    cache 30
    reload
    loop
    bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__
    forward . __PILLAR__UPSTREAM__SERVERS__ {
            force_tcp
    }
    prometheus :9253
    }
"""


def made(template: str = TEMPLATE, settings: KubeDnsSettings | None = None, cluster_dns: str = "10.96.0.11") -> str:
    """The Corefile of a template."""
    return corefile_text(
        template,
        settings or KubeDnsSettings(),
        addresses=["169.254.20.10", "10.96.0.10"],
        cluster_dns=cluster_dns,
        variable="KUBE_DNS_UPSTREAM_SERVICE_HOST",
        port=53,
    )


def directives(text: str, block: int, name: str) -> list[str]:
    """The words of a directive in a block."""
    return [token.text for token in read_text(text, {}).blocks[block].directives[name].tokens]


class VariableTests(SynchronousTestCase):
    """What stands in the place of variables."""

    def test_without_settings(self) -> None:
        """The cluster's address, the node's addresses, and the node's own resolvers, over TCP as the template says."""
        text = made()
        self.assertEqual(directives(text, 0, "forward"), ["forward", ".", "10.96.0.11", "{", "force_tcp", "}"])
        self.assertEqual(directives(text, 1, "forward"), ["forward", ".", "/etc/resolv.conf", "{", "force_tcp", "}"])
        self.assertEqual(directives(text, 1, "bind"), ["bind", "169.254.20.10", "10.96.0.10"])
        self.assertNotIn("__PILLAR__", text)

    def test_upstream_servers(self) -> None:
        """The ConfigMap's servers are asked over UDP, also where the template says nothing of TCP."""
        settings = KubeDnsSettings({}, ("8.8.8.8", "[2001:db8::1]:5353"))
        plain = TEMPLATE.replace("UPSTREAM__SERVERS__ {\n            force_tcp\n    }", "UPSTREAM__SERVERS__")
        self.assertNotEqual(plain, TEMPLATE)
        for template in (TEMPLATE, plain):
            text = made(template, settings)
            self.assertEqual(directives(text, 1, "forward"), ["forward", ".", "8.8.8.8", "[2001:db8::1]:5353"])
            self.assertEqual(directives(text, 0, "forward")[-2:], ["force_tcp", "}"])

    def test_stub_domains(self) -> None:
        """Each has a block at the end, in the order of their names, on the node's addresses."""
        stubs = {"b.test": ("192.0.2.2",), "a.test": ("192.0.2.1", "192.0.2.2:5353")}
        text = made(settings=KubeDnsSettings(stubs))
        keys = [block.key_texts for block in read_text(text, {}).blocks]
        self.assertEqual(keys, [("cluster.local:53",), (".:53",), ("a.test:53",), ("b.test:53",)])
        self.assertEqual(directives(text, 2, "forward"), ["forward", ".", "192.0.2.1", "192.0.2.2:5353"])
        self.assertEqual(directives(text, 2, "bind"), ["bind", "169.254.20.10", "10.96.0.10"])

    def test_unknown_service(self) -> None:
        """Without the Service's address the error names the variable, but only if the template wants it."""
        error = self.assertRaises(BadTemplate, made, cluster_dns="")
        self.assertIn("KUBE_DNS_UPSTREAM_SERVICE_HOST", str(error))
        self.assertIn("10.9.9.9", made(TEMPLATE.replace("__PILLAR__CLUSTER__DNS__", "10.9.9.9"), cluster_dns=""))

    def test_left_variables(self) -> None:
        """A variable that the installer should have replaced is an error, not the name of a zone."""
        error = self.assertRaises(BadTemplate, made, TEMPLATE.replace("cluster.local", "__PILLAR__DNS__DOMAIN__"))
        self.assertIn("__PILLAR__DNS__DOMAIN__", str(error))


class StaleTests(SynchronousTestCase):
    """Expired answers are served while upstreams are away."""

    def test_added(self) -> None:
        """Each cache has serve_stale, with what else it says; the Corefile can be read."""
        text = made(settings=KubeDnsSettings({"a.test": ("192.0.2.1",)}))
        words = STALE.split()
        self.assertEqual(
            directives(text, 0, "cache"),
            ["cache", "{", *words, "success", "9984", "30", "denial", "9984", "5", "}"],
        )
        for block in (1, 2):
            self.assertEqual(directives(text, block, "cache"), ["cache", "30", "{", *words, "}"])

    def test_forms(self) -> None:
        """All ways to write the directive are found, and what only looks like it is not."""
        for line, wanted in (
            ("cache", ["cache", "{", *STALE.split(), "}"]),
            ("cache {\n}", ["cache", "{", *STALE.split(), "}"]),
            (
                "cache 30 example.org {\n  denial 5\n}",
                ["cache", "30", "example.org", "{", *STALE.split(), "denial", "5", "}"],
            ),
            ("cache 30 # short", ["cache", "30"]),
            ("cache 30 {\n serve_stale 0s\n}", ["cache", "30", "{", "serve_stale", "0s", "}"]),
        ):
            self.assertEqual(directives(made(f".:53 {{\n{line}\nwhoami\n}}\n"), 0, "cache"), wanted)
        other = ".:53 {\n    log\n    # cache 30\n    forward . 10.0.0.1 {\n        expire 10s\n    }\n}\n"
        self.assertEqual(made(other), other)
