# -*- test-case-name: tests.plugins.secondary -*-
"""The link of *secondary*: its zones, and NOTIFY from their primaries."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping

from twisted.logger import Logger

from kdns.core.answer import Answer
from kdns.core.chain import Reply
from kdns.core.request import Request
from kdns.plugin.capabilities import ZoneWatcher
from kdns.plugins.file.answering import ZonesLink
from kdns.plugins.file.served import ServedZone
from kdns.plugins.secondary.catalogs import Catalogs
from kdns.plugins.secondary.config import SecondaryConfig
from kdns.plugins.secondary.zone import SecondaryZone
from kdns.wire.constants import AA

log = Logger(namespace="plugin/secondary")


class SecondaryLink(ZonesLink):
    """Answer names of the zones that were transferred."""

    def __init__(
        self, config: SecondaryConfig, zones: Mapping[bytes, SecondaryZone], catalogs: Catalogs | None = None
    ) -> None:
        """
        :param zones: those of the Corefile.
        :param catalogs: its catalogs, with their members.
        """
        served = {origin: zone.served for origin, zone in zones.items()}
        if catalogs is None:
            super().__init__("secondary", served, config.fallthrough)
        else:
            super().__init__("secondary", ChainMap(served, catalogs.zones), config.fallthrough, catalogs.members)
        self._own = zones
        self._catalogs = catalogs

    def refuses(self, request: Request) -> bool:
        """CoreDNS's *secondary* fails where its *file* refuses."""
        return False

    def notified(self, request: Request, served: ServedZone) -> Reply:
        """Look for a new version when a primary says that there is one (RFC 1996 section 3.11); others are not answered."""
        zone = self._own.get(request.qname)
        if zone is None and self._catalogs is not None:
            zone = self._catalogs.zone(request.qname)
        if zone is None or not zone.is_primary(request.client):
            return super().notified(request, served)
        log.info("Notify from {client} for {zone}: checking transfer", client=request.client, zone=served.name)
        zone.notified()
        return Answer(flags=AA, source=self.name)

    def watch_zones(self, watcher: ZoneWatcher) -> None:
        """Members of catalogs that come later are watched, too."""
        for zone in self._own.values():
            zone.served.changed.append(watcher)
        if self._catalogs is not None:
            self._catalogs.watchers.append(watcher)

    def unwatch_zones(self, watcher: ZoneWatcher) -> None:
        """See :class:`kdns.plugin.capabilities.OffersTransfers`."""
        for zone in self._own.values():
            if watcher in zone.served.changed:
                zone.served.changed.remove(watcher)
        if self._catalogs is not None and watcher in self._catalogs.watchers:
            self._catalogs.watchers.remove(watcher)
