"""The real kubectl takes the fake API server for a Kubernetes API server."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.apiserver import ADMIN, COREDNS, LIST_AND_WATCH, ApiServer, Login, User
from tests.deployment.objects import BASE, HPA, LADDER, LINEAR, NODE_LOCAL, REPLACE, as_written, one

KUBECTL = shutil.which("kubectl")
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: prod}}
spec:
  selector: {{app: web}}
  ports:
  - {{name: http, port: {port}, protocol: TCP}}
"""


class Kubectl(ProcessProtocol):
    """One run of kubectl."""

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.code: int | None = None
        self.ended: Deferred[None] = Deferred()
        self._waiting: list[tuple[bytes, Deferred[None]]] = []

    def outReceived(self, data: bytes) -> None:
        self.out += data
        for word, found in list(self._waiting):
            if word in self.out:
                self._waiting.remove((word, found))
                found.callback(None)

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def printed(self, word: bytes) -> Deferred[None]:
        """Fires when the output holds a word."""
        found: Deferred[None] = Deferred()
        self._waiting.append((word, found))
        self.outReceived(b"")
        return found

    def processEnded(self, reason: Failure) -> None:
        self.code = getattr(reason.value, "exitCode", None)
        for _, found in self._waiting:
            found.errback(Failure(ConnectionDone(self.err.decode())))
        self.ended.callback(None)


