# -*- test-case-name: tests.integration.test_cluster -*-
"""
A cluster for integration tests, by its kubeconfig: the one that ``KDNS_TEST_KUBECONFIG`` names, else the fake API server as a program.

Both are spoken to in the same way, over HTTP with the credentials of the kubeconfig. What a test makes is in namespaces of its own, whose
names begin with ``kdns-test-``.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import yaml
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.protocols.portforward import ProxyFactory, ProxyServer
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer, readBody
from twisted.web.http_headers import Headers

from kdns.cluster.connections import Connections
from kdns.cluster.credentials import AccessOptions, Credentials
from kdns.cluster.kubeconfig import find_credentials

PATHS = {
    "Namespace": "/api/v1/namespaces",
    "Service": "/api/v1/namespaces/{}/services",
    "Pod": "/api/v1/namespaces/{}/pods",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
}
VERSIONS = {"EndpointSlice": "discovery.k8s.io/v1"}

_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


@cache
def shared() -> Path:
    """The kubeconfig of the cluster for all tests of this run; the fake one is started for the first and ends with the process."""
    real = os.environ.get("KDNS_TEST_KUBECONFIG")
    if real:
        return Path(real)
    folder = TemporaryDirectory(prefix="kdns-test-")
    atexit.register(folder.cleanup)
    fake = FakeProgram(Path(folder.name))
    atexit.register(fake.stop)
    return fake.kubeconfig


class FakeProgram:
    """``python -m tests.apiserver`` as a process of its own, over TLS."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        arguments = ["--tls", "--token", token_hex(8), "--kubeconfig-out", str(self.kubeconfig)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.apiserver", *arguments], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("listening at "):
            self.stop()
            raise RuntimeError(f"the fake API server did not start: {line!r}")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Refused(Exception):
    """The API server does not do what was asked."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(f"{code}: {text}")


class Api:
    """What a test does to the cluster."""

    def __init__(self, reactor: Any, kubeconfig: Path) -> None:
        self._reactor = reactor
        self._credentials: Credentials = find_credentials(
            reactor, AccessOptions(kubeconfig=str(kubeconfig)), os.environ
        )
        self._connections: Connections | None = None
        self._authorization = b""
        self._url = ""
        self.namespaces: list[str] = []

    async def open(self) -> None:
        """Get the credentials, which may take a program."""
        found = self._credentials.current(self._reactor.seconds())
        access = await found if isinstance(found, Deferred) else found
        self._connections = Connections(self._reactor, access.server, access.trust)
        self._authorization = access.authorization
        self._url = access.server.url

    async def close(self) -> None:
        """Remove what was made, and end."""
        for namespace in self.namespaces:
            await self.request("DELETE", f"{PATHS['Namespace']}/{namespace}")
        self._credentials.stop()
        if self._connections is not None:
            await self._connections.stop()

    async def request(self, method: str, path: str, body: Any = None, patch: bool = False) -> Any:
        """
        One request, and the object in its answer.

        :raises Refused: its status is an error.
        """
        assert self._connections is not None
        headers = {"Accept": ["application/json"]}
        headers["Content-Type"] = ["application/merge-patch+json" if patch else "application/json"]
        if self._authorization:
            headers["Authorization"] = [self._authorization.decode()]
        producer = None if body is None else FileBodyProducer(BytesIO(json.dumps(body).encode()))
        url = f"{self._url}{path}".encode()
        response = await self._connections.lists.request(method.encode(), url, Headers(headers), producer)
        octets = await readBody(response)
        if response.code >= 400:
            raise Refused(response.code, octets.decode(errors="replace")[:500])
        return json.loads(octets)

    async def namespace(self) -> str:
        """Make a namespace; it goes with :meth:`close`."""
        name = f"kdns-test-{token_hex(4)}"
        await self.create("Namespace", "", name)
        self.namespaces.append(name)
        return name

    async def create(self, kind: str, namespace: str, name: str, **parts: Any) -> Any:
        """Make an object, and return it as the server completed it; *labels* are those of its metadata."""
        metadata = {"name": name, "labels": parts.pop("labels", {})}
        thing = {"kind": kind, "apiVersion": VERSIONS.get(kind, "v1"), "metadata": metadata, **parts}
        return await self.request("POST", PATHS[kind].format(namespace), thing)

    async def change(self, kind: str, namespace: str, name: str, patch: Mapping[str, Any], part: str = "") -> Any:
        """Merge *patch* into an object, or into a *part* of it that is written for itself: ``status``."""
        path = f"{PATHS[kind].format(namespace)}/{name}{'/' if part else ''}{part}"
        return await self.request("PATCH", path, patch, patch=True)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Remove an object."""
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        await self.request("DELETE", f"{PATHS[kind].format(namespace)}/{name}", options)


class Wire:
    """The way from kdns to the API server, which a test may cut: a port that passes everything on."""

    def __init__(self, reactor: Any, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        current = config.get("current-context")
        context = next(one["context"] for one in config["contexts"] if one["name"] == current)
        cluster = next(one["cluster"] for one in config["clusters"] if one["name"] == context["cluster"])
        user: Any = next((one["user"] for one in config.get("users", ()) if one["name"] == context.get("user")), {})
        for part in (cluster, user):
            for name in _FILES:
                if part.get(name):
                    part[name] = str(kubeconfig.absolute().parent / part[name])
        server = urlsplit(cluster["server"])
        assert server.hostname is not None
        self._factory = _Way(server.hostname, server.port or (443 if server.scheme == "https" else 80))
        self._port = reactor.listenTCP(0, self._factory, interface="127.0.0.1")
        if server.scheme == "https":
            cluster.setdefault("tls-server-name", server.hostname)
        cluster["server"] = f"{server.scheme}://127.0.0.1:{self._port.getHost().port}{server.path}"
        self.kubeconfig = folder / "kubeconfig-through-wire"
        self.kubeconfig.touch(0o600)
        self.kubeconfig.write_text(yaml.safe_dump(config))

    @property
    def made(self) -> int:
        """How many connections there were so far."""
        return self._factory.made

    def cut(self) -> None:
        """Cut every connection; new ones get through."""
        for end in list(self._factory.ends):
            end.cut()

    async def stop(self) -> None:
        """Be no more."""
        await maybeDeferred(self._port.stopListening)
        waiting = [end.gone for end in self._factory.ends]
        self.cut()
        for gone in waiting:
            await gone


class _End(ProxyServer):
    gone: Deferred[None]
    factory: _Way

    def connectionMade(self) -> None:
        """Take part."""
        self.gone = Deferred()
        self.factory.ends.append(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client's side is closed."""
        self.factory.ends.remove(self)
        super().connectionLost(reason)
        self.gone.callback(None)

    def cut(self) -> None:
        """Reset both sides."""
        for side in (self, self.peer):
            if side is not None and side.transport is not None:
                side.transport.abortConnection()


class _Way(ProxyFactory):
    noisy = False
    protocol = _End

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.ends: list[Any] = []
        self.made = 0

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Count it."""
        self.made += 1
        return super().buildProtocol(addr)
