# -*- test-case-name: tests.plugins.secondary.test_zone -*-
"""Catalogs of *secondary* (RFC 9432): zones that list others, which are transferred from the same primaries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from twisted.logger import Logger

from kdns.core.stamps import Stamp
from kdns.plugin.capabilities import TransferZone, ZoneWatcher
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.file.served import ServedZone
from kdns.plugins.secondary.config import SecondaryZoneConfig
from kdns.plugins.secondary.zone import SecondaryZone
from kdns.wire.names import longest_zone, to_text
from kdns.zones.catalog import Member, members
from kdns.zones.zone import BadZone

log = Logger(namespace="plugin/secondary")

MOST_MEMBERS = 10_000
"""Member zones of all catalogs of a block together."""


@dataclass(slots=True)
class _Owned:
    """A member zone, and the catalog that it belongs to."""

    catalog: bytes
    member: Member
    zone: SecondaryZone


class Catalogs(Resource):
    """The catalogs of the ``secondary`` lines of a block, and their members."""

    def __init__(self, zones: Iterable[SecondaryZoneConfig], taken: frozenset[bytes], context: ServerContext) -> None:
        """
        :param zones: the catalogs.
        :param taken: zones of the Corefile, which no catalog can have as members.
        """
        self.zones: dict[bytes, ServedZone] = {}
        """Catalogs and members, by origin."""

        self.members = Stamp()
        """Moves when a member zone comes or goes."""

        self.watchers: list[ZoneWatcher] = []
        self._context = context
        self._catalogs = {zone.origin: SecondaryZone(zone, context) for zone in zones}
        self._taken = taken | self._catalogs.keys()
        self._owned: dict[bytes, _Owned] = {}
        for origin, zone in self._catalogs.items():
            self.zones[origin] = zone.served
            zone.served.changed.append(self._changed)

    def start(self) -> None:
        """Begin to transfer."""
        for zone in self._catalogs.values():
            zone.start()

    def stop(self) -> None:
        """End all transfers."""
        self.members.bump()
        for zone in [*self._catalogs.values(), *(owned.zone for owned in self._owned.values())]:
            zone.stop()
        self._owned.clear()

    def zone(self, origin: bytes) -> SecondaryZone | None:
        """What keeps the zone of that name up to date."""
        owned = self._owned.get(origin)
        return owned.zone if owned is not None else self._catalogs.get(origin)

    def _changed(self, changed: TransferZone) -> None:
        for watcher in tuple(self.watchers):
            watcher(changed)
        catalog = self._catalogs.get(changed.origin)
        if catalog is not None:
            try:
                self._follow(catalog)
            except BadZone as error:
                log.error("{error}; its members stay as they are", error=str(error))

    def _follow(self, catalog: SecondaryZone) -> None:
        """Bring the members of a catalog in line with its new version."""
        config = catalog.config
        assert catalog.served.zone is not None and config.catalog is not None
        listed = members(catalog.served.zone)
        name = to_text(config.origin)
        for origin in [o for o, owned in self._owned.items() if owned.catalog == config.origin and o not in listed]:
            self._remove(origin)
        for origin, member in listed.items():
            shown = to_text(origin)
            owned = self._owned.get(origin)
            if config.catalog and longest_zone(origin, frozenset(config.catalog)) is None:
                continue
            if origin in self._taken:
                log.warn(
                    "Skipping catalog member zone {member} from {catalog}: zone already exists",
                    member=shown,
                    catalog=name,
                )
                continue
            if owned is not None and owned.catalog != config.origin:
                if owned.member.owner != config.origin:
                    log.warn(
                        "Skipping catalog member zone {member} from {catalog}: zone already exists",
                        member=shown,
                        catalog=name,
                    )
                    continue
                if owned.member.ident == member.ident:
                    owned.catalog, owned.member = config.origin, member
                    continue
                self._remove(origin)
                owned = None
            if owned is not None and owned.member.ident != member.ident:
                self._remove(origin)  # RFC 9432 section 5.6: another label is another zone
                owned = None
            if owned is not None:
                owned.member = member
                continue
            if len(self._owned) >= MOST_MEMBERS:
                log.error("{catalog} has more members than the {most} that are taken", catalog=name, most=MOST_MEMBERS)
                return
            self._add(catalog, member)

    def _add(self, catalog: SecondaryZone, member: Member) -> None:
        config = SecondaryZoneConfig(member.name, catalog.config.primaries)
        zone = SecondaryZone(config, self._context)
        self._owned[member.name] = _Owned(catalog.config.origin, member, zone)
        self.zones[member.name] = zone.served
        self.members.bump()
        zone.served.changed.append(self._changed)
        log.info(
            "Added catalog member zone {member} from catalog {catalog}",
            member=to_text(member.name),
            catalog=catalog.served.name,
        )
        zone.start()

    def _remove(self, origin: bytes) -> None:
        owned = self._owned.pop(origin)
        del self.zones[origin]
        self.members.bump()
        owned.zone.stop()
        owned.zone.served.forget()
        log.info(
            "Removed catalog member zone {member} from catalog {catalog}",
            member=to_text(origin),
            catalog=to_text(owned.catalog),
        )
