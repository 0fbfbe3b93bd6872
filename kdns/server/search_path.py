# -*- test-case-name: tests.server.test_search_path -*-
"""
Which names a search path made: ``api.example.com.shop.svc.cluster.local`` is nobody's name, it is one that a resolver tried in vain.

A pod's resolver appends ``NS.svc.DOMAIN``, ``svc.DOMAIN`` and ``DOMAIN`` to every name with fewer than five dots, in this order, before it
asks for the name itself. So each look-up of an outside name brings up to six queries that cannot succeed (A and AAAA). Only names that do
not exist are judged here, and it is a guess: ``db.shop`` might be an endpoint of a missing service, and ``example.com`` a service
``example`` in a namespace ``com`` that is not there. What the cluster knows decides where it can.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from kdns.wire.names import labels_of

ENDINGS = frozenset(
    b"app arpa aws biz cloud com corp dev edu gov home info int internal intra intranet lan local localdomain "
    b"mil net online org private site svc tech xyz".split()
)
"""Last labels of outside names, and of names of the cluster that are not complete; all with two letters are beside them."""

LONGEST = 4
"""Labels of the longest name of a service: port, protocol, service, namespace."""


class Known(Protocol):
    """What must be known of a cluster, as :class:`kdns.cluster.index.ClusterIndex` knows it."""

    def has_namespace(self, namespace: bytes) -> bool:
        """Whether the namespace exists."""

    def service(self, namespace: bytes, name: bytes) -> object | None:
        """The service of that name."""


class SearchPaths:
    """
    The search paths of some clusters.

    :param zones: cluster domains in wire form and lower case, each with what is known of its cluster.
    """

    def __init__(self, zones: Iterable[tuple[bytes, Known]]) -> None:
        self._zones = tuple(zones)

    def made(self, name: bytes) -> bool:
        """Whether *name*, which does not exist, is one that a search path made up; in wire form and lower case."""
        for zone, known in self._zones:
            if name.endswith(zone) and len(name) > len(zone):
                try:
                    labels = labels_of(name[: len(name) - len(zone)] + b"\x00")
                except IndexError:
                    continue  # the zone begins within a label, or the name is none
                return made_below(labels, known, zone)
        return False


def made_below(labels: Sequence[bytes], known: Known, zone: bytes) -> bool:
    """
    The same for the labels in front of a cluster domain, of which there is one at least.

    :param zone: the cluster domain.
    """
    count = len(labels)
    if labels[-1] == b"pod":
        return False
    if labels[-1] != b"svc":
        return count > 1  # nothing of the cluster is here
    if count < 3:
        return False
    namespace = labels[-2]
    if not known.has_namespace(namespace):
        # Either svc.DOMAIN was appended, or somebody asks for a namespace that is not there.
        front = labels[:-1]
        return len(front) > LONGEST or _ends_outside(front[-1], known, zone)
    front = labels[:-2]
    last = front[-1]
    if len(front) < 2 or known.service(namespace, last) is not None:
        return False  # a missing service, or something missing of one that is there
    if len(front) == 2 or (len(front) == 3 and front[0][:1] == b"_" == front[1][:1]):
        return _ends_outside(last, known, zone)
    return True


def _ends_outside(label: bytes, known: Known, zone: bytes) -> bool:
    """Whether a name with that last label is one that was not complete, or an outside one."""
    if label in ENDINGS or label[:4] == b"xn--":
        return True
    if len(label) == 2 and label.isalpha():
        return True
    return known.has_namespace(label) or zone.endswith(bytes((len(label),)) + label + b"\x00")
