# -*- test-case-name: tests.server.test_top_talkers -*-
"""
The most frequent clients, names, and nonexistent names, in fixed memory; and which nonexistent names a search path made.

A pod's resolver appends ``NS.svc.DOMAIN``, ``svc.DOMAIN`` and ``DOMAIN`` to every name with fewer than five dots, in this order, before it
asks for the name itself. So each look-up of an outside name causes up to six queries that cannot succeed (A and AAAA), such as
``api.example.com.shop.svc.cluster.local``. The judgement is a guess: ``db.shop`` might be an endpoint of a missing service, and
``example.com`` a service ``example`` in a missing namespace ``com``. The cluster's services and namespaces decide where they can.

:class:`TopTalkers` sees a sample of the finished replies, each with the number of replies that it stands for (``ServerContext.sample``),
and takes two or three microseconds for one. Its owner calls :meth:`TopTalkers.advance` each second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple, Protocol

from kdns.core.sketch import PERIODS, Recent
from kdns.server.table_keys import head_of
from kdns.wire.constants import NXDOMAIN
from kdns.wire.names import labels_of, to_text

if TYPE_CHECKING:
    from kdns.cluster.index import ClusterIndex

ENDINGS = frozenset(
    b"app arpa aws biz cloud com corp dev edu gov home info int internal intra intranet lan local localdomain "
    b"mil net online org private site svc tech xyz".split()
)
"""Last labels of outside names, and of cluster names that are not complete; so are all labels of two letters."""

LONGEST = 4
"""Labels of the longest name of a service: port, protocol, service, namespace."""


class ClusterNames(Protocol):
    """The part of :class:`kdns.cluster.index.ClusterIndex` that is used here."""

    def has_namespace(self, namespace: bytes) -> bool:
        pass

    def service(self, namespace: bytes, name: bytes) -> object | None:
        pass


class SearchPaths:
    """
    The search paths of some clusters.

    :param zones: cluster domains in wire form and lower case, each with its cluster.
    """

    def __init__(self, zones: Iterable[tuple[bytes, ClusterNames]]) -> None:
        self._zones = tuple(zones)

    def made(self, name: bytes) -> bool:
        """Whether a search path produced *name*, which does not exist; in lower-case wire form."""
        for zone, known in self._zones:
            if name.endswith(zone) and len(name) > len(zone):
                try:
                    labels = labels_of(name[: len(name) - len(zone)] + b"\x00")
                except IndexError:
                    continue  # the zone begins within a label, or this is no name
                return made_below(labels, known, zone)
        return False

    def namespace(self, name: bytes) -> bytes:
        """
        The namespace whose search path produced *name*; empty when the name does not tell.

        Only the first step of a path has the namespace in it.
        """
        for zone, known in self._zones:
            if name.endswith(zone) and len(name) > len(zone):
                labels = labels_of(name[: len(name) - len(zone)] + b"\x00")
                if len(labels) > 2 and labels[-1] == b"svc" and known.has_namespace(labels[-2]):
                    return labels[-2]
        return b""


def made_below(labels: Sequence[bytes], known: ClusterNames, zone: bytes) -> bool:
    """
    The same for the labels in front of a cluster domain; there is at least one.

    :param zone: the cluster domain.
    """
    count = len(labels)
    if labels[-1] == b"pod":
        return False
    if labels[-1] != b"svc":
        return count > 1  # the cluster has no names here
    if count < 3:
        return False
    namespace = labels[-2]
    if not known.has_namespace(namespace):
        # Either svc.DOMAIN was appended, or the client asks for a namespace that does not exist.
        front = labels[:-1]
        return len(front) > LONGEST or _ends_outside(front[-1], known, zone)
    front = labels[:-2]
    last = front[-1]
    if len(front) < 2 or known.service(namespace, last) is not None:
        return False  # a missing service, or a missing endpoint of a service that exists
    if len(front) == 2 or (len(front) == 3 and front[0][:1] == b"_" == front[1][:1]):
        return _ends_outside(last, known, zone)
    return True


def _ends_outside(label: bytes, known: ClusterNames, zone: bytes) -> bool:
    """Whether a name with that last label was an outside name, or an incomplete cluster name."""
    if label in ENDINGS or label[:4] == b"xn--":
        return True
    if len(label) == 2 and label.isalpha():
        return True
    return known.has_namespace(label) or zone.endswith(bytes((len(label),)) + label + b"\x00")


PERIOD = 60.0
"""Seconds of a period; figures cover two to three minutes."""


MOST_NAMESPACES = 200
"""Namespaces that have a figure of their own: each is a series of a metric."""


class Waste(NamedTuple):
    """The number of queries, and how many of them were for nonexistent names made by a search path."""

    queries: int
    wasted: int

    @property
    def share(self) -> float:
        """0 to 1; 0 when there were no queries."""
        return self.wasted / self.queries if self.queries else 0.0


class TopTalkers:
    """
    The most frequent clients and names of the last minutes.

    :param clock: seconds of a clock that never goes back.
    :ivar clients: addresses as text.
    :ivar names: in wire form and lower case, as are *denied*.
    :ivar denied: names that do not exist.
    :ivar refused: clients whose queries were refused because they had had their share; each query is counted.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turns = clock() + PERIOD
        self._began = [clock()]
        self.clients: Recent[str] = Recent()
        self.names: Recent[bytes] = Recent()
        self.denied: Recent[bytes] = Recent()
        self.refused: Recent[str] = Recent()
        self.queries_ever = 0
        """Queries since the start, as extrapolated from samples."""

        self.wasted_ever = 0
        """Those of them for names that a search path made and that do not exist."""

        self.wasteful: Recent[bytes] = Recent()
        """Namespaces, by the queries that the first step of their search path wasted."""

        self.wasted_by: dict[bytes, int] = {}
        """The same since the start, for at most :data:`MOST_NAMESPACES` of them."""

        self.namespace_seen: Callable[[bytes], None] = lambda namespace: None
        """Told of each namespace that comes to have a figure of its own."""

        self._wasted = [0]
        self._paths = SearchPaths(())

    def set_search_paths(self, paths: SearchPaths) -> None:
        """Use the search paths of a new configuration."""
        self._paths = paths

    def sample(self, query: bytes, reply: bytes, client: str, times: int) -> None:
        """
        Count a finished reply.

        :param query: a key of the answer table.
        :param reply: bytes behind the identifier.
        :param times: how many queries it stands for.
        """
        start = head_of(query)
        # Up to the first zero byte, without walking the labels. Only a name with a zero byte in a label is cut short.
        name = query[start : query.find(0, start) + 1].lower()
        self.queries_ever += times
        self.clients.add(client, times)
        self.names.add(name, times)
        if reply[1] & 15 == NXDOMAIN:
            self.denied.add(name, times)
            if self._paths.made(name):
                self.wasted_ever += times
                self._wasted[-1] += times
                namespace = self._paths.namespace(name)
                if namespace:
                    self.wasteful.add(namespace, times)
                    self._count_waste(namespace, times)

    def _count_waste(self, namespace: bytes, times: int) -> None:
        if namespace not in self.wasted_by:
            if len(self.wasted_by) == MOST_NAMESPACES:
                return
            self.wasted_by[namespace] = 0
            self.namespace_seen(namespace)
        self.wasted_by[namespace] += times

    def refuse(self, client: str) -> None:
        """Count a query that was refused because its client had had its share."""
        self.refused.add(client)

    def advance(self) -> None:
        """Begin a new period if it is time, and drop the oldest."""
        now = self._clock()
        if now < self._turns:
            return
        self._turns = now + PERIOD
        self._began = [*self._began, now][-PERIODS:]
        for recent in (self.clients, self.names, self.denied, self.refused, self.wasteful):
            recent.turn()
        self._wasted = [*self._wasted, 0][-PERIODS:]

    @property
    def seconds(self) -> float:
        """Seconds that the figures cover."""
        return self._clock() - self._began[0]

    def waste(self) -> Waste:
        """Recent queries wasted by search paths."""
        return Waste(self.names.total, sum(self._wasted))


