"""The index: look-ups, what a change makes visible, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import GRACE, ClusterIndex
from kdns.cluster.invalidation import (
    Serial,
    address_key,
    external_address_key,
    external_key,
    import_key,
    namespace_key,
    pod_key,
    service_key,
)
from kdns.cluster.objects import (
    Change,
    ClusterObject,
    Delete,
    EndpointSlice,
    ImportKind,
    Keep,
    Kind,
    Namespace,
    Pod,
    Port,
    Service,
    ServiceImport,
    ServiceKind,
    Upsert,
    kind_of,
)

A, B, C = b"\n\0\0\1", b"\n\0\0\2", b"\n\0\0\3"
HTTP = (Port(b"http", 80, b"tcp"),)
DB = Service(b"prod", b"db", ServiceKind.HEADLESS, ports=HTTP)
DB_1 = EndpointSlice(b"prod", b"db-1", b"db", (A,), ports=HTTP)
DB_2 = EndpointSlice(b"prod", b"db-2", b"db", (B,), ports=HTTP)


def index_of(*items: ClusterObject, grace: float = GRACE) -> ClusterIndex:
    """An index with these objects, entered at second 100."""
    index = ClusterIndex(grace=grace)
    for item in items:
        index.apply(Upsert(item), 100.0)
    return index


def gone(item: ClusterObject) -> Delete:
    """The deletion of an object."""
    return Delete(kind_of(item), item.namespace, item.name)


class LookUpTests(SynchronousTestCase):
    """Look-ups of what is there and what is not."""

    def test_nothing(self) -> None:
        """An empty index knows nothing and says so."""
        index = ClusterIndex()
        self.assertFalse(index.has_namespace(b"n"))
        self.assertIsNone(index.service(b"n", b"s"))
        self.assertIsNone(index.service_import(b"n", b"s"))
        self.assertIsNone(index.pod(b"n", b"p"))
        self.assertIsNone(index.pod_at(b"n", A))
        for found in (index.slices_of(b"n", b"s"), index.imported_slices_of(b"n", b"s"), index.slices_by_address(A)):
            self.assertEqual(found, ())
        self.assertEqual((index.services(), index.serial()), ([], 0))
        self.assertEqual((index.approximate_bytes(), index.next_deadline()), (0, None))

    def test_several_slices_by_name(self) -> None:
        """The slices of a service stand in the order of their names, whichever came first."""
        self.assertEqual(index_of(DB_2, DB_1, DB).slices_of(b"prod", b"db"), (DB_1, DB_2))

    def test_address_in_two_slices(self) -> None:
        """An address that two slices hold stays when one of them goes."""
        other = EndpointSlice(b"prod", b"all-1", b"all", (A, B))
        index = index_of(DB_1, other)
        self.assertEqual(index.slices_by_address(A), (other, DB_1))
        index.apply(gone(DB_1), 101.0)
        self.assertEqual(index.slices_by_address(A), (other,))

    def test_imported_slices_have_no_reverse_names(self) -> None:
        """They are found by their service only."""
        part = EndpointSlice(b"mc", b"v-1", None, (A,), imported=b"v", cluster=b"east")
        index = index_of(part)
        self.assertEqual(index.imported_slices_of(b"mc", b"v"), (part,))
        self.assertEqual((index.slices_by_address(A), index.slices_of(b"mc", b"v")), ((), ()))

    def test_pod_of_a_namespace(self) -> None:
        """Pods on the network of their node share its address; each namespace has its own."""
        pods = [Pod(b"a", b"x", A, (C,)), Pod(b"b", b"y", A)]
        index = index_of(*pods)
        self.assertEqual(index.pods_by_address(A), tuple(pods))
        self.assertEqual(
            (index.pod_at(b"b", A), index.pod_at(b"a", C), index.pod_at(b"b", C)), (pods[1], pods[0], None)
        )

    def test_first_service_of_an_address(self) -> None:
        """Two services with one address stand in order of their names."""
        one, two = (Service(b"n", name, ServiceKind.CLUSTER_IP, (A,), external_addresses=(C,)) for name in (b"a", b"b"))
        index = index_of(two, one)
        self.assertEqual(index.services_by_address(A), (one, two))
        self.assertEqual(index.services_by_external_address(C), (one, two))
        self.assertEqual(index.services_by_address(C), ())

    def test_kind_changes(self) -> None:
        """A headless service that becomes one with an address is found by it, and the other way round."""
        index = index_of(DB, DB_1)
        vip = replace(DB, kind=ServiceKind.CLUSTER_IP, addresses=(C,))
        self.assertTrue(index.apply(Upsert(vip), 101.0))
        self.assertEqual(index.services_by_address(C), (vip,))
        index.apply(Upsert(DB), 102.0)
        self.assertEqual((index.services_by_address(C), index.service(b"prod", b"db")), ((), DB))

    def test_slice_moves_to_another_service(self) -> None:
        """A changed label takes the endpoints from one service to the other at once."""
        index = index_of(DB, DB_1)
        moved = replace(DB_1, service=b"other")
        index.apply(Upsert(moved), 101.0)
        self.assertEqual(index.slices_of(b"prod", b"db"), ())
        self.assertEqual((index.slices_of(b"prod", b"other"), index.slices_by_address(A)), ((moved,), (moved,)))

    def test_transfer_order(self) -> None:
        """All services come by their own names."""
        services = [
            Service(namespace, name, ServiceKind.HEADLESS) for name in (b"a", b"b") for namespace in (b"m", b"n")
        ]
        self.assertEqual(index_of(*reversed(services)).services(), services)


class ChangeTests(SynchronousTestCase):
    """What apply tells, and the serials."""

    def test_a_new_version_alone_changes_nothing(self) -> None:
        """The version is kept for the next comparison, and nobody's answer dies."""
        index = index_of(DB, DB_1)
        noted = index.stamps.note(service_key(b"prod", b"db"))
        self.assertFalse(index.apply(Upsert(replace(DB, version=7)), 200.0))
        self.assertFalse(index.apply(Upsert(replace(DB_1, version=8)), 200.0))
        self.assertEqual((noted[0].version, index.serial()), (noted[1], 100))
        found = index.service(b"prod", b"db")
        assert found is not None
        self.assertEqual(found.version, 7)

    def test_unknown_deletion_and_keep(self) -> None:
        """Deleting what is not there and keeping what is are no changes."""
        index = index_of(DB)
        self.assertFalse(index.apply(Delete(Kind.POD, b"n", b"p"), 200.0))
        self.assertFalse(index.apply(Keep(Kind.SERVICE, b"prod", b"db"), 200.0))
        self.assertEqual((index.serial(), index.service(b"prod", b"db")), (100, DB))

    def test_serials_are_apart(self) -> None:
        """Each sort of zone has a serial of its own."""
        index = ClusterIndex()
        index.apply(Upsert(DB), 10.9)
        index.apply(Upsert(ServiceImport(b"mc", b"v", ImportKind.HEADLESS)), 20.0)
        index.apply(Upsert(replace(DB, external_addresses=(C,))), 30.0)
        index.apply(Upsert(Namespace(b"n")), 40.0)
        self.assertEqual([index.serial(which) for which in Serial], [10, 20, 30])

    def test_serial_never_goes_back(self) -> None:
        """When the clock is put back, a change still moves the serial on."""
        index = index_of(DB)
        index.apply(Upsert(DB_1), 50.0)
        self.assertEqual(index.serial(), 101)

    def test_serial_has_a_stamp(self) -> None:
        """It dies when the number changes, not with every change within a second."""
        index = ClusterIndex()
        stamp, version = index.stamps.note(Serial.CLUSTER)
        index.apply(Upsert(DB), 100.2)
        index.apply(Upsert(DB_1), 100.7)
        self.assertEqual(stamp.version, version + 1)
        index.apply(Upsert(DB_2), 101.0)
        self.assertEqual(stamp.version, version + 2)

    def test_figures(self) -> None:
        """Counts and weight come back to nothing when everything is gone."""
        items: list[ClusterObject] = [Namespace(b"prod"), DB, DB_1, Pod(b"prod", b"p", A)]
        index = index_of(*items, grace=0)
        self.assertEqual([index.counts()[kind] for kind in Kind], [1, 1, 1, 1, 0])
        self.assertGreater(index.approximate_bytes(), 500)
        for item in items:
            index.apply(gone(item), 101.0)
        self.assertEqual((set(index.counts().values()), index.approximate_bytes()), ({0}, 0))


