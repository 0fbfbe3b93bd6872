"""Changes can be written down."""

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.changes import Change, Delete, Keep, Upsert, decode, encode
from kdns.cluster.objects import (
    ClusterObject,
    EndpointSlice,
    ImportKind,
    Kind,
    Namespace,
    Pod,
    Port,
    Service,
    ServiceImport,
    ServiceKind,
)

OBJECTS: list[ClusterObject] = [
    Namespace(b"prod", 7),
    Service(
        b"prod",
        b"web",
        ServiceKind.CLUSTER_IP,
        (b"\n\0\0\1", bytes(16)),
        ports=(Port(b"http", 80, b"tcp"),),
        version="x9",
    ),
    Service(b"prod", b"ext", ServiceKind.EXTERNAL_NAME, external_name=b"\x01a\x00"),
    Service(b"prod", b"lb", ServiceKind.HEADLESS, (), None, (), (b"aaaa",), (b"\x02lb\x00",)),
    EndpointSlice(
        b"prod", b"web-1", b"web", (b"aaaa", b"bbbb"), (None, b"h"), (b"p", None), (b"z", b"z"), (Port(b"", 0, b"udp"),)
    ),
    EndpointSlice(b"mc", b"v-1", None, imported=b"v", cluster=b"east"),
    Pod(b"prod", b"p", b"aaaa", (bytes(16),), (("app", "web"),), 3),
    ServiceImport(b"mc", b"v", ImportKind.HEADLESS, (b"aaaa",), (Port(b"http", 80, b"tcp"),), 4),
]


class WrittenTests(SynchronousTestCase):
    """Another process gets the same change."""

    def test_round_trip(self) -> None:
        """What was encoded is decoded to an equal value."""
        changes: list[Change] = [Upsert(item, 12.5) for item in OBJECTS]
        changes += [Delete(Kind.POD, b"prod", b"p", 1.5), Keep(Kind.POD, b"prod", b"p")]
        self.assertEqual([decode(encode(change)) for change in changes], changes)

    def test_damage_is_a_value_error(self) -> None:
        """Octets that are no change are told as such."""
        octets = encode(Upsert(OBJECTS[0]))
        for damaged in (b"", octets[:-3], b"\xc1" + octets, b"\x80"):
            self.assertRaises(ValueError, decode, damaged)

    def test_place(self) -> None:
        """A change says what it is about."""
        change = Upsert(OBJECTS[1])
        self.assertEqual((change.kind, change.namespace, change.name), (Kind.SERVICE, b"prod", b"web"))
