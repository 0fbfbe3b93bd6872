# -*- test-case-name: tests.server.test_top_talkers -*-
"""
The most frequent clients, names, and names that do not exist, in fixed memory.

It sees a sample of the finished replies, each with the number of replies that it stands for (``ServerContext.sample``), and takes two or
three microseconds for one. Its owner calls :meth:`TopTalkers.advance` each second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from kdns.core.sketch import PERIODS, Recent
from kdns.server.search_path import SearchPaths
from kdns.server.table_keys import head_of
from kdns.wire.constants import NXDOMAIN
from kdns.wire.names import to_text

if TYPE_CHECKING:
    from kdns.cluster.index import ClusterIndex

PERIOD = 60.0
"""Seconds of a period; figures cover two to three minutes."""


class Waste(NamedTuple):
    """How many queries there were, and how many of them were for names that a search path made and that do not exist."""

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
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turns = clock() + PERIOD
        self._began = [clock()]
        self.clients: Recent[str] = Recent()
        self.names: Recent[bytes] = Recent()
        self.denied: Recent[bytes] = Recent()
        self.queries_ever = 0
        """Queries since the start that the samples stand for."""

        self.wasted_ever = 0
        """Those of them for names that a search path made and that do not exist."""

        self._wasted = [0]
        self._paths = SearchPaths(())

    def set_search_paths(self, paths: SearchPaths) -> None:
        """Use the search paths of a new configuration."""
        self._paths = paths

    def sample(self, query: bytes, reply: bytes, client: str, times: int) -> None:
        """
        Count a finished reply.

        :param query: a key of the answer table.
        :param reply: octets behind the identifier.
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

    def advance(self) -> None:
        """Begin a new period if it is time, and drop the oldest."""
        now = self._clock()
        if now < self._turns:
            return
        self._turns = now + PERIOD
        self._began = [*self._began, now][-PERIODS:]
        for recent in (self.clients, self.names, self.denied):
            recent.turn()
        self._wasted = [*self._wasted, 0][-PERIODS:]

    @property
    def seconds(self) -> float:
        """Seconds that the figures cover."""
        return self._clock() - self._began[0]

    def waste(self) -> Waste:
        """Queries of the last minutes that search paths wasted."""
        return Waste(self.names.total, sum(self._wasted))


def name_text(name: bytes) -> str:
    """A name as text; one that was cut short ends with an ellipsis."""
    try:
        return to_text(name)
    except IndexError:
        return "".join(chr(octet) if 0x21 <= octet <= 0x7E else f"\\{octet:03d}" for octet in name) + "…"


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