class ReplacementTests(SynchronousTestCase):
    """A service never seems empty while a slice is replaced, and nobody waits who need not."""

    def addresses(self, index: ClusterIndex) -> set[bytes]:
        """The endpoints of prod/db."""
        return {address for part in index.slices_of(b"prod", b"db") for address in part.addresses}

    def test_deletion_first(self) -> None:
        """The last slice is held until its successor is there, and goes in the same moment."""
        index = index_of(DB, DB_1)
        self.assertFalse(index.apply(gone(DB_1), 101.0))
        self.assertEqual((self.addresses(index), index.next_deadline()), ({A}, 101.5))
        self.assertTrue(index.apply(Upsert(DB_2), 101.1))
        self.assertEqual((self.addresses(index), index.next_deadline()), ({B}, None))
        self.assertEqual(index.slices_by_address(A), ())

    def test_successor_first(self) -> None:
        """When the successor is there already, a deletion is visible at once."""
        index = index_of(DB, DB_1, DB_2)
        self.assertTrue(index.apply(gone(DB_1), 101.0))
        self.assertEqual(self.addresses(index), {B})

    def test_no_successor(self) -> None:
        """When the grace is over, the service is empty, and only then its answers die and the serial moves."""
        index = index_of(DB, DB_1)
        stamp, version = index.stamps.note(service_key(b"prod", b"db"))
        index.apply(gone(DB_1), 101.0)
        self.assertFalse(index.expire(101.4))
        self.assertEqual((stamp.version, index.serial()), (version, 100))
        self.assertTrue(index.expire(101.5))
        self.assertEqual((stamp.version, index.serial(), self.addresses(index)), (version + 1, 101, set()))
        self.assertFalse(index.expire(200.0))

    def test_an_empty_successor_is_none(self) -> None:
        """A new slice without ready endpoints does not let the held one go, one that becomes ready does."""
        index = index_of(DB, DB_1)
        index.apply(gone(DB_1), 101.0)
        index.apply(Upsert(replace(DB_2, addresses=())), 101.1)
        self.assertEqual(self.addresses(index), {A})
        index.apply(Upsert(DB_2), 101.2)
        self.assertEqual(self.addresses(index), {B})

    def test_comes_back_under_its_name(self) -> None:
        """A slice that is made anew under the same name never went; it counts as it is now."""
        index = index_of(DB, DB_1)
        for new in (DB_1, replace(DB_1, addresses=(C,)), replace(DB_1, addresses=())):
            index.apply(gone(DB_1), 101.0)
            index.apply(Upsert(new), 101.1)
            self.assertEqual((self.addresses(index), index.next_deadline()), (set(new.addresses), None))

    def test_a_service_that_goes_goes(self) -> None:
        """With the service, held slices go at once."""
        index = index_of(DB, DB_1)
        index.apply(gone(DB_1), 101.0)
        self.assertTrue(index.apply(gone(DB), 101.1))
        self.assertEqual((index.slices_by_address(A), index.next_deadline()), ((), None))

    def test_nobody_waits_without_a_gap(self) -> None:
        """No service, no ready endpoint, or no grace: the slice goes at once."""
        for index, part in (
            (index_of(DB_1), DB_1),
            (index_of(DB, replace(DB_1, addresses=())), DB_1),
            (index_of(DB, DB_1, grace=0), DB_1),
        ):
            self.assertTrue(index.apply(gone(part), 101.0))
            self.assertEqual((index.slices_of(b"prod", b"db"), index.next_deadline()), ((), None))

    def test_endpoints_that_become_unready_go_at_once(self) -> None:
        """Only deletions are held: an update is what the cluster wants to be seen."""
        index = index_of(DB, DB_1)
        index.apply(Upsert(replace(DB_1, addresses=())), 101.0)
        self.assertEqual(self.addresses(index), set())

    def test_deleted_twice(self) -> None:
        """A second deletion does not prolong the grace."""
        index = index_of(DB, DB_1)
        index.apply(gone(DB_1), 101.0)
        index.apply(gone(DB_1), 101.4)
        self.assertEqual(index.next_deadline(), 101.5)

    def test_clock_put_back(self) -> None:
        """A clock that is put back does not hold a slice for long."""
        index = index_of(DB, DB_1)
        index.apply(gone(DB_1), 1000.0)
        self.assertTrue(index.expire(10.0))

    def test_held_slices_are_in_no_copy(self) -> None:
        """A copy of the state and the counts say what the cluster has."""
        index = index_of(DB, DB_1)
        index.apply(gone(DB_1), 101.0)
        self.assertTrue(index.same_as(index_of(DB)))
        self.assertEqual(index.counts()[Kind.ENDPOINT_SLICE], 0)

    def test_imported_ones_too(self) -> None:
        """The services of several clusters are treated alike."""
        part = EndpointSlice(b"mc", b"v-1", None, (A,), imported=b"v", cluster=b"east")
        item = ServiceImport(b"mc", b"v", ImportKind.HEADLESS)
        index = index_of(item, part)
        index.apply(gone(part), 101.0)
        self.assertEqual(index.imported_slices_of(b"mc", b"v"), (part,))
        index.apply(gone(item), 101.1)
        self.assertEqual(index.imported_slices_of(b"mc", b"v"), ())


