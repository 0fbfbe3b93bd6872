"""The fake API server as clients meet it, on sockets of the machine and in memory alike."""

from __future__ import annotations

import datetime
import operator
import unittest
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, readBody

from kdns.testing.certificates import DAY, Authority
from tests.apiserver import (
    COREDNS,
    LIST_AND_WATCH,
    ApiServer,
    FaultKind,
    ServerOptions,
    User,
)
from tests.apiserver.client import SERVICES, Client, Lines
from tests.testing.reactors import OnLoopback, OnMemory, until, verified

QUICK = ServerOptions(boot=False, freshness_wait=0.05, bookmark_interval=0.05)


def service(name: str, **labels: str) -> dict[str, Any]:
    """A Service in the namespace prod."""
    meta = {"name": name, "namespace": "prod", "labels": labels}
    return {"kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": {"ports": [{"port": 80}]}}


class Raw(Protocol):
    """A connection that notes what comes, and whether it still reads."""

    def __init__(self, request: bytes, reads: bool = True) -> None:
        self.request = request
        self.reads = reads
        self.data = bytearray()
        self.reason = connectionDone
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if not self.reads:
            transport.pauseProducing()
        transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self.lost.callback(None)


if TYPE_CHECKING:
    _Base = unittest.TestCase
else:
    _Base = object


class _Suite(_Base):
    """Set-up common to the suites below."""

    reactor: Any

    async def started(self, tls: bool = False) -> tuple[ApiServer, Client]:
        """A server with the namespace prod, and a client of it."""
        api = ApiServer(self.reactor, QUICK)
        api.apply({"kind": "Namespace", "metadata": {"name": "prod"}})
        api.start(tls=tls)
        return api, Client(self.reactor, api.url, api.authority if tls else None)

    async def raw(self, api: ApiServer, target: str, reads: bool = True) -> Raw:
        """A bare connection with one request on it."""
        protocol = Raw(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode(), reads)
        endpoint = HostnameEndpoint(self.reactor, "127.0.0.1", api.port)
        factory: Any = Factory.forProtocol(lambda: protocol)
        await endpoint.connect(factory)
        return protocol

    async def lines(self, watch: Lines, count: int) -> None:
        """Wait for so many whole lines."""
        await until(self.reactor, lambda: watch.data.count(b"\n") >= count)


