# -*- test-case-name: tests.server.test_top_talkers -*-
"""
Who asks, for what, and what for nothing: the most frequent clients, names, and names that do not exist, in fixed memory.

It is told of a sample of the finished replies, each with how many it stands for (``ServerContext.sample``), and so must take one apart in
two or three microseconds. Whoever owns it tells it the time, with :meth:`TopTalkers.turn`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from kdns.core.sketch import PERIODS, Recent
from kdns.server.nxdomain_synthesis import head_of
from kdns.server.search_path import SearchPaths
from kdns.wire.constants import NXDOMAIN
from kdns.wire.names import to_text

if TYPE_CHECKING:
    from kdns.cluster.index import ClusterIndex

PERIOD = 60.0
"""Seconds of a period: what is shown is of two to three minutes."""


class Waste(NamedTuple):
    """How many queries there were, and how many of them a search path made up in vain."""

    queries: int
    wasted: int

    @property
    def share(self) -> float:
        """0 to 1; 0 when there were no queries."""
        return self.wasted / self.queries if self.queries else 0.0


class TopTalkers:
    """
    The most frequent of everything over the last minutes.

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
        """Those of them that a search path made up in vain."""

        self._wasted = [0]
        self._paths = SearchPaths(())

    def serve(self, paths: SearchPaths) -> None:
        """The search paths of the configuration that answers from now on."""
        self._paths = paths

    def sample(self, query: bytes, reply: bytes, client: str, times: int) -> None:
        """
        Take a finished reply into account.

        :param query: a key of the answer table.
        :param reply: octets behind the identifier.
        :param times: how many queries it stands for.
        """
        start = head_of(query)
        # The first zero octet, without a look at the labels: only a label that holds one would be cut short.
        name = query[start : query.find(0, start) + 1].lower()
        self.queries_ever += times
        self.clients.add(client, times)
        self.names.add(name, times)
        if reply[1] & 15 == NXDOMAIN:
            self.denied.add(name, times)
            if self._paths.made(name):
                self.wasted_ever += times
                self._wasted[-1] += times

    def look(self) -> None:
        """Begin a new period if it is time, and forget the oldest."""
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
        """Of how many seconds the figures are."""
        return self._clock() - self._began[0]

    def waste(self) -> Waste:
        """What search paths cost in the last minutes."""
        return Waste(self.names.total, sum(self._wasted))


def name_text(name: bytes) -> str:
    """A name as it is shown; one that was cut short, as far as it goes."""
    try:
        return to_text(name)
    except IndexError:
        return "".join(chr(octet) if 0x21 <= octet <= 0x7E else f"\\{octet:03d}" for octet in name) + "…"


def who(client: str, indexes: Iterable[ClusterIndex]) -> str:
    """
    Which pod has an address, as far as it is known: ``pod NAMESPACE/NAME``, or the service it stands behind.

    Pods are known where they are watched; what stands behind a service is known by its slices. Pods on the network of a node share its
    address, so there may be several.
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
