"""Tests of the watch of a healthy server."""

from kdns.cluster.watch_states import State
from kdns.cluster.watched import Needs
from kdns.testing.apiserver import ServerOptions, WatchListSupport
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
        again = self.server.requests_for("watch", "services")[1]
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
        while not self.server.requests_for("list", "services"):
            self.reactor.turn()
        self.server.compact()
        self.server.apply(service("late", "10.96.200.2"))
        self.server.compact()
        self.until(lambda: self.source.synced)
        self.assertSame()


class OtherRefusalTests(PagesTests):
    """The same with 400, as some proxies say it."""

    server_options = ServerOptions(watch_list=WatchListSupport.REFUSED_400)


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