class AnswerSuite(_Suite):
    """Ordinary service."""

    @verified
    async def test_write_and_read(self) -> None:
        """Objects are created, changed and deleted over the wire, and lists show it."""
        api, client = await self.started()
        path = "/api/v1/namespaces/prod/services"
        self.assertEqual((await client.ask(path, "POST", service("a")))[0], 201)
        code, made = await client.ask(f"{path}/a")
        self.assertEqual((code, made["spec"]["type"]), (200, "ClusterIP"))
        made["metadata"]["labels"] = {"x": "y"}
        self.assertEqual((await client.ask(f"{path}/a", "PUT", made))[0], 200)
        self.assertEqual((await client.ask(f"{path}/a", "PUT", made))[0], 409)
        code, found = await client.ask(SERVICES)
        self.assertEqual([item["metadata"]["labels"] for item in found["items"]], [{"x": "y"}])
        self.assertEqual((await client.ask(f"{path}/a", "DELETE"))[1]["kind"], "Service")
        self.assertEqual((await client.ask(f"{path}/a"))[0], 404)
        await api.stop()

    @verified
    async def test_watch(self) -> None:
        """A watch from the version of a list tells what happens next, at once."""
        api, client = await self.started()
        version = (await client.ask(SERVICES))[1]["metadata"]["resourceVersion"]
        watch = await client.watch(resourceVersion=version)
        api.apply(service("a"))
        api.delete("Service", "prod", "a")
        await self.lines(watch, 2)
        self.assertEqual(watch.told, [("ADDED", "a"), ("DELETED", "a")])
        self.assertEqual(api.open_watches("services"), 1)
        await api.stop()
        self.assertEqual(await watch.end(), "ResponseFailed")
        self.assertEqual(api.open_watches(), 0)

    @verified
    async def test_watch_list(self) -> None:
        """A streamed list ends with its mark, and goes on as a watch with bookmarks."""
        api, client = await self.started()
        api.apply(service("a"))
        options = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        watch = await client.watch(allowWatchBookmarks="true", **options)
        await self.lines(watch, 2)
        api.apply(service("b"))
        await self.lines(watch, 4)
        self.assertEqual(watch.told[:4], [("ADDED", "a"), ("BOOKMARK", ""), ("ADDED", "b"), ("BOOKMARK", "")])
        bookmark = watch.events[3]["object"]["metadata"]
        self.assertEqual(bookmark["resourceVersion"], str(api.version))
        self.assertNotIn("annotations", bookmark)
        await api.stop()

    @verified
    async def test_bookmark_while_others_change(self) -> None:
        """Bookmarks come although nothing happens but to other resources."""
        api, client = await self.started()
        watch = await client.watch(resourceVersion=api.version, allowWatchBookmarks="true")
        api.apply({"kind": "Namespace", "metadata": {"name": "other"}})
        await self.lines(watch, 1)
        self.assertEqual(watch.events[0]["object"]["metadata"]["resourceVersion"], str(api.version))
        await api.stop()

    @verified
    async def test_too_old(self) -> None:
        """A watch from a forgotten version is told so in an ERROR event, or by the status if the server is set so."""
        api, client = await self.started()
        version = api.version
        api.apply(service("a"))
        api.compact()
        watch = await client.watch(resourceVersion=version)
        self.assertEqual(await watch.end(), "ResponseDone")
        (event,) = watch.events
        self.assertEqual((event["type"], event["object"]["code"]), ("ERROR", 410))
        api.rest.gone_as_http = True
        code, status = await client.ask(SERVICES, watch="true", resourceVersion=version)
        self.assertEqual((code, status["reason"]), (410, "Expired"))
        await api.stop()

    @verified
    async def test_too_large(self) -> None:
        """A list from the future is answered when the future comes, and else refused after a while."""
        api, client = await self.started()
        response = await client.response(SERVICES, resourceVersion=api.version + 1)
        self.assertEqual(response.headers.getRawHeaders("retry-after"), ["1"])
        self.assertIn(b"Too large resource version", await readBody(response))
        waiting = Deferred.fromCoroutine(client.ask(SERVICES, resourceVersion=api.version + 1))
        await until(self.reactor, lambda: len(api.requests) == 2)
        api.apply(service("a"))
        code, found = await waiting
        self.assertEqual((code, len(found["items"])), (200, 1))
        await api.stop()

    @verified
    async def test_bad_request(self) -> None:
        """What is not HTTP is refused and the connection closed."""
        api, _ = await self.started()
        raw = await self.raw(api, "nonsense")
        await raw.lost
        self.assertTrue(raw.data.startswith(b"HTTP/1.1 400 Bad Request"))
        await api.stop()

    @verified
    async def test_slow_reader(self) -> None:
        """A client that does not read holds its watch still instead of filling memory, and loses nothing later."""
        api, _ = await self.started()
        raw = await self.raw(api, f"{SERVICES}?watch=true&resourceVersion={api.version}", reads=False)
        await until(self.reactor, api.open_watches)
        big = "x" * 100_000
        names = [f"s{index:03d}" for index in range(100)]
        for name in names:
            api.apply(service(name) | {"spec": {"externalName": big, "type": "ExternalName"}})
            await deferLater(self.reactor, 0)
        # About 10 MB were written to the store; sockets and buffers hold a few of them.
        self.assertGreater(api.lag("services"), 10)
        transport: Any = raw.transport
        transport.resumeProducing()
        await until(self.reactor, lambda: b'"name":"s099"' in raw.data[-200_000:])
        found = [raw.data.find(f'"name":"{name}"'.encode()) for name in names]
        self.assertEqual(found, sorted(found))
        self.assertNotIn(-1, found)
        await api.stop()

    @verified
    async def test_reader_left_behind(self) -> None:
        """A client that does not read until the history has moved on finds its watch ended."""
        api, _ = await self.started()
        raw = await self.raw(api, f"{SERVICES}?watch=true&resourceVersion={api.version}", reads=False)
        await until(self.reactor, api.open_watches)
        big = "x" * 1_000_000
        for index in range(12):
            api.apply(service(f"s{index}") | {"spec": {"externalName": big, "type": "ExternalName"}})
            await deferLater(self.reactor, 0)
        self.assertGreater(api.lag("services"), 0)
        api.compact()
        transport: Any = raw.transport
        transport.resumeProducing()
        await until(self.reactor, lambda: raw.data.endswith(b"0\r\n\r\n"))
        self.assertNotIn(b'"ERROR"', raw.data)
        self.assertNotIn(b'"name":"s11"', raw.data)
        await api.stop()

    @verified
    async def test_log(self) -> None:
        """The log remembers what was asked and answered."""
        api, client = await self.started()
        await client.ask(SERVICES, headers={"Accept": "application/json"}, limit=1)
        (request,) = api.requests_for("list", "services")
        self.assertEqual((request.method, request.path, request.code), ("GET", SERVICES, 200))
        self.assertEqual((request.query, request.headers["accept"]), ({"limit": "1"}, "application/json"))
        self.assertEqual(api.counts["list", "services"], 1)
        await api.stop()


