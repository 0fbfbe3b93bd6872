"""
What a link may have besides answers, for the parts of the server that show it: bases to inherit from, found with ``isinstance``.

They stand here so that nothing imports a plugin that the Corefile does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

from kdns.core.request import Request
from kdns.wire.records import WireRecord


class ServesCluster:
    """A link that answers from the index of a cluster."""

    cluster: Any
    """:class:`kdns.plugins.kubernetes.plugin.Cluster`"""

    config: Any
    """:class:`kdns.plugins.kubernetes.config.Config`"""


class AsksUpstreams:
    """A link that forwards queries."""

    forwarders: list[Any]
    """One for each ``forward`` of the block, in file order."""


class KeepsAnswers:
    """A link that caches answers."""

    store: Any
    """:class:`kdns.plugins.cache.store.CacheStore`"""

    zones_text: str
    """Its zones, as metrics show them."""


class Describes:
    """
    A link whose directive puts labels into metadata (*geoip*).

    What the labels depend on besides the question the link declares in ``varies``, so that reading one needs no declaration.
    """

    described: tuple[str, ...] = ()
    """How the labels begin."""


def declared_labels(links: Iterable[object]) -> tuple[str, ...]:
    """How the labels begin whose links declare themselves what these depend on."""
    return tuple(start for link in links if isinstance(link, Describes) for start in link.described)


class KnowsSearchPaths:
    """A link that knows the search paths of clients (*autopath*); its directive is a :class:`GivesSearchPaths`."""

    def path_group(self, client: str) -> Hashable:
        """The part of a client's address that its path depends on. Each change of it bumps a stamp."""
        raise NotImplementedError

    def search_path(self, request: Request) -> tuple[bytes, ...]:
        """The client's search path as domains in lower-case wire form; empty where it is not certain."""
        raise NotImplementedError


class GivesSearchPaths:
    """A directive whose link is a :class:`KnowsSearchPaths`."""


class FeedsWorkers:
    """A resource of the parent process that knows a cluster, whose workers follow it."""

    followed_as: str
    """The name of the cluster between the processes."""

    sink: Any
    """:class:`kdns.cluster.source.ChangeSink`"""

    def cluster_state(self) -> Mapping[str, Any]:
        """The fields of :class:`kdns.workers.messages.ClusterState` but the name."""
        raise NotImplementedError


class TransferZone(Protocol):
    """A zone for secondaries."""

    @property
    def origin(self) -> bytes:
        """Its name, in lower-case wire form."""

    def transfer(self, serial: int | None) -> tuple[str, Iterator[WireRecord]] | None:
        """
        The records of AXFR or IXFR, from the SOA to the SOA.

        :param serial: of the version that the client has, for IXFR.
        :return: ``full``, ``incremental`` or ``noop`` (one SOA: the client has the newest version) with the records; None when there are
            no data that may be handed out.
        """


ZoneWatcher: TypeAlias = Callable[[Any], None]
"""Called with a :class:`TransferZone` that has a new version."""


class OffersTransfers:
    """A link that has zones for secondaries (*transfer*)."""

    def transfer_zone(self, name: bytes) -> TransferZone | None:
        """The zone of that name; None when it is not the link's."""
        return None

    def watch_zones(self, watcher: ZoneWatcher) -> None:
        """Call *watcher* after each zone change, if the link notices changes; called when a configuration starts."""

    def unwatch_zones(self, watcher: ZoneWatcher) -> None:
        """Stop calling *watcher*."""
