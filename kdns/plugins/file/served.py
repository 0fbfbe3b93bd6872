# -*- test-case-name: tests.plugins.file.test_answering -*-
"""A zone as it is served: its version of now, what changed lately, and who wants to know of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from kdns.core.metrics import Registry
from kdns.core.stamps import Stamp
from kdns.wire.names import to_text
from kdns.wire.records import WireRecord
from kdns.zones.history import Delta, History
from kdns.zones.outgoing import answer_ixfr, full
from kdns.zones.zone import Zone

Changed: TypeAlias = Callable[["ServedZone"], None]


class ServedZone:
    """One zone of a plugin. A new version takes the place of the old one in one moment, and every answer from the old one is dead then."""

    def __init__(self, origin: bytes, plugin: str, registry: Registry) -> None:
        self.origin = origin
        self.zone: Zone | None = None
        """None until the first version was loaded."""

        self.expired = False
        """Whether the data are too old to be served (*secondary*)."""

        self.why = "the zone has not been loaded yet"
        """Why there are no data, for the operator."""

        self.history = History()
        self.stamp = Stamp()
        """Moves with each version, and when the zone expires or is valid again."""

        self.changed: list[Changed] = []
        """Told of each new version."""

        labels = self._labels = (plugin, to_text(origin))
        serials = registry.gauge(
            "kdns_zone_serial", "Serial of the zone that is served.", ["plugin", "zone"], greatest=True
        )
        records = registry.gauge(
            "kdns_zone_records", "Records of the zone that is served.", ["plugin", "zone"], greatest=True
        )
        loads = registry.counter(
            "kdns_zone_loads_total", "Attempts to read or transfer a zone, by result.", ["plugin", "zone", "result"]
        )
        self._serial, self._records = serials.gauge(*labels), records.gauge(*labels)
        self.loaded, self.failed = loads.counter(*labels, "loaded"), loads.counter(*labels, "failed")
        self._families = (serials, records, loads)

    @property
    def name(self) -> str:
        """The zone as it is shown."""
        return to_text(self.origin)

    def put(self, zone: Zone, deltas: Iterable[Delta | None]) -> Zone | None:
        """
        Serve a new version.

        :param deltas: what changed, oldest first; None where that is not known.
        :return: the version before, to be freed.
        """
        old, self.zone = self.zone, zone
        for delta in deltas:
            self.history.add(delta)
        self.expired = False
        self.why = ""
        self.stamp.bump()
        self._serial.set(zone.serial)
        self._records.set(zone.records)
        self.loaded.value += 1
        for changed in tuple(self.changed):
            changed(self)
        return old

    def expire(self) -> None:
        """Serve the data no more."""
        self.expired = True
        self.why = "the zone has expired: no primary has confirmed it for as long as its SOA allows"
        self.stamp.bump()

    def forget(self) -> None:
        """The zone is gone: its metrics go, too."""
        serials, records, loads = self._families
        serials.forget(*self._labels)
        records.forget(*self._labels)
        for result in ("loaded", "failed"):
            loads.forget(*self._labels, result)

    def confirm(self) -> None:
        """A primary said that the data are the newest: an expired zone is served again."""
        if self.expired:
            self.expired = False
            self.why = ""
            self.stamp.bump()

    def transfer(self, serial: int | None) -> tuple[str, Iterator[WireRecord]] | None:
        """
        The records to send to a secondary.

        :param serial: of the version that it has; None for all records.
        :return: the kind of transfer and its records; None when there are no data that may be handed out.
        """
        if self.zone is None or self.expired:
            return None
        if serial is None:
            return "full", full(self.zone)
        return answer_ixfr(self.zone, self.history, serial)
