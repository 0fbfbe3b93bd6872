"""Objects and changes of the cluster as values."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.objects import (
    ClusterObject,
    Endpoint,
    EndpointSlice,
    ImportKind,
    Kind,
    Namespace,
    Pod,
    Port,
    Service,
    ServiceImport,
    ServiceKind,
    Upsert,
    kind_of,
    pack_version,
    weight,
)


class VersionTests(SynchronousTestCase):
    """Resource versions are opaque: only equality may be asked."""

    def test_different_texts_stay_different(self) -> None:
        """Texts that would be the same number are no equal versions."""
        texts = ["1", "01", "1.0", "+1", " 1", "1e0", "x1", "\u0661", "00", "-1", "9" * 21, "9" * 22]
        self.assertEqual(len({pack_version(text) for text in texts}), len(texts))

    def test_decimal_numbers_are_small(self) -> None:
        """The versions that servers give are kept as int."""
        self.assertEqual(pack_version("700000001"), 700_000_001)

    def test_none_known(self) -> None:
        """No version is 0."""
        self.assertEqual(pack_version(""), 0)

    def test_hostile_length_stays_text(self) -> None:
        """A million digits do not become a number."""
        self.assertIsInstance(pack_version("1" * 1_000_000), str)


class ValueTests(SynchronousTestCase):
    """Views of the kept values."""

    def test_columns_become_rows(self) -> None:
        """A column in which nothing stands is None in each row."""
        part = EndpointSlice(b"n", b"s-1", b"s", (b"aaaa", b"bbbb"), hostnames=(None, b"h"))
        self.assertEqual(part.endpoints, (Endpoint(b"aaaa"), Endpoint(b"bbbb", b"h")))

    def test_pod_addresses(self) -> None:
        """The first address and the others are one tuple to the reader."""
        self.assertEqual(Pod(b"n", b"p", b"aaaa", (b"bbbb",)).addresses, (b"aaaa", b"bbbb"))

    def test_kinds(self) -> None:
        """Each object knows its kind; a namespace is in none."""
        self.assertIs(kind_of(Service(b"n", b"s", ServiceKind.HEADLESS)), Kind.SERVICE)
        self.assertIs(kind_of(Namespace(b"n")), Kind.NAMESPACE)
        self.assertEqual(Namespace(b"n").namespace, b"")

    def test_weight_grows_with_endpoints(self) -> None:
        """A thousand endpoints weigh about a thousand times one."""
        one, many = (EndpointSlice(b"n", b"s-1", b"s", (b"aaaa",) * count) for count in (1, 1000))
        self.assertGreater(weight(many), 200 * weight(one))


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


class ChangeTests(SynchronousTestCase):
    """Changes as values."""

    def test_place(self) -> None:
        """A change says what it is about."""
        change = Upsert(OBJECTS[1])
        self.assertEqual((change.kind, change.namespace, change.name), (Kind.SERVICE, b"prod", b"web"))