class KubectlTests(TestCase):
    """kubectl against the fake, over TLS with a token, as against any cluster."""

    timeout = 60.0
    if KUBECTL is None:
        skip = "kubectl is not on PATH"

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.api = ApiServer(self.reactor)
        self.api.access.tokens["right"] = ADMIN
        self.api.apply({"kind": "Namespace", "metadata": {"name": "prod"}})
        self.api.start(tls=True)
        self.addCleanup(self.api.stop)
        self.config = self.api.kubeconfig(self.folder / "config", Login(token="right"))

    def start(self, *arguments: str, config: Path | None = None) -> Kubectl:
        """Start kubectl, with nothing of the user's around it."""
        assert KUBECTL is not None
        process = Kubectl()
        environment = {"KUBECONFIG": str(config or self.config), "HOME": str(self.folder), "PATH": os.environ["PATH"]}
        command = [KUBECTL, f"--cache-dir={self.folder / 'cache'}", *arguments]
        self.reactor.spawnProcess(process, KUBECTL, command, environment)
        return process

    async def run_kubectl(self, *arguments: str, code: int = 0, config: Path | None = None) -> Kubectl:
        """Run kubectl to its end, which must have this code."""
        process = self.start(*arguments, config=config)
        await process.ended
        self.assertEqual(process.code, code, process.err)
        return process

    def manifest(self, port: int) -> str:
        """A file with the Service at this port."""
        path = self.folder / f"service-{port}.yaml"
        path.write_text(SERVICE.format(port=port))
        return str(path)

    async def test_get_json(self) -> None:
        """A list as JSON is what the server has, kinds filled in."""
        found = json.loads((await self.run_kubectl("get", "services", "-A", "-o", "json")).out)
        (service,) = found["items"]
        self.assertEqual((service["kind"], service["metadata"]["name"]), ("Service", "kubernetes"))
        self.assertEqual(service["spec"]["clusterIP"], "10.96.0.1")

    async def test_apply_and_delete(self) -> None:
        """Apply creates, changes, finds nothing to change; delete waits until the object is gone."""
        for port, wanted in ((80, b"created"), (80, b"unchanged"), (81, b"configured")):
            process = await self.run_kubectl("apply", "-f", self.manifest(port))
            self.assertIn(wanted, process.out)
        (port_found,) = self.api.get("service", "prod", "web")["spec"]["ports"]
        self.assertEqual((port_found["port"], port_found["protocol"]), (81, "TCP"))
        process = await self.run_kubectl("delete", "service", "web", "-n", "prod")
        self.assertIn(b"deleted", process.out)
        self.assertEqual(self.api.objects("services", "prod"), [])

    async def test_create_label_patch(self) -> None:
        """Create refuses a name that is taken; labels and patches arrive."""
        await self.run_kubectl("create", "-f", self.manifest(80))
        process = await self.run_kubectl("create", "-f", self.manifest(80), code=1)
        self.assertIn(b'services "web" already exists', process.err)
        await self.run_kubectl("label", "service", "web", "-n", "prod", "tier=front")
        patch = '[{"op":"add","path":"/metadata/labels/x","value":"y"}]'
        await self.run_kubectl("patch", "service", "web", "-n", "prod", "--type=json", "-p", patch)
        labels = self.api.get("service", "prod", "web")["metadata"]["labels"]
        self.assertEqual(labels, {"tier": "front", "x": "y"})
        process = await self.run_kubectl("get", "svc", "-A", "-l", "tier in (front)", "-o", "name")
        self.assertEqual(process.out, b"service/web\n")

    async def test_server_side_apply(self) -> None:
        """Server-side apply creates and changes too."""
        for port in (80, 81):
            await self.run_kubectl("apply", "--server-side", "-f", self.manifest(port))
        self.assertIn(81, [port["port"] for port in self.api.get("service", "prod", "web")["spec"]["ports"]])

    async def test_deployment(self) -> None:
        """The manifests in conf/kubernetes are applied, first dry, then in earnest; a second time there is nothing to change."""
        self.api.apply({"kind": "Namespace", "metadata": {"name": "kube-system"}})
        for folder in (BASE, HPA, LINEAR, LADDER, NODE_LOCAL):
            process = await self.run_kubectl("apply", "--dry-run=client", "-k", str(folder))
            self.assertEqual(self.api.objects("deployments", "kube-system"), [])
            self.assertEqual(process.out.count(b"created (dry run)"), len(as_written(folder)))
        for outcome in (b"created", b"unchanged"):
            process = await self.run_kubectl("apply", "-k", str(BASE))
            # Of a budget kubectl says each time that it was configured, because its selector is always replaced as a whole.
            said = process.out.replace(b"budget.policy/coredns configured", b"budget.policy/coredns unchanged")
            self.assertEqual(said.count(outcome), len(as_written(BASE)), said)
        (deployment,) = self.api.objects("deployments", "kube-system")
        self.assertEqual(deployment["spec"], one(as_written(BASE), "Deployment")["spec"])

    async def test_replacement(self) -> None:
        """The overlay that replaces CoreDNS changes the image of the Deployment that is there."""
        self.api.apply({"kind": "Namespace", "metadata": {"name": "kube-system"}})
        coredns = one(as_written(BASE), "Deployment")
        coredns["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.k8s.io/coredns/coredns:v1.12.0"
        self.api.apply(coredns)
        words = ("--server-side", "--field-manager=kdns", "--force-conflicts", "-k", str(REPLACE))
        await self.run_kubectl("apply", "--dry-run=client", "--validate=false", "-k", str(REPLACE))
        await self.run_kubectl("apply", *words)
        found = self.api.get("deployment", "kube-system", "coredns")["spec"]
        coredns["spec"]["template"]["spec"]["containers"][0]["image"] = "kdns:0.1.0"
        self.assertEqual(found, coredns["spec"])

    async def test_watch(self) -> None:
        """A watch shows what happens after it began."""
        process = self.start("get", "services", "-A", "-w", "-o", "name")
        await process.printed(b"service/kubernetes\n")
        meta = {"name": "later", "namespace": "prod"}
        self.api.apply({"kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}})
        await process.printed(b"service/later\n")
        transport: Any = process.transport
        transport.signalProcess("TERM")
        await process.ended

    async def test_pages(self) -> None:
        """A list fetched in pages is complete."""
        self.api.populate(services=30, slices=0, namespaces=3)
        process = await self.run_kubectl("get", "services", "-A", "--chunk-size=7", "-o", "name")
        self.assertEqual(len(process.out.splitlines()), 31)
        requests = self.api.requests_for("list", "services")
        self.assertEqual([request.query["limit"] for request in requests], ["7"] * 5)
        self.assertEqual(sum("continue" in request.query for request in requests), 4)

    async def test_namespace(self) -> None:
        """A namespace goes with what is in it."""
        await self.run_kubectl("apply", "-f", self.manifest(80))
        await self.run_kubectl("delete", "namespace", "prod")
        process = await self.run_kubectl("get", "service", "web", "-n", "prod", code=1)
        self.assertIn(b'namespaces "prod" not found', process.err)

    async def test_resources(self) -> None:
        """The resources are found by discovery, short names and all."""
        process = await self.run_kubectl("api-resources", "-o", "name")
        wanted = {b"endpointslices.discovery.k8s.io", b"serviceimports.multicluster.x-k8s.io", b"services"}
        self.assertTrue(wanted <= set(process.out.split()))
        await self.run_kubectl("get", "svcim,endpointslices,po,ns", "-A")

    async def test_unauthorized(self) -> None:
        """A wrong token is Unauthorized."""
        wrong = self.api.kubeconfig(self.folder / "wrong", Login(token="wrong"))
        process = await self.run_kubectl("get", "services", "-A", code=1, config=wrong)
        self.assertIn(b"You must be logged in to the server", process.err)
        # With what it discovered while it was let in, kubectl comes as far as the list itself.
        await self.run_kubectl("get", "services", "-A")
        process = await self.run_kubectl("get", "services", "-A", code=1, config=wrong)
        self.assertIn(b"(Unauthorized)", process.err)

    async def test_forbidden(self) -> None:
        """A user without the right is told so in the words of the real server."""
        self.api.access.tokens["dns"] = User(COREDNS, LIST_AND_WATCH)
        config = self.api.kubeconfig(self.folder / "dns", Login(token="dns"))
        await self.run_kubectl("get", "services", "-A", config=config)
        process = await self.run_kubectl("get", "service", "kubernetes", code=1, config=config)
        self.assertIn(
            f'services "kubernetes" is forbidden: User "{COREDNS}" cannot get resource "services"'
            ' in API group "" in the namespace "default"'.encode(),
            process.err,
        )

    async def test_other_logins(self) -> None:
        """kubectl gets in by certificate, password, token file and exec program as well."""
        access = self.api.access
        access.certificates["ada"] = access.passwords["ada", "secret"] = ADMIN
        (self.folder / "token").write_text("right")
        for login in (
            Login(certificate=self.api.client_certificate("ada", ("system:masters",))),
            Login(basic=("ada", "secret")),
            Login(token_file=self.folder / "token"),
            Login(exec_token="right"),
        ):
            config = self.api.kubeconfig(self.folder / "other", login)
            process = await self.run_kubectl("get", "services", "-A", "-o", "name", config=config)
            self.assertEqual(process.out, b"service/kubernetes\n")

    async def test_strange_authority(self) -> None:
        """A server of another authority is not trusted."""
        self.api.rotate_authority()
        process = await self.run_kubectl("get", "services", "-A", code=1)
        self.assertIn(b"certificate signed by unknown authority", process.err)
