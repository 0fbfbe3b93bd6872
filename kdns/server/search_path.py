# -*- test-case-name: tests.server.test_search_path -*-
"""
Which names a resolver made with its search path: ``api.example.com.shop.svc.cluster.local`` exists nowhere.

A pod's resolver appends ``NS.svc.DOMAIN``, ``svc.DOMAIN`` and ``DOMAIN`` to every name with fewer than five dots, in this order, before it
asks for the name itself. So each look-up of an outside name causes up to six queries that cannot succeed (A and AAAA). Only names that do
not exist are judged here, and the result is a guess: ``db.shop`` might be an endpoint of a missing service, and ``example.com`` a service
``example`` in a missing namespace ``com``. The cluster's services and namespaces decide where they can.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from kdns.wire.names import labels_of

ENDINGS = frozenset(
    b"app arpa aws biz cloud com corp dev edu gov home info int internal intra intranet lan local localdomain "
    b"mil net online org private site svc tech xyz".split()
)
"""Last labels of outside names, and of cluster names that are not complete; so are all labels of two letters."""

LONGEST = 4
"""Labels of the longest name of a service: port, protocol, service, namespace."""


class Known(Protocol):
    """The part of :class:`kdns.cluster.index.ClusterIndex` that is used here."""

    def has_namespace(self, namespace: bytes) -> bool:
        """Whether the namespace exists."""

    def service(self, namespace: bytes, name: bytes) -> object | None:
        """The service of that name."""


class SearchPaths:
    """
    The search paths of some clusters.

    :param zones: cluster domains in wire form and lower case, each with its cluster.
    """

    def __init__(self, zones: Iterable[tuple[bytes, Known]]) -> None:
        self._zones = tuple(zones)

    def made(self, name: bytes) -> bool:
        """Whether a search path made *name*, which does not exist; in wire form and lower case."""
        for zone, known in self._zones:
            if name.endswith(zone) and len(name) > len(zone):
                try:
                    labels = labels_of(name[: len(name) - len(zone)] + b"\x00")
                except IndexError:
                    continue  # the zone begins within a label, or this is no name
                return made_below(labels, known, zone)
        return False


def made_below(labels: Sequence[bytes], known: Known, zone: bytes) -> bool:
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


def _ends_outside(label: bytes, known: Known, zone: bytes) -> bool:
    """Whether a name with that last label was an outside name, or a cluster name that was not complete."""
    if label in ENDINGS or label[:4] == b"xn--":
        return True
    if len(label) == 2 and label.isalpha():
        return True
    return known.has_namespace(label) or zone.endswith(bytes((len(label),)) + label + b"\x00")