def name_text(name: bytes) -> str:
    """A name as text; a truncated one ends with an ellipsis."""
    try:
        return to_text(name)
    except IndexError:
        return "".join(chr(byte) if 0x21 <= byte <= 0x7E else f"\\{byte:03d}" for byte in name) + "…"


def who(client: str, indexes: Iterable[ClusterIndex]) -> str:
    """
    The pod with an address, ``pod NAMESPACE/NAME``, or the service that it is an endpoint of; empty when neither is known.

    Pods are known where they are watched, endpoints by their slices. Pods on the host network of a node share its address.
    """
    try:
        address = ip_address(client).packed
    except ValueError:
        return ""
    for index in indexes:
        pods = index.pods_by_address(address)
        if pods:
            more = f" and {len(pods) - 1} more" if len(pods) > 1 else ""
            return f"pod {_text(pods[0].namespace)}/{_text(pods[0].name)}{more}"
    for index in indexes:
        for found in index.slices_by_address(address):
            for endpoint in found.endpoints:
                if endpoint.address == address and endpoint.pod is not None:
                    return f"pod {_text(found.namespace)}/{_text(endpoint.pod)}"
            if found.service is not None:
                return f"behind service {_text(found.namespace)}/{_text(found.service)}"
    return ""


def _text(label: bytes) -> str:
    return label.decode("ascii", "backslashreplace")
