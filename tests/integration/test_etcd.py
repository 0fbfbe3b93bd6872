"""A real etcd: the fake one is compared with it, and kdns answers from its keys."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from kdns.core.timing import pause
from kdns.plugin.seam import ServerContext
from kdns.plugins.etcd.config import Source
from kdns.plugins.etcd.gateway import coded, range_end
from kdns.plugins.etcd.store import EtcdStore, State
from kdns.plugins.stores.rest import NO_FILES, RestClient, StoreProblem, TrustFiles
from kdns.testing.certificates import Authority
from tests.plugins.etcd.checks import check_lease, check_probe, check_range, check_watch


class _Process(ProcessProtocol):
    def __init__(self) -> None:
        self.output = b""
        self.ended: Deferred[None] = Deferred()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.output += data

    def processEnded(self, reason: Failure) -> None:
        assert reason.check(ProcessDone, ProcessTerminated)
        self.ended.callback(None)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


class RealEtcd:
    """An etcd of its own, in a folder of its own."""

    def __init__(self, reactor: Any, folder: Path, authority: Authority | None = None) -> None:
        """:param authority: of its certificate and of those of its clients; None for no TLS."""
        self._reactor = reactor
        self._folder = folder
        self._process: Any = None
        self._protocol = _Process()
        self._tls: list[str] = []
        self.files = NO_FILES
        self.token = ""
        if authority is not None:
            self._use(authority)
        self.client = RestClient(reactor, self.files)

    def _use(self, authority: Authority) -> None:
        paths = {name: str(self._folder / name) for name in ("ca", "cert", "key", "own", "own-key")}
        server, own = authority.peer("127.0.0.1"), authority.client("kdns")
        pems = (authority.certificate_pem, server.certificate_pem, server.key_pem, own.certificate_pem, own.key_pem)
        for path, pem in zip(paths.values(), pems, strict=True):
            Path(path).write_bytes(pem)
        self._tls = [
            "--cert-file",
            paths["cert"],
            "--key-file",
            paths["key"],
            "--trusted-ca-file",
            paths["ca"],
            "--client-cert-auth",
        ]
        self.files = TrustFiles(paths["own"], paths["own-key"], paths["ca"])

    async def start(self) -> None:
        """Start, at other ports when somebody was quicker, and wait until it answers."""
        for _ in range(5):
            ports = free_ports(2)
            self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{ports[0]}"
            peer = f"http://127.0.0.1:{ports[1]}"
            self.command = [
                "etcd", "--name", "t", "--data-dir", str(self._folder / "data"), "--listen-client-urls", self.url,
                "--advertise-client-urls", self.url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", f"t={peer}", "--unsafe-no-fsync",
                *self._tls,
            ]  # fmt: skip
            self.run()
            if await self._answers():
                return
            if not self._protocol.ended.called:
                await self.kill()
            shutil.rmtree(self._folder / "data", ignore_errors=True)
        raise AssertionError(self._protocol.output.decode("utf-8", "replace")[-2000:])

    def run(self) -> None:
        """Run the program."""
        self._protocol = _Process()
        path = shutil.which("etcd")
        assert path is not None
        self._process = self._reactor.spawnProcess(self._protocol, path, self.command, env=os.environ)

    async def _answers(self) -> bool:
        for _ in range(200):
            if self._protocol.ended.called:
                return False
            try:
                await self.call("/v3/kv/range", {"key": coded(b"x")})
            except StoreProblem:
                await pause(self._reactor, 0.1)
            else:
                return True
        return False

    async def kill(self) -> None:
        """End the program at once, as a node that loses power."""
        self._process.signalProcess("KILL")
        await self._protocol.ended

    async def again(self) -> None:
        """Run the program again, with its data and ports."""
        self.run()
        assert await self._answers(), self._protocol.output[-2000:]

    async def stop(self) -> None:
        """End the program."""
        await self.client.stop()
        if not self._protocol.ended.called:
            self._process.signalProcess("KILL")
            await self._protocol.ended

    async def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A request of the gateway."""
        headers = {"Authorization": self.token} if self.token else {}
        found: dict[str, Any] = msgspec.json.decode(
            (await self.client.ask("POST", self.url + path, headers, msgspec.json.encode(body))).body
        )
        return found

    async def put(self, key: str, value: str, lease: int = 0) -> None:
        """Set a key."""
        await self.call("/v3/kv/put", {"key": coded(key.encode()), "value": coded(value.encode()), "lease": str(lease)})

    async def delete(self, key: str) -> None:
        """Delete a key."""
        await self.call("/v3/kv/deleterange", {"key": coded(key.encode())})

    async def grant(self, seconds: int) -> int:
        """A lease."""
        return int((await self.call("/v3/lease/grant", {"TTL": str(seconds)}))["ID"])

    async def compact(self) -> None:
        """Forget all changes until now."""
        revision = (await self.call("/v3/kv/range", {"key": coded(b"x")}))["header"]["revision"]
        await self.call("/v3/kv/compaction", {"revision": revision, "physical": True})