# Histories: a small world, in which objects meet often.

NAMESPACES, NAMES, ADDRESSES = (b"n", b"m"), (b"s", b"t"), (A, B, C)
spaces, names, versions = st.sampled_from(NAMESPACES), st.sampled_from(NAMES), st.integers(0, 2)
tuples = st.lists(st.sampled_from(ADDRESSES), unique=True, max_size=2).map(tuple)
ports = st.sampled_from(((), HTTP))
hosts = st.sampled_from((None, b"h"))


@st.composite
def slices(draw: st.DrawFn) -> EndpointSlice:
    """A slice of this cluster's services, of imported ones, or of both."""
    addresses = draw(tuples)
    columns = [tuple(draw(hosts) for _ in addresses) for _ in range(2)]
    service, imported = draw(st.sampled_from([(b"s", None), (b"t", None), (None, b"s"), (b"s", b"t")]))
    name = draw(st.sampled_from([b"e", b"f", b"g"]))
    hostnames, pods = (column if any(column) else () for column in columns)
    cluster = draw(hosts) if imported else None
    return EndpointSlice(
        draw(spaces), name, service, addresses, hostnames, pods, (), draw(ports), imported, cluster, draw(versions)
    )


objects: st.SearchStrategy[ClusterObject] = st.one_of(
    st.builds(Namespace, spaces, versions),
    st.builds(
        Service, spaces, names, st.sampled_from(ServiceKind), tuples, st.none(), ports, tuples, st.just(()), versions
    ),
    slices(),
    slices(),
    st.builds(Pod, spaces, names, st.sampled_from(ADDRESSES[:2]), st.sampled_from([(), (C,)]), st.just(()), versions),
    st.builds(ServiceImport, spaces, names, st.sampled_from(ImportKind), tuples, ports, versions),
)
steps = st.one_of(
    st.tuples(st.just("upsert"), objects),
    st.tuples(st.just("delete"), objects),
    st.tuples(
        st.just("relist"), st.tuples(st.sampled_from(Kind), st.lists(objects, max_size=6), objects, st.booleans())
    ),
)


