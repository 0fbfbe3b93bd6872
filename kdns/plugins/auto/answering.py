# -*- test-case-name: tests.plugins.auto -*-
"""The link of *auto*: the zones of a folder, as far as the directive names them."""

from __future__ import annotations

from kdns.core.request import Request
from kdns.plugin.capabilities import ZoneWatcher
from kdns.plugins.auto.config import AutoConfig
from kdns.plugins.auto.folder import ZoneFolder
from kdns.plugins.file.answering import ZonesLink
from kdns.plugins.file.served import ServedZone
from kdns.wire.names import longest_zone


class AutoLink(ZonesLink):
    """Answer names that are in a zone of the folder and in a zone of the directive."""

    def __init__(self, config: AutoConfig, folder: ZoneFolder) -> None:
        super().__init__("auto", folder.zones, members=folder.members)
        self._folder = folder
        self._limits = frozenset(config.zones)

    def refuses(self, request: Request) -> bool:
        """Within the zones of the directive only, as CoreDNS does."""
        return longest_zone(request.qname, self._limits) is not None

    def _zone_for(self, request: Request) -> ServedZone | None:
        if longest_zone(request.qname, self._limits) is None:
            return None
        return super()._zone_for(request)

    def watch_zones(self, watcher: ZoneWatcher) -> None:
        """Zones that come later are watched, too."""
        self._folder.watchers.append(watcher)

    def unwatch_zones(self, watcher: ZoneWatcher) -> None:
        """See :class:`kdns.plugin.capabilities.OffersTransfers`."""
        if watcher in self._folder.watchers:
            self._folder.watchers.remove(watcher)
