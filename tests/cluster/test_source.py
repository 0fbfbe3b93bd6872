"""The one way into the index."""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import (
    Change,
    Delete,
    EndpointSlice,
    Keep,
    Kind,
    Namespace,
    Pod,
    Service,
    ServiceKind,
    Upsert,
)
from kdns.cluster.source import ChangeSink

ONE, TWO = b"\x0a\0\0\x01", b"\x0a\0\0\x02"


def service(name: bytes, address: bytes = ONE) -> Service:
    """A service."""
    return Service(b"prod", name, ServiceKind.CLUSTER_IP, (address,))


class ChangeSinkTests(SynchronousTestCase):
    """Changes, and who hears of them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sink = ChangeSink(ClusterIndex(), self.clock, self.clock.seconds)
        self.heard: list[tuple[Change, bool]] = []
        self.sink.listen(lambda change, changed: self.heard.append((change, changed)))
        self.addCleanup(self.sink.stop)

    def test_listeners(self) -> None:
        """They hear of each change when it is entered, and whether DNS can see it."""
        known: list[bool] = []
        self.sink.listen(lambda change, changed: known.append(self.sink.index.has_namespace(b"prod")))
        for _ in range(2):
            self.sink.apply(Upsert(Namespace(b"prod")))
        self.assertEqual(self.heard, [(Upsert(Namespace(b"prod")), True), (Upsert(Namespace(b"prod")), False)])
        self.assertEqual(known, [True, True])

    def test_swept(self) -> None:
        """They hear of what a new list takes away, too."""
        for name in (b"a", b"b"):
            self.sink.apply(Upsert(service(name)))
        relist = self.sink.relist(Kind.SERVICE)
        relist.seen(Upsert(service(b"a")), 1.0)
        self.successResultOf(Deferred.fromCoroutine(self.sink.sweep(relist)))
        self.assertEqual(self.heard[-1], (Delete(Kind.SERVICE, b"prod", b"b"), True))
        self.assertEqual(self.sink.index.names(Kind.SERVICE, b"prod"), [b"a"])

    def test_another_process(self) -> None:
        """An index to which the changes are sent as bytes becomes the same."""
        copy = ClusterIndex()

        def send(change: Change, changed: bool) -> None:
            copy.apply(msgspec.msgpack.decode(msgspec.msgpack.encode(change), type=Change), self.clock.seconds())

        self.sink.listen(send)
        part = EndpointSlice(b"prod", b"s1", b"a", (ONE, TWO))
        for change in (
            Upsert(Namespace(b"prod"), triggered=3.0),
            Upsert(service(b"a")),
            Upsert(service(b"a", TWO)),
            Upsert(service(b"b")),
            Upsert(part),
            Upsert(Pod(b"prod", b"p", ONE)),
            Keep(Kind.POD, b"prod", b"p"),
            Delete(Kind.SERVICE, b"prod", b"b"),
        ):
            self.sink.apply(change)
        relist = self.sink.relist(Kind.POD)
        relist.finish(1.0)
        self.assertTrue(copy.same_as(self.sink.index))
        self.assertEqual(copy.counts()[Kind.POD], 0)

    def test_held_back(self) -> None:
        """A slice that the index holds back for a moment goes without another change."""
        self.sink.apply(Upsert(Service(b"prod", b"a", ServiceKind.HEADLESS)))
        self.sink.apply(Upsert(EndpointSlice(b"prod", b"s1", b"a", (ONE,))))
        self.sink.apply(Delete(Kind.ENDPOINT_SLICE, b"prod", b"s1"))
        self.assertEqual(len(self.sink.index.slices_of(b"prod", b"a")), 1)
        self.clock.advance(self.sink.index.grace)
        self.assertEqual(self.sink.index.slices_of(b"prod", b"a"), ())

    def test_stop(self) -> None:
        """A sink that stops holds nothing back, and leaves no timer."""
        self.sink.apply(Upsert(Service(b"prod", b"a", ServiceKind.HEADLESS)))
        self.sink.apply(Upsert(EndpointSlice(b"prod", b"s1", b"a", (ONE,))))
        self.sink.apply(Delete(Kind.ENDPOINT_SLICE, b"prod", b"s1"))
        self.sink.stop()
        self.assertEqual(self.sink.index.slices_of(b"prod", b"a"), ())
        self.assertEqual(self.clock.getDelayedCalls(), [])