def rows(parts: Iterable[EndpointSlice]) -> list[object]:
    """What slices with endpoints show."""
    return [(part.endpoints, part.ports) for part in parts if part.addresses]


def of_service(index: ClusterIndex, namespace: bytes, name: bytes) -> object:
    """What the cluster's zones show of a service."""
    it = index.service(namespace, name)
    shown = it and (it.kind, it.addresses, it.external_name, it.ports)
    return (shown, rows(index.slices_of(namespace, name)))


def of_external(index: ClusterIndex, namespace: bytes, name: bytes) -> object:
    """What external zones show of a service."""
    it = index.service(namespace, name)
    return it and replace(it, version=0)


def of_import(index: ClusterIndex, namespace: bytes, name: bytes) -> object:
    """What multicluster zones show of a service."""
    it = index.service_import(namespace, name)
    parts = index.imported_slices_of(namespace, name)
    clusters = [part.cluster for part in parts if part.addresses]
    return (it and replace(it, version=0), clusters, rows(parts))


def by_external_address(index: ClusterIndex, address: bytes) -> object:
    """What external reverse zones show of an address."""
    return [(it.namespace, it.name) for it in index.services_by_external_address(address)]


def by_pod_address(index: ClusterIndex, address: bytes) -> object:
    """Whose address it is."""
    return [(it.namespace, it.name, it.labels) for it in index.pods_by_address(address)]


def by_address(index: ClusterIndex, address: bytes) -> object:
    """What reverse zones show of an address."""
    endpoints = [
        (part.namespace, part.service, endpoint.hostname, endpoint.pod)
        for part in index.slices_by_address(address)
        for endpoint in part.endpoints
        if endpoint.address == address
    ]
    return ([(it.namespace, it.name) for it in index.services_by_address(address)], sorted(map(repr, endpoints)))


View = Callable[[ClusterIndex], object]