class RealEtcdTests(TestCase):
    """etcd of Debian's etcd-server."""

    timeout = 120.0

    if shutil.which("etcd") is None:
        skip = "there is no etcd here: apt-get install etcd-server"

    def setUp(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        from twisted.internet import reactor

        self.reactor: Any = reactor
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        authority = Authority() if "tls" in self.id() else None
        self.etcd = RealEtcd(reactor, folder, authority)
        return Deferred.fromCoroutine(self.etcd.start())

    def tearDown(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        return Deferred.fromCoroutine(self.etcd.stop())

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so."""
        for _ in range(400):
            if true():
                return
            await pause(self.reactor, 0.05)
        raise AssertionError("it does not come about")

    def test_as_the_fake(self) -> Deferred[None]:
        """All that kdns relies on, as the fake etcd has it."""

        async def run() -> None:
            await check_range(self.etcd.client, self.etcd, b"/range/")
            await check_probe(self.etcd.client, self.etcd, b"/probe/")
            await check_lease(self.etcd.client, self.etcd)
            await check_watch(self.etcd.client, self.etcd, b"/watch/", self.until)

        return Deferred.fromCoroutine(run())

    def test_followed(self) -> Deferred[None]:
        """Keys are read, changes come at once, a lease that ends takes its keys along, and a restart of etcd is got over."""

        async def run() -> None:
            await self.etcd.put("/skydns/test/s/www", '{"host": "10.0.0.1"}')
            context = ServerContext(self.reactor, kernel_sockets=False)
            store = EtcdStore(Source((self.etcd.url,)), context)
            try:
                await (store.start() or succeed(None))
                index = store.index
                self.assertTrue(store.synced, store.why)

                def there(name: str) -> bool:
                    return index.entry((b"test", b"s", name.encode())) is not None

                self.assertTrue(there("www"))
                await self.etcd.put("/skydns/test/s/new", '{"host": "10.0.0.2"}')
                await self.until(lambda: there("new"))
                await self.etcd.put("/skydns/test/s/leased", '{"host": "10.0.0.3"}', await self.etcd.grant(2))
                await self.until(lambda: there("leased"))
                await self.until(lambda: not there("leased"))
                await self.etcd.kill()
                await self.until(lambda: bool(list(context.degraded)))
                self.assertTrue(there("www"))
                await self.etcd.again()
                await self.etcd.put("/skydns/test/s/later", '{"host": "10.0.0.4"}')
                await self.until(lambda: there("later"))
                self.assertEqual(list(context.degraded), [])
            finally:
                await (store.stop() or succeed(None))

        return Deferred.fromCoroutine(run())

    async def followed(self, source: Source) -> EtcdStore:
        """A store that is started, and stopped at the end."""
        store = EtcdStore(source, ServerContext(self.reactor, kernel_sockets=False))
        self.addCleanup(store.stop)
        await (store.start() or succeed(None))
        return store

    def test_credentials(self) -> Deferred[None]:
        """A user that may read the keys below the path and nothing else is enough, for leases and after a restart of etcd, too."""

        async def run() -> None:
            call, prefix = self.etcd.call, b"/skydns/"
            await self.etcd.put("/skydns/test/s/www", '{"host": "10.0.0.1"}', await self.etcd.grant(600))
            await call("/v3/auth/user/add", {"name": "root", "password": "root"})
            await call("/v3/auth/role/add", {"name": "root"})
            await call("/v3/auth/user/grant", {"user": "root", "role": "root"})
            await call("/v3/auth/user/add", {"name": "kdns", "password": "secret"})
            await call("/v3/auth/role/add", {"name": "names"})
            permission = {"permType": "READ", "key": coded(prefix), "range_end": coded(range_end(prefix))}
            await call("/v3/auth/role/grant", {"name": "names", "perm": permission})
            await call("/v3/auth/user/grant", {"user": "kdns", "role": "names"})
            await call("/v3/auth/enable", {})
            refused = await self.followed(Source((self.etcd.url,)))
            self.assertIn("user name is empty", refused.why)
            wrong = await self.followed(Source((self.etcd.url,), user="kdns", password="wrong"))
            self.assertIn("authentication failed", wrong.why)
            store = await self.followed(Source((self.etcd.url,), user="kdns", password="secret"))
            self.assertTrue(store.synced, store.why)
            entry = store.index.entry((b"test", b"s", b"www"))
            assert entry is not None and entry.lease is not None
            self.assertEqual(entry.lease.granted, 600)
            self.etcd.token = (await call("/v3/auth/authenticate", {"name": "root", "password": "root"}))["token"]
            await self.etcd.put("/skydns/test/s/new", '{"host": "10.0.0.2"}')
            await self.until(lambda: store.index.entry((b"test", b"s", b"new")) is not None)
            await self.etcd.kill()  # tokens live in its memory
            self.etcd.token = ""
            self.etcd.run()
            await self.until(lambda: store.state is State.AWAY)
            await self.until(lambda: store.state is State.WATCHING)

        return Deferred.fromCoroutine(run())

    def test_tls(self) -> Deferred[None]:
        """Over TLS, with an authority of its own and a certificate of the client."""

        async def run() -> None:
            await self.etcd.put("/skydns/test/s/www", '{"host": "10.0.0.1"}')
            store = await self.followed(Source((self.etcd.url,), tls=self.etcd.files))
            self.assertTrue(store.synced, store.why)
            await self.etcd.put("/skydns/test/s/new", '{"host": "10.0.0.2"}')
            await self.until(lambda: store.index.entry((b"test", b"s", b"new")) is not None)
            stranger = await self.followed(Source((self.etcd.url,)))
            self.assertIn("TLS", stranger.why)

        return Deferred.fromCoroutine(run())
