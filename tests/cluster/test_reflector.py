"""Tests of the watch of a healthy server."""

from twisted.logger import capturedLogs

from kdns.cluster.resources import Needs
from kdns.cluster.watch_states import State
from tests.apiserver import FaultKind, ServerOptions, WatchListSupport
from tests.cluster.apiworld import ApiWorld, endpoint_slice, service


class StreamingTests(ApiWorld):
    """A server that streams its state (WatchList)."""

    needs = Needs(pods=True, multicluster=True)

    def test_initial_state(self) -> None:
        """After the start everything that the server has is there, without a single list."""
        self.server.apply(service("web", "10.96.1.1"))
        self.server.apply(endpoint_slice("web-1", "web", "10.1.0.1", "10.1.0.2"))
        self.begin()
        self.assertSame()
        self.assertEqual(self.address_of("web"), "10.96.1.1")
        self.assertEqual({request.verb for request in self.server.requests}, {"watch"})
        self.assertEqual(set(self.states().values()), {State.STREAMING})

    def test_silence(self) -> None:
        """Connections come and go without a line in the log."""
        with capturedLogs() as events:
            self.begin()
            self.reactor.advance(1000.0)
        self.assertEqual([event.get("log_format") for event in events if "factory" in str(event.get("log_format"))], [])
        self.assertGreater(len(self.server.requests), 5)

    def test_changes(self) -> None:
        """Additions, changes and deletions are there as soon as the server has told them, in the same turn."""
        self.begin()
        self.server.apply(service("web", "10.96.1.1"))
        self.reactor.settle()
        self.assertEqual(self.address_of("web"), "10.96.1.1")
        self.server.apply(service("web", "10.96.1.2"))
        self.reactor.settle()
        self.assertEqual(self.address_of("web"), "10.96.1.2")
        self.server.delete("Service", "default", "web")
        self.reactor.settle()
        self.assertEqual(self.address_of("web"), "")
        self.assertSame()

    def test_one_connection_each(self) -> None:
        """Each resource has one watch, and a day of quiet makes no lists and leaves nothing behind but those."""
        self.begin()
        self.reactor.advance(6 * 3600.0)
        self.assertEqual(self.server.open_watches(), 5)
        lists = [request for request in self.server.requests if request.verb == "list"]
        self.assertEqual(
            {request.headers["accept"].partition(",")[0] for request in lists},
            {"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"},
        )
        self.assertEqual(sum(sum(watch.relists.values()) for watch in self.source.freshness.values()), 5)

    def test_watch_options(self) -> None:
        """Watches ask for bookmarks and for an end after four to eight minutes, and go on from the newest version."""
        self.begin()
        self.reactor.advance(500.0)
        again = next(r for r in self.server.requests_for("watch", "services")[1:] if "allowWatchBookmarks" in r.query)
        self.assertEqual(again.query["allowWatchBookmarks"], "true")
        self.assertTrue(240 <= int(again.query["timeoutSeconds"]) <= 480, again.query)
        self.assertEqual(again.query["resourceVersion"], str(self.server.version))
        self.assertNotIn("sendInitialEvents", again.query)

    def test_pods(self) -> None:
        """Pods are selected by phase."""
        self.begin()
        (first,) = self.server.requests_for("watch", "pods")
        self.assertEqual(
            first.query["fieldSelector"], "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"
        )

    def test_nothing_but_list_and_watch(self) -> None:
        """Not even the repair of drift needs another verb."""
        self.begin()
        self.server.apply(service("web", "10.96.1.1"))
        self.reactor.advance(3 * 3600.0)
        self.assertEqual({request.verb for request in self.server.requests}, {"list", "watch"})

    def test_large(self) -> None:
        """Thousands of objects come in a stream, and a relist of them takes none away meanwhile."""
        self.server.populate(services=2000, slices=1000, endpoints=2)
        self.begin()
        self.assertSame()
        count = self.index.counts()
        for reflector in self.source._reflectors:
            reflector.resync("asked")
        for _ in range(200):
            self.reactor.turn()
            self.assertEqual(self.index.counts(), count)
        self.reactor.advance(0.1)
        self.assertSame()


