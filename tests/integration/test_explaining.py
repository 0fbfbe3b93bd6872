# -*- test-case-name: tests.integration.test_explaining -*-
"""``kdns explain`` and ``kdns cache`` against programs that run: the command, the socket, and what is told to clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dns.message
import dns.query
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kdns.admin.client import ask
from tests.admin.test_explain import KINDS, MISSING, shown, stated
from tests.integration.clusters import Api, shared
from tests.integration.programs import PATIENCE, ROOT, Program, free_port

DEFAULT = """\
.:{port} {{
    bind 127.0.0.1
    errors
    health 127.0.0.1:{health} {{
       lameduck 0s
    }}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
       kubeconfig {kubeconfig}
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
       startup_timeout 60s
    }}
    forward . 127.0.0.2:{port}
    cache 30
    loop
    reload
    loadbalance
}}
.:{port} {{
    bind 127.0.0.2
    hosts {{
        198.51.100.20 www.example.org
    }}
}}
"""
"""As kubeadm installs it, but for ports, the way to the API, and upstreams; cluster names are cached."""


def said(port: int, name: str, qtype: str = "A") -> dict[str, Any]:
    """What the server tells a client."""
    query = dns.message.make_query(name, qtype, use_edns=False)
    return shown(dns.query.udp(query, "127.0.0.1", timeout=PATIENCE, port=port))


def command(program: Program, *words: str) -> tuple[int, str, str]:
    """Run ``kdns`` beside a program, as its operator would: exit status, output and errors."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": program.runtime.name}
    done = subprocess.run(
        [sys.executable, "-m", "kdns", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def ports(*names: str) -> dict[str, str]:
    """Free ports, all different."""
    found: dict[str, str] = {}
    while len(set(found.values())) < len(names):
        found = {name: str(free_port()) for name in names}
    return found


class DemoTests(SynchronousTestCase):
    """``make run``, and its operator."""

    def test_truth(self) -> None:
        """For every kind of name the stated reply is what clients get, and what does not exist is told why."""
        environment = ports("PORT", "HEALTH_PORT", "READY_PORT", "METRICS_PORT")
        port = int(environment["PORT"])
        with Program(["conf/demo/run.py"], environment) as program:
            program.wait_for("Ctrl-C ends it.")
            path = str(Path(program.runtime.name) / "kdns.sock")
            for name, qtype, _ in KINDS:
                if qtype == "AXFR":
                    continue
                wanted = said(port, name, qtype)  # first, so that both find it in the cache
                explained = ask(path, "explain", {"name": name, "type": qtype})
                self.assertEqual(stated(explained["reply"])["answer"], wanted["answer"], name)
                self.assertEqual(explained["reply"]["rcode"], wanted["rcode"], name)
            for name, qtype, wanted_text in MISSING:
                explained = ask(path, "explain", {"name": name, "type": qtype})
                self.assertEqual((explained["missing"], explained["reply"]["rcode"]), ([wanted_text], "NXDOMAIN"), name)
            status, out, errors = command(program, "explain", "web", "--search", "shop")
            self.assertEqual((status, errors), (0, ""))
            self.assertTrue(out.startswith("web.shop.svc.cluster.local. A: 10.96.20.30   (says kubernetes)\n"), out)
            status, out, errors = command(program, "cache", "flush", "--all")
            self.assertEqual((status, errors), (0, ""))
            self.assertIn(" flushed, and ", out)
            status, out, _ = command(program, "cache", "list", "--json")
            self.assertEqual((status, json.loads(out)["entries"]), (1, []))
            mode = os.stat(path).st_mode & 0o777
            self.assertEqual(mode, 0o600)
        status, out, errors = command(program, "explain", "web", "--socket", path)
        self.assertEqual((status, out), (3, ""))
        self.assertTrue(errors.startswith(f"kdns explain: no kdns answers at {path}: "), errors)

    def test_two_servers(self) -> None:
        """A second server leaves the first one's socket alone, warns, and serves names all the same."""
        environment = ports("PORT", "HEALTH_PORT", "READY_PORT", "METRICS_PORT")
        with Program(["conf/demo/run.py"], environment) as first:
            first.wait_for("Ctrl-C ends it.")
            other = {**ports(*environment), "XDG_RUNTIME_DIR": first.runtime.name}
            with Program(["conf/demo/run.py"], other) as second:
                text = second.wait_for("Ctrl-C ends it.")
                self.assertIn("[WARNING] No admin socket: another kdns answers at ", text)
                self.assertEqual(said(int(other["PORT"]), KINDS[0][0])["rcode"], "NOERROR")
            path = str(Path(first.runtime.name) / "kdns.sock")
            self.assertEqual(ask(path, "about")["pid"], first.process.pid)


class DefaultTests(TestCase):
    """A Corefile like CoreDNS's default, and an API server."""

    timeout = 120.0

    def test_truth(self) -> Deferred[None]:
        """The same with objects of an API, whose versions and age are stated, and with cluster names that are cached."""
        return Deferred.fromCoroutine(self._truth())

    async def _truth(self) -> None:
        from twisted.internet import reactor

        api = Api(reactor, shared())
        await api.open()
        try:
            namespace = await api.namespace()
            http = [{"name": "http", "port": 80, "protocol": "TCP"}]
            web = await api.create("Service", namespace, "web", spec={"ports": http})
            await api.create("Service", namespace, "db", spec={"clusterIP": "None", "ports": http})
            await api.create(
                "Service", namespace, "away", spec={"type": "ExternalName", "externalName": "www.example.org"}
            )
            labels = {"kubernetes.io/service-name": "db", "endpointslice.kubernetes.io/managed-by": "tests.kdns"}
            endpoints = [
                {"addresses": ["10.77.9.1"], "hostname": "db-0", "conditions": {"ready": True}},
                {"addresses": ["10.77.9.2"], "hostname": "db-1", "conditions": {"ready": False}},
            ]
            await api.create(
                "EndpointSlice", namespace, "db-x", labels=labels, addressType="IPv4", endpoints=endpoints, ports=http
            )
            await deferToThread(self._asked, namespace, web["spec"]["clusterIP"], web["metadata"]["resourceVersion"])
        finally:
            await api.close()

    def _asked(self, namespace: str, address: str, version: str) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        free = ports("port", "health")
        corefile = DEFAULT.format(kubeconfig=shared(), **free)
        (folder / "Corefile").write_text(corefile)
        port = int(free["port"])
        with Program(["-m", "kdns", "-conf", str(folder / "Corefile")]) as program:
            program.wait_for("twisted-")
            path = str(Path(program.runtime.name) / "kdns.sock")

            def explained(name: str, qtype: str = "", **more: Any) -> dict[str, Any]:
                return ask(path, "explain", {"name": name, "type": qtype, **more})

            domain = f"{namespace}.svc.cluster.local"
            for name, qtype in (
                (f"web.{domain}", "A"),
                (f"_http._tcp.web.{domain}", "SRV"),
                (f"db.{domain}", "A"),
                (f"db-0.db.{domain}", "A"),
                (f"away.{domain}", "A"),
                (f"10-1-2-3.{namespace}.pod.cluster.local", "A"),
                ("cluster.local", "SOA"),
                ("www.example.org", "A"),
                (f"nothing.{domain}", "A"),
            ):
                said(port, name, qtype)
                wanted = said(port, name, qtype)  # what the cache gives from the second time on
                self.assertEqual(stated(explained(name, qtype)["reply"]), wanted, name)
            texts = [note["text"] for step in explained(f"web.{domain}.", "AAAA")["steps"] for note in step["notes"]]
            self.assertIn(f'service "web" exists: cluster IP {address} (resource version {version})', texts)
            cached = explained(f"web.{domain}")
            self.assertEqual([step["plugin"] for step in cached["steps"]], ["loadbalance", "cache"])
            self.assertRegex(
                cached["steps"][-1]["notes"][0]["text"], r"^hit: a success, stored \d+ s ago for 30 s, \d+ s left$"
            )
            self.assertEqual(
                explained(f"db-1.db.{domain}")["missing"],
                ['there is no ready endpoint "db-1"; those that are ready: db-0'],
            )
            fresh = explained(f"db-2.db.{domain}")["freshness"]["kubernetes"]
            self.assertRegex(fresh[0], r"Service, \d+ EndpointSlice known, synced$")
            self.assertEqual(
                sorted(line.partition(":")[0] for line in fresh[1:]), ["endpointslices", "namespaces", "services"]
            )
            self.assertRegex(fresh[1], r": heard of \d+ s ago, synced \d+ s ago; changes arrive as they happen$")
            self.assertEqual(explained(address)["reply"]["answer"][0][4], f"web.{domain}.")
            walked = explained("db", client="10.77.9.1")
            self.assertEqual((walked["search"]["namespace"], walked["search"]["answered"]), (namespace, True))