class CredentialSuite(_Suite):
    """Who is let in."""

    @verified
    async def test_token(self) -> None:
        """A token admits until it is rotated, and rights end where the rules do."""
        api, client = await self.started()
        api.access.tokens["old"] = User(COREDNS, LIST_AND_WATCH)
        client.headers["Authorization"] = "Bearer old"
        self.assertEqual((await client.ask(SERVICES))[0], 200)
        code, status = await client.ask("/api/v1/namespaces/prod/services", "POST", service("a"))
        self.assertEqual(code, 403)
        self.assertIn('cannot create resource "services"', status["message"])
        api.access.rotate("old", "new")
        self.assertEqual((await client.ask(SERVICES))[0], 401)
        client.headers["Authorization"] = "Bearer new"
        self.assertEqual((await client.ask(SERVICES))[0], 200)
        await api.stop()

    @verified
    async def test_client_certificate(self) -> None:
        """A certificate of the authority names the user; without one a client is nobody."""
        api, client = await self.started(tls=True)
        api.access.certificates["dns"] = User("dns")
        self.assertEqual((await client.ask(SERVICES))[0], 403)
        known = Client(self.reactor, api.url, api.authority, api.client_certificate("dns"))
        self.assertEqual((await known.ask(SERVICES))[0], 200)
        strange = Client(self.reactor, api.url, api.authority, Authority().client("dns"))
        with self.assertRaises(ResponseFailed):
            await strange.ask(SERVICES)
        await api.stop()

    @verified
    async def test_rotation(self) -> None:
        """A new certificate of the same authority goes unnoticed; one of another locks out who trusts the old."""
        api, client = await self.started(tls=True)
        self.assertEqual((await client.ask(SERVICES))[0], 200)
        api.rotate_certificate()
        self.assertEqual((await client.ask(SERVICES))[0], 200)
        api.rotate_authority()
        with self.assertRaises(ResponseFailed):
            await client.ask(SERVICES)
        renewed = Client(self.reactor, api.url, api.authority)
        self.assertEqual((await renewed.ask(SERVICES))[0], 200)
        api.rotate_authority(Authority(age=2 * DAY, life=datetime.timedelta(hours=1)))
        expired = Client(self.reactor, api.url, api.authority)
        with self.assertRaises(ResponseFailed):
            await expired.ask(SERVICES)
        await api.stop()

    @verified
    async def test_watch_over_tls(self) -> None:
        """A watch goes over TLS as well, and can be reset and half-closed there."""
        api, client = await self.started(tls=True)
        for kind in (FaultKind.RESET, FaultKind.HALF_CLOSE, FaultKind.CUT):
            watch = await client.watch(resourceVersion=api.version)
            api.apply(service(f"a-{kind.name.lower().replace('_', '-')}"))
            await self.lines(watch, 1)
            self.assertEqual(api.disturb(kind), 1)
            self.assertEqual(await watch.end(), "ResponseFailed")
            await until(self.reactor, lambda: not api.factory.connections)
        await api.stop()


