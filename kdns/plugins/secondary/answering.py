# -*- test-case-name: tests.plugins.secondary -*-
"""The link of *secondary*: its zones, and NOTIFY from their primaries."""

from __future__ import annotations

from twisted.logger import Logger

from kdns.core.answer import Answer
from kdns.core.chain import Reply
from kdns.core.request import Request
from kdns.plugin.capabilities import ZoneWatcher
from kdns.plugins.file.answering import ZonesLink
from kdns.plugins.file.served import ServedZone
from kdns.plugins.secondary.catalogs import SecondaryZones
from kdns.plugins.secondary.config import SecondaryConfig
from kdns.wire.constants import AA

log = Logger(namespace="plugin/secondary")


class SecondaryLink(ZonesLink):
    """Answer names of the zones that were transferred."""

    def __init__(self, config: SecondaryConfig, zones: SecondaryZones) -> None:
        super().__init__("secondary", zones.zones, config.fallthrough, zones.members)
        self._secondaries = zones

    def refuses(self, request: Request) -> bool:
        """CoreDNS's *secondary* fails where its *file* refuses."""
        return False

    def notified(self, request: Request, served: ServedZone) -> Reply:
        """Look for a new version when a primary says that there is one (RFC 1996 section 3.11); others are not answered."""
        zone = self._secondaries.zone(request.qname)
        if zone is None or not zone.is_primary(request.client):
            return super().notified(request, served)
        log.info("Notify from {client} for {zone}: checking transfer", client=request.client, zone=served.name)
        zone.notified()
        return Answer(flags=AA, source=self.name)

    def watch_zones(self, watcher: ZoneWatcher) -> None:
        """Members of catalogs that come later are watched, too."""
        self._secondaries.watchers.append(watcher)

    def unwatch_zones(self, watcher: ZoneWatcher) -> None:
        """See :class:`kdns.plugin.capabilities.OffersTransfers`."""
        if watcher in self._secondaries.watchers:
            self._secondaries.watchers.remove(watcher)
