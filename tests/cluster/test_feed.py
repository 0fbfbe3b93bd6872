"""A copy of an index and its changes: whatever happens while it is copied, the follower ends with the same."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.feed import BATCH, Feed
from kdns.cluster.index import GRACE, ClusterIndex
from kdns.cluster.objects import Change, Delete, EndpointSlice, Keep, Kind, Namespace, Service, ServiceKind, Upsert
from kdns.cluster.source import ChangeSink


class World:
    """An index with a follower."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.sink = ChangeSink(ClusterIndex(), self.clock, self.clock.seconds)
        self.follower = ChangeSink(ClusterIndex(), self.clock, self.clock.seconds)
        self.sent: list[Change] = []
        self.copied = 0
        self.has_room = True
        self.feed = Feed(self.sink, self.clock, self.send, self.done, lambda: self.has_room)

    def send(self, changes: list[Change]) -> None:
        """Apply what comes."""
        self.sent += changes
        for change in changes:
            self.follower.apply(change)

    def done(self) -> None:
        """The copy is whole."""
        self.copied += 1

    def same(self) -> bool:
        """Whether both hold the same."""
        return self.sink.index.same_as(self.follower.index)


def service(number: int, version: int = 0) -> Service:
    """One of some hundred services."""
    return Service(
        b"ns%d" % (number % 3), b"s%d" % number, ServiceKind.CLUSTER_IP, (bytes((10, 0, version, number % 256)),)
    )


def part(number: int, *addresses: int) -> EndpointSlice:
    """A slice of a service."""
    return EndpointSlice(b"ns0", b"p%d" % number, b"s0", tuple(bytes((10, 1, 0, last)) for last in addresses))


def random_change(chance: Random) -> Change:
    """Any change of a small world."""
    number = chance.randrange(3 * BATCH)
    kind = chance.randrange(6)
    if kind < 2:
        return Upsert(service(number, chance.randrange(4)))
    if kind == 2:
        return Delete(Kind.SERVICE, b"ns%d" % (number % 3), b"s%d" % number)
    number %= 4
    if kind == 3:
        return Upsert(part(number, *range(chance.randrange(3))))
    if kind == 4:
        return Delete(Kind.ENDPOINT_SLICE, b"ns0", b"p%d" % number)
    return Keep(Kind.ENDPOINT_SLICE, b"ns0", b"p%d" % number)


class FeedTests(SynchronousTestCase):
    """What a follower is sent."""

    def setUp(self) -> None:
        self.world = World()

    def test_copy(self) -> None:
        """The copy comes in slices, one in a turn, and is announced once at its end."""
        for number in range(2 * BATCH + 1):
            self.world.sink.apply(Upsert(service(number)))
        self.world.feed.start()
        self.assertEqual((len(self.world.sent), self.world.copied), (BATCH, 0))
        for _ in range(5):
            self.world.clock.advance(0.0)
        self.assertEqual((len(self.world.sent), self.world.copied), (2 * BATCH + 1, 1))
        self.assertTrue(self.world.same())

    def test_changes_meanwhile(self) -> None:
        """A change during the copy is sent at once, and not undone by what is copied later."""
        for number in range(2 * BATCH):
            self.world.sink.apply(Upsert(service(number)))
        self.world.feed.start()
        for number in (0, BATCH - 1, 2 * BATCH - 1):
            self.world.sink.apply(Upsert(service(number, 9)))
        for number in (1, BATCH, 2 * BATCH - 2):
            self.world.sink.apply(Delete(Kind.SERVICE, b"ns%d" % (number % 3), b"s%d" % number))
        self.world.clock.pump([0.0] * 5)
        self.assertTrue(self.world.same())

    def test_no_room(self) -> None:
        """The copy waits for a follower that cannot keep pace; changes do not."""
        for number in range(2 * BATCH):
            self.world.sink.apply(Upsert(service(number)))
        self.world.has_room = False
        self.world.feed.start()
        self.world.clock.pump([0.01] * 10)
        self.assertEqual(self.world.sent, [])
        self.world.sink.apply(Upsert(Namespace(b"new")))
        self.assertEqual(self.world.sent, [Upsert(Namespace(b"new"))])
        self.world.has_room = True
        self.world.clock.pump([0.01] * 10)
        self.assertEqual(self.world.copied, 1)
        self.assertTrue(self.world.same())

    def test_nothing_new(self) -> None:
        """What alters nothing is not sent, as after a list of what is known."""
        self.world.sink.apply(Upsert(service(1)))
        self.world.feed.start()
        self.world.clock.advance(0.0)
        sent = len(self.world.sent)
        self.world.sink.apply(Upsert(service(1)))
        self.world.sink.apply(Delete(Kind.SERVICE, b"ns0", b"never"))
        self.assertEqual(len(self.world.sent), sent)

    def test_held(self) -> None:
        """A slice that is held for a moment and comes back is neither lost nor kept too long by the follower."""
        self.world.sink.apply(Upsert(service(0)))
        self.world.sink.apply(Upsert(part(1, 1)))
        self.world.feed.start()
        self.world.clock.advance(0.0)
        delete = Delete(Kind.ENDPOINT_SLICE, b"ns0", b"p1")
        self.world.sink.apply(delete)
        self.world.sink.apply(Upsert(part(1, 1)))
        self.world.clock.advance(GRACE + 0.1)
        self.assertEqual(len(self.world.follower.index.slices_of(b"ns0", b"s0")), 1)
        self.world.sink.apply(delete)
        self.world.clock.advance(GRACE + 0.1)
        self.assertEqual(self.world.follower.index.slices_of(b"ns0", b"s0"), ())

    def test_stopped(self) -> None:
        """After the end nothing is sent, and no timer is left."""
        for number in range(2 * BATCH):
            self.world.sink.apply(Upsert(service(number)))
        self.world.feed.start()
        self.world.feed.stop()
        sent = len(self.world.sent)
        self.world.sink.apply(Upsert(service(1, 5)))
        self.assertEqual(len(self.world.sent), sent)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    @given(st.integers(0, 2**32), st.integers(0, 300), st.integers(0, 60))
    def test_random(self, seed: int, before: int, during: int) -> None:
        """Random histories before and during the copy leave both with the same objects, once nothing is held."""
        world, chance = World(), Random(seed)
        for _ in range(before):
            world.sink.apply(random_change(chance))
        world.feed.start()
        for _ in range(during):
            world.sink.apply(random_change(chance))
            if chance.random() < 0.2:
                world.clock.advance(chance.choice((0.0, 0.1, GRACE)))
        world.clock.pump([0.01] * 10)
        world.clock.advance(GRACE + 0.1)
        self.assertEqual(world.copied, 1)
        self.assertTrue(world.same())
        world.sink.stop()
        world.follower.stop()