class FaultSuite(_Suite):
    """Trouble on demand."""

    @verified
    async def test_status(self) -> None:
        """A status comes as often as told, with the body and header of its kind."""
        api, client = await self.started()
        api.inject(FaultKind.STATUS, "services", "list", code=429, retry_after=7)
        response = await client.response(SERVICES)
        self.assertEqual((response.code, response.headers.getRawHeaders("retry-after")), (429, ["7"]))
        self.assertIn(b'"reason":"TooManyRequests"', await readBody(response))
        self.assertEqual((await client.ask(SERVICES))[0], 200)
        for code in (410, 500, 503, 504):
            api.inject(FaultKind.STATUS, code=code)
            self.assertEqual((await client.ask(SERVICES))[1]["code"], code)
        await api.stop()

    @verified
    async def test_hang_and_delay(self) -> None:
        """A hanging request gets nothing, a delayed one its answer later."""
        api, client = await self.started()
        api.inject(FaultKind.HANG)
        raw = await self.raw(api, SERVICES)
        await until(self.reactor, lambda: api.requests)
        api.inject(FaultKind.DELAY, seconds=0.2)
        before = self.reactor.seconds()
        self.assertEqual((await client.ask(SERVICES))[0], 200)
        self.assertGreaterEqual(self.reactor.seconds() - before, 0.19)
        self.assertEqual(raw.data, b"")
        await api.stop()
        await raw.lost

    @verified
    async def test_cut(self) -> None:
        """Connections break before the answer, after some bytes, between lines and within one."""
        api, client = await self.started()
        api.inject(FaultKind.CUT, "services", "list")
        raw = await self.raw(api, SERVICES)
        await raw.lost
        self.assertEqual(raw.data, b"")
        api.inject(FaultKind.CUT, "services", "list", after_bytes=10)
        raw = await self.raw(api, SERVICES)
        await raw.lost
        self.assertTrue(raw.data.endswith(b'\r\n\r\n{"kind":"S'), raw.data)
        api.apply(service("a"))
        api.apply(service("b"))
        api.inject(FaultKind.CUT, "services", "watch", after_lines=1)
        watch = await client.watch()
        self.assertEqual(await watch.end(), "ResponseFailed")
        self.assertEqual(watch.told, [("ADDED", "a")])
        self.assertTrue(watch.data.endswith(b"\n"))
        api.inject(FaultKind.CUT, "services", "watch", after_lines=1, mid_line=True)
        watch = await client.watch()
        self.assertEqual(await watch.end(), "ResponseFailed")
        self.assertEqual(watch.told, [("ADDED", "a")])
        self.assertFalse(watch.data.endswith(b"\n"))
        await api.stop()

    @verified
    async def test_reset(self) -> None:
        """A reset is not a clean end."""
        api, _ = await self.started()
        raw = await self.raw(api, f"{SERVICES}?watch=true")
        await until(self.reactor, api.open_watches)
        api.disturb(FaultKind.RESET)
        await raw.lost
        self.assertIsNone(raw.reason.check(type(connectionDone.value)))
        await api.stop()

    @verified
    async def test_lines_before_the_end(self) -> None:
        """The lines that shall get through before a bad end do so, over TLS too."""
        for tls in (False, True):
            api, client = await self.started(tls)
            for name in "abc":
                api.apply(service(name))
            for kind in (FaultKind.RESET, FaultKind.HALF_CLOSE, FaultKind.CUT):
                api.inject(kind, "services", "watch", after_lines=2)
                watch = await client.watch()
                self.assertEqual(await watch.end(), "ResponseFailed")
                self.assertEqual(watch.told, [("ADDED", "a"), ("ADDED", "b")])
            connections = api.factory.connections
            await until(self.reactor, partial(operator.not_, connections))
            await api.stop()

    @verified
    async def test_half_close(self) -> None:
        """The server says that nothing more will come, in the middle of a watch."""
        api, client = await self.started()
        api.apply(service("a"))
        api.inject(FaultKind.HALF_CLOSE, "services", "watch", after_lines=1)
        watch = await client.watch()
        self.assertEqual(await watch.end(), "ResponseFailed")
        self.assertEqual(watch.told, [("ADDED", "a")])
        await until(self.reactor, lambda: not api.factory.connections)
        await api.stop()

    @verified
    async def test_lines(self) -> None:
        """Lines of a watch come corrupt, long, twice and in the wrong order, and the connection lives on."""
        api, client = await self.started()
        for name in "abcd":
            api.apply(service(name))
        api.inject(FaultKind.DUPLICATE, lines=1)
        api.inject(FaultKind.REORDER, after_lines=1, lines=1)
        api.inject(FaultKind.LONG_LINE, after_lines=3, lines=1, size=100_000)
        watch = await client.watch()
        await self.lines(watch, 5)
        self.assertEqual([name for _, name in watch.told], ["a", "a", "c", "b", "d"])
        self.assertGreater(len(watch.data), 100_000)
        api.disturb(FaultKind.CORRUPT, lines=1)
        api.apply(service("e"))
        api.apply(service("f"))
        await self.lines(watch, 7)
        self.assertIn(b"\xff\xff", watch.data.split(b"\n")[5])
        self.assertIn(b'"name":"f"', watch.data.split(b"\n")[6])
        api.disturb(FaultKind.STATUS, code=410)
        self.assertEqual(await watch.end(), "ResponseDone")
        self.assertIn(b'"type":"ERROR"', watch.data.split(b"\n")[7])
        await api.stop()

    @verified
    async def test_drip(self) -> None:
        """A dripping answer arrives whole, in small pieces."""
        api, client = await self.started()
        api.inject(FaultKind.DRIP, "services", "list", chunk=20, seconds=0.001)
        code, found = await client.ask(SERVICES)
        self.assertEqual((code, found["items"]), (200, []))
        api.apply(service("a"))
        api.inject(FaultKind.DRIP, "services", "watch", chunk=200, seconds=0.001)
        watch = await client.watch()
        await self.lines(watch, 1)
        api.apply(service("b"))
        await self.lines(watch, 2)
        self.assertEqual(watch.told, [("ADDED", "a"), ("ADDED", "b")])
        await api.stop()

    @verified
    async def test_stale(self) -> None:
        """A stale replica answers from the past, does not know the present, and learns nothing."""
        api, client = await self.started()
        api.apply(service("a"))
        past = api.version
        api.apply(service("b"))
        fault = api.inject(FaultKind.STALE, times=None, version=past)
        _, found = await client.ask(SERVICES)
        self.assertEqual([item["metadata"]["name"] for item in found["items"]], ["a"])
        self.assertEqual(found["metadata"]["resourceVersion"], str(past))
        code, status = await client.ask(SERVICES, resourceVersion=api.version)
        self.assertEqual((code, status["details"]["causes"][0]["reason"]), (504, "ResourceVersionTooLarge"))
        self.assertEqual((await client.ask("/api/v1/namespaces/prod/services/b"))[0], 404)
        self.assertEqual((await client.ask("/api/v1/namespaces/prod/services/a"))[0], 200)
        watch = await client.watch()
        await self.lines(watch, 1)
        api.apply(service("c"))
        self.assertEqual(watch.told, [("ADDED", "a")])
        api.clear_faults(fault)
        self.assertEqual(len((await client.ask(SERVICES))[1]["items"]), 3)
        await api.stop()

    @verified
    async def test_outage(self) -> None:
        """During an outage connections are refused; afterwards the server is where it was, with what it had."""
        api, client = await self.started()
        api.apply(service("a"))
        watch = await client.watch(resourceVersion=api.version)
        port = api.port
        await api.begin_outage()
        self.assertEqual(await watch.end(), "ResponseFailed")
        with self.assertRaises(ConnectionRefusedError):
            await client.ask(SERVICES)
        api.end_outage()
        self.assertEqual(api.port, port)
        self.assertEqual(len((await client.ask(SERVICES))[1]["items"]), 1)
        await api.stop()


