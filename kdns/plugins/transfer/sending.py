# -*- test-case-name: tests.plugins.transfer.test_sending -*-
"""The link that answers AXFR and IXFR, with what the plugins behind it offer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from twisted.logger import Logger

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, Reply
from kdns.core.explaining import Note
from kdns.core.failure import RcodeOnly, Refused
from kdns.core.metrics import Registry
from kdns.core.reply import copied_flags, reply_opt
from kdns.core.request import Request, Transport
from kdns.core.validity import NOTHING
from kdns.corefile.values import quote
from kdns.plugin.capabilities import OffersTransfers, TransferZone
from kdns.plugins.transfer.config import Stanza, TransferConfig
from kdns.wire.constants import AXFR, IXFR, REFUSED, SERVFAIL
from kdns.wire.names import longest_zone, to_text
from kdns.wire.query import soa_of_query
from kdns.wire.records import WireRecord
from kdns.zones.outgoing import Reply as TransferReply
from kdns.zones.outgoing import messages
from kdns.zones.zone import serial_of

log = Logger(namespace="plugin/transfer")

STREAMS = (Transport.TCP, Transport.TLS)
"""Transports that carry a reply of several messages."""


class TransferLink(Link):
    """Answer questions of secondaries, and pass all others on."""

    name = "transfer"
    varies = NOTHING

    def __init__(self, config: TransferConfig, registry: Registry) -> None:
        self._stanzas = config.stanzas
        self._zones = frozenset(zone for stanza in config.stanzas for zone in stanza.zones)
        self.sources: list[OffersTransfers] = []
        """The plugins behind this one that have zones to offer, the nearest first."""

        self._sent = registry.counter(
            "kdns_transfers_sent_total",
            "Zone transfers asked for by secondaries, by what they were answered.",
            ["result"],
        )

    def placed(self, behind: Sequence[Link]) -> None:
        """See :class:`kdns.core.chain.Link`."""
        self.sources = [link for link in behind if isinstance(link, OffersTransfers)]

    def alike_below(self, zone: bytes) -> bool:
        """Only the type of a question matters."""
        return True

    def stanza_for(self, name: bytes) -> Stanza | None:
        """The stanza with the longest zone that a name is in; of several with the same zone the first."""
        zone = longest_zone(name, self._zones)
        if zone is None:
            return None
        return next(stanza for stanza in self._stanzas if zone in stanza.zones)

    def zone_for(self, name: bytes) -> TransferZone | None:
        """The zone of that name, from the first plugin that has it."""
        for source in self.sources:
            zone = source.transfer_zone(name)
            if zone is not None:
                return zone
        return None

    def answer(self, request: Request, next: Next) -> Reply:
        """
        Answer AXFR (RFC 5936) and IXFR (RFC 1995).

        :raises Refused: the transport carries one message only.
        :raises RcodeOnly: the zone has no data, or an IXFR does not say which version the client has.
        """
        if request.qtype not in (AXFR, IXFR):
            return next(request)
        if request.transport not in STREAMS:
            self._sent.counter("refused").value += 1
            raise Refused("a transfer takes TCP")
        stanza = self.stanza_for(request.qname)
        if stanza is None:
            return next(request)
        if not stanza.allows(request.client):
            self._sent.counter("refused").value += 1
            return Answer(REFUSED, source=self.name)
        serial = None
        if request.qtype == IXFR:
            soa = soa_of_query(request.message)
            if soa is None:
                raise RcodeOnly("an IXFR without the SOA of the client's version", SERVFAIL)
            serial = serial_of(soa) or None  # 0 stands for no version
        zone = self.zone_for(request.qname)
        if zone is None:
            return next(request)
        found = zone.transfer(serial)
        if found is None:
            self._sent.counter("failed").value += 1
            raise RcodeOnly(f"zone {to_text(request.qname)} has no data to transfer", SERVFAIL)
        kind, records = found
        self._sent.counter(kind).value += 1
        reply = TransferReply(
            request.ident, copied_flags(request.flags), request.question, reply_opt(request, Answer())
        )
        counted = self._counted(records, request, kind)
        return Answer(messages=messages(reply, request.qname, counted), source=self.name)

    def _counted(self, records: Iterable[WireRecord], request: Request, kind: str) -> Iterator[WireRecord]:
        """The records, and a line in the log when the last one was taken."""
        count = serial = 0
        for record in records:
            if not count:
                serial = serial_of(record[1])
            count += 1
            yield record
        zone = quote(to_text(request.qname))
        if kind == "noop":
            log.info(
                "Outgoing noop, incremental transfer for up to date zone {zone} to {client} for {serial} SOA serial",
                zone=zone,
                client=request.client,
                serial=serial,
            )
        else:
            log.info(
                "Outgoing transfer of {count} records of zone {zone} to {client} for {serial} SOA serial",
                count=count,
                zone=zone,
                client=request.client,
                serial=serial,
            )

    def explain(self, request: Request) -> list[Note]:
        """Whether the client may transfer the zone."""
        stanza = self.stanza_for(request.qname)
        if request.qtype not in (AXFR, IXFR) or stanza is None:
            return []
        if request.transport not in STREAMS:
            return [Note("a transfer is refused over anything but TCP")]
        if not stanza.allows(request.client):
            return [Note(f"{request.client} is not among those that may transfer the zone")]
        return [
            Note(
                "the client may transfer the zone"
                if self.zone_for(request.qname)
                else "no plugin offers a zone of this name"
            )
        ]