def views() -> dict[Hashable, View]:
    """For each key of a stamp, what answers that noted it can show."""
    found: dict[Hashable, View] = {which: partial(ClusterIndex.serial, which=which) for which in Serial}
    for n in NAMESPACES:
        found[namespace_key(n)] = partial(ClusterIndex.has_namespace, namespace=n)
        for s in NAMES:
            found[service_key(n, s)] = partial(of_service, namespace=n, name=s)
            found[external_key(n, s)] = partial(of_external, namespace=n, name=s)
            found[import_key(n, s)] = partial(of_import, namespace=n, name=s)
    for a in ADDRESSES:
        found[address_key(a)] = partial(by_address, address=a)
        found[external_address_key(a)] = partial(by_external_address, address=a)
        found[pod_key(a)] = partial(by_pod_address, address=a)
    return found


VIEWS = views()

World = dict[tuple[Kind, bytes, bytes], ClusterObject]


def place(item: ClusterObject) -> tuple[Kind, bytes, bytes]:
    """What an object is told by."""
    return (kind_of(item), item.namespace, item.name)


class HistoryTests(SynchronousTestCase):
    """Whatever happened, the index is what the cluster is."""

    def step(self, index: ClusterIndex, world: World, what: str, detail: object, now: float) -> None:
        """Let one thing happen to the cluster and to the index."""
        if isinstance(detail, tuple):
            kind, listed, event, complete = detail
            state: World = {place(item): item for item in listed if kind_of(item) is kind}
            relist = index.relist(kind)
            for item in state.values():
                relist.seen(Upsert(item), now)
            if kind_of(event) is kind:
                index.apply(Upsert(event), now)
                state[place(event)] = event
            if complete:
                for key in [key for key in world if key[0] is kind and key not in state]:
                    del world[key]
                while not relist.sweep(1, now):
                    pass
            else:
                relist.abort()
            world.update(state)
            return
        change: Change = Upsert(detail) if what == "upsert" else gone(detail)  # type: ignore[arg-type]  # an object then
        index.apply(change, now)
        if isinstance(change, Upsert):
            world[place(change.item)] = change.item
        else:
            world.pop((change.kind, change.namespace, change.name), None)

    @settings(max_examples=120, deadline=None, derandomize=True)
    @given(st.lists(steps, max_size=12))
    def test_equal_to_one_built_from_scratch(self, history: list[tuple[str, object]]) -> None:
        """
        Any history leaves every look-up as in an index made of the final objects alone; each answer that changed on the way lost its
        stamp, and a single change took no other stamp.
        """
        index, world = ClusterIndex(grace=0), World()
        noted = {key: index.stamps.note(key) for key in VIEWS}
        for number, (what, detail) in enumerate(history, 1):
            before = {key: (noted[key][0].version, repr(view(index))) for key, view in VIEWS.items()}
            self.step(index, world, what, detail, float(number))
            for key, view in VIEWS.items():
                bumped = noted[key][0].version != before[key][0]
                changed = repr(view(index)) != before[key][1]
                if what != "relist":
                    self.assertIs(bumped, changed, f"{key} after {what} {detail}")
                elif changed:
                    self.assertTrue(bumped, f"{key} after {what} {detail}")
        fresh = ClusterIndex()
        for item in world.values():
            fresh.apply(Upsert(item), 1.0)
        self.assertEqual(index.dump(), fresh.dump())
        self.assertEqual(index.approximate_bytes(), fresh.approximate_bytes())
        for key, view in VIEWS.items():
            if not isinstance(key, Serial):
                self.assertEqual(view(index), view(fresh), key)

    @settings(max_examples=80, deadline=None, derandomize=True)
    @given(st.lists(steps, max_size=12))
    def test_with_slices_held(self, history: list[tuple[str, object]]) -> None:
        """With a grace, copies are exact at any time and look-ups when it is over; no stamp is forgotten on the way."""
        index, world = ClusterIndex(grace=2.5), World()
        noted = {key: index.stamps.note(key) for key in VIEWS}
        for number, (what, detail) in enumerate(history, 1):
            before = {key: (noted[key][0].version, repr(view(index))) for key, view in VIEWS.items()}
            index.expire(float(number))
            self.step(index, world, what, detail, float(number))
            for key, view in VIEWS.items():
                if repr(view(index)) != before[key][1]:
                    self.assertNotEqual(noted[key][0].version, before[key][0], f"{key} after {what} {detail}")
        fresh = ClusterIndex()
        for item in world.values():
            fresh.apply(Upsert(item), 1.0)
        self.assertEqual(index.dump(), fresh.dump())
        index.expire(1000.0)
        self.assertIsNone(index.next_deadline())
        for key, view in VIEWS.items():
            if not isinstance(key, Serial):
                self.assertEqual(view(index), view(fresh), key)