class AnswerInMemoryTests(AnswerSuite, OnMemory):
    """Ordinary service, in memory."""


class AnswerOnLoopbackTests(AnswerSuite, OnLoopback):
    """Ordinary service, on sockets."""


class CredentialInMemoryTests(CredentialSuite, OnMemory):
    """Who is let in, in memory."""


class CredentialOnLoopbackTests(CredentialSuite, OnLoopback):
    """Who is let in, on sockets."""


class FaultInMemoryTests(FaultSuite, OnMemory):
    """Trouble, in memory."""


class FaultOnLoopbackTests(FaultSuite, OnLoopback):
    """Trouble, on sockets."""


class WaitingInMemoryTests(_Suite, OnMemory):
    """What takes whole seconds, in memory only."""

    @verified
    async def test_watch_ends_in_time(self) -> None:
        """A watch ends cleanly when its time is up, and the connection is good for the next request."""
        api, client = await self.started()
        watch = await client.watch(timeoutSeconds=1)
        self.assertEqual(await watch.end(), "ResponseDone")
        self.assertEqual(api.open_watches(), 0)
        await api.stop()

    @verified
    async def test_one_connection(self) -> None:
        """Requests sent ahead on one connection are answered in order, whole watches included."""
        api, _ = await self.started()
        raw = await self.raw(api, f"{SERVICES}?watch=true&timeoutSeconds=1&resourceVersion={api.version}")
        raw.request = b"GET /readyz HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\nConnection: close\r\n\r\n"
        raw.connectionMade()
        await raw.lost
        self.assertEqual(raw.data.count(b"HTTP/1.1 200 OK"), 3)
        self.assertTrue(raw.data.index(b"0\r\n\r\n") < raw.data.index(b"\r\n\r\nok") < raw.data.index(b"v1.32"))
        await api.stop()

    @verified
    async def test_silent(self) -> None:
        """A silent watch says nothing more, not even that its time is up, and stays open."""
        api, client = await self.started()
        watch = await client.watch(resourceVersion=api.version, allowWatchBookmarks="true", timeoutSeconds=1)
        api.apply(service("a"))
        await self.lines(watch, 1)
        self.assertEqual(api.disturb(FaultKind.SILENT, "services"), 1)
        before = watch.data
        api.apply(service("b"))
        await deferLater(self.reactor, 1.1)
        self.assertEqual((watch.data, api.open_watches()), (before, 1))
        await api.stop()