class PagesTests(ApiWorld):
    """A server that does not stream its state."""

    server_options = ServerOptions(watch_list=WatchListSupport.REFUSED_422)

    def test_pages(self) -> None:
        """The state is listed, page by page, and then watched."""
        self.server.populate(services=1200, slices=30)
        self.begin()
        self.assertSame()
        lists = self.server.requests_for("list", "services")
        self.assertEqual([request.query["limit"] for request in lists], ["100", "500", "500", "500"])
        self.assertTrue(all("resourceVersion" not in request.query for request in lists))
        self.server.apply(service("web", "10.96.200.1"))
        self.reactor.settle()
        self.assertSame()

    def test_refusal_is_remembered(self) -> None:
        """A server that cannot stream its state is not asked for that at each relist."""
        self.begin()
        self.server.compact()
        self.server.cluster.store.skip(10)
        self.reactor.advance(500.0)
        self.source.resync()
        self.reactor.advance(1.0)
        asked = [r for r in self.server.requests_for("watch", "services") if "sendInitialEvents" in r.query]
        self.assertEqual(len(asked), 1)
        self.assertSame()

    def test_expired_token(self) -> None:
        """A list whose continue token expires is begun again."""
        self.server.populate(services=300, slices=1)
        self.source.start()
        for _ in range(1000):
            if self.server.requests_for("list", "services"):
                break
            self.reactor.turn()
        self.server.compact()
        self.server.apply(service("late", "10.96.200.2"))
        self.server.compact()
        self.until(lambda: self.source.synced)
        self.assertSame()


class OtherRefusalTests(PagesTests):
    """The same with 400, as some proxies say it."""

    server_options = ServerOptions(watch_list=WatchListSupport.REFUSED_400)


class OldEtcdTests(PagesTests):
    """The same with 500, as a server says it whose etcd is too old."""

    server_options = ServerOptions(watch_list=WatchListSupport.REFUSED_500)


class AnyRefusalTests(ApiWorld):
    """Whatever else a server says when the whole state is to be streamed, pages are the next try."""

    def streams(self) -> int:
        """How often the whole state of services was to be streamed."""
        return len([r for r in self.server.requests_for("watch", "services") if "sendInitialEvents" in r.query])

    def test_statuses(self) -> None:
        """Each status but those that say the same of a list, at once and without an error."""
        for code in (400, 404, 405, 406, 415, 422, 500, 501, 502, 503):
            self.server.inject(FaultKind.STATUS, "services", "watch", code=code)
            self.source.start()
            self.reactor.advance(0.5)
            self.assertTrue(self.source.synced, code)
            self.assertEqual(len(self.server.requests_for("list", "services")), 1, code)
            self.assertEqual(self.source.freshness["services"].errors, {}, code)
            self.renew()

    def test_error_event(self) -> None:
        """A server that accepts the stream and says in it that it cannot."""
        self.server.populate(services=10, slices=1)
        self.server.inject(FaultKind.STATUS, "services", "watch", after_lines=5, code=500)
        self.source.start()
        self.reactor.advance(0.5)
        self.assertTrue(self.source.synced)
        self.assertEqual(len(self.server.requests_for("list", "services")), 1)
        self.assertEqual(self.streams(), 1)

    def test_throttled(self) -> None:
        """429 says nothing about streams: the pause is kept, and then the state is streamed."""
        self.server.inject(FaultKind.STATUS, "services", "watch", code=429, retry_after=5)
        self.source.start()
        self.reactor.advance(4.9)
        self.assertFalse(self.source.synced)
        self.assertEqual(len(self.server.requests_for("list", "services")), 0)
        self.until(lambda: self.source.synced)
        self.assertEqual(self.streams(), 2)

    def test_forbidden(self) -> None:
        """401 and 403 are told as they are: a list would be refused, too."""
        for code in (401, 403):
            self.server.inject(FaultKind.STATUS, "services", "watch", times=2, code=code)
            self.source.start()
            self.reactor.advance(0.5)
            self.assertIn(f"({code}", self.source.freshness["services"].problem)
            self.assertEqual(len(self.server.requests_for("list", "services")), 0)
            self.renew()

    def test_broken(self) -> None:
        """Streams that break off before their end, as behind a proxy that has a limit for them: the next try is a list."""
        self.server.populate(services=300, slices=1)
        self.server.inject(FaultKind.CUT, "services", "watch", after_lines=100)
        self.source.start()
        self.until(lambda: self.source.synced, 5.0)
        self.assertEqual(self.streams(), 1)
        self.assertSame()

    def renew(self) -> None:
        """A new source, and no faults and no requests of before."""
        stopped = self.source.stop()
        self.reactor.settle()
        self.successResultOf(stopped)
        self.server.clear_faults()
        self.server.requests.clear()
        self.source = self.make_source()


class IgnoringTests(ApiWorld):
    """A server that takes the wish for the whole state for an ordinary watch."""

    server_options = ServerOptions(watch_list=WatchListSupport.IGNORED)

    def test_falls_back(self) -> None:
        """When the initial state does not end within three seconds, it is listed."""
        self.server.apply(service("web", "10.96.1.1"))
        self.source.start()
        self.assertLess(self.until(lambda: self.source.synced), 3.5)
        self.assertSame()
        self.reactor.advance(1000.0)
        self.assertEqual(dict(self.source.freshness["services"].relists), {"start": 1})
