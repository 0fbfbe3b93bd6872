# -*- test-case-name: tests.plugins.file.test_answering -*-
"""The link of the chain that answers from zones: *file*, *auto* and *secondary* differ in where their zones come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.answer import NO_REPLY, Answer, Sections
from kdns.core.chain import Link, Next, Reply, then
from kdns.core.explaining import Note
from kdns.core.failure import NoNextPlugin, RcodeOnly, Refused, ResolutionFailed
from kdns.core.fast_path import NO_EFFECT, Effect, Limit, SourceMaker
from kdns.core.record_source import FoundRecords, RecordSource
from kdns.core.request import Request
from kdns.core.stamps import Stamp, StampRef
from kdns.core.validity import ALWAYS, NOTHING, Validity
from kdns.plugin.capabilities import OffersTransfers, ZoneWatcher
from kdns.plugins.file.served import ServedZone
from kdns.wire.constants import AA, AXFR, DS, EDE_NOT_READY, IXFR, NOTIFY, NS, OPCODE_MASK, SERVFAIL, TC, rcode_text
from kdns.wire.names import longest_zone, parent, to_text
from kdns.zones.keys import key_of
from kdns.zones.lookup import Found, look_up
from kdns.zones.nodes import has_type
from kdns.zones.zone import Zone


class ZonesLink(Link, OffersTransfers):
    """Answer names of some zones, and pass the others on."""

    varies = NOTHING

    def __init__(
        self,
        name: str,
        zones: Mapping[bytes, ServedZone],
        fallthrough: Sequence[bytes] = (),
        members: Stamp | None = None,
    ) -> None:
        """
        :param name: of the directive.
        :param zones: by origin; it may change if *members* moves with it.
        """
        self.name = name
        self.zones = zones
        self._fallthrough = frozenset(fallthrough)
        self._members = members
        self._log = Logger(namespace=f"plugin/{name}")

    def alike_below(self, zone: bytes) -> bool:
        """Names of other zones pass through, whether they exist or not."""
        return not any(zone.endswith(origin) or origin.endswith(zone) for origin in self.zones)

    def answer(self, request: Request, next: Next) -> Reply:
        """
        Answer from the longest zone that the name is in.

        :raises RcodeOnly: there is no zone and no next plugin, or the zone has no data yet.
        :raises ResolutionFailed: the zone has expired.
        """
        refs: tuple[StampRef, ...] = () if self._members is None else (self._members.ref(),)
        served = self._zone_for(request)
        if served is None:
            return (
                self._pass_outside(request, next, refs) if self.refuses(request) else self._pass_on(request, next, refs)
            )
        if request.flags & OPCODE_MASK == NOTIFY << 11:
            return self.notified(request, served)
        if request.qtype in (AXFR, IXFR):
            raise Refused("transfers are the business of the plugin transfer")
        refs += (served.stamp.ref(),)
        zone = served.zone
        if zone is None or served.expired:
            return self._without_data(served)
        found = look_up(zone, request.qname, request.qtype, request.do)
        if found.falls_through and self._falls_through(request.qname):
            return self._pass_on(request, next, refs)
        if found.wildcard is not None and request.metadata is not None:
            request.metadata["zone/wildcard"] = to_text(found.wildcard)
        if found.outside is None:
            return self._made(found, ALWAYS.narrowed(stamps=refs))
        reply = request.server.resolve(request.about(found.outside))
        if isinstance(reply, Deferred):
            return reply.addCallback(self._joined, found, zone, request, refs)
        return self._joined(reply, found, zone, request, refs)

    def refuses(self, request: Request) -> bool:
        """Whether a name without a zone is REFUSED where there is no next plugin, instead of SERVFAIL."""
        return True

    def notified(self, request: Request, served: ServedZone) -> Reply:
        """Take a NOTIFY; a zone without primaries has no use for one."""
        self._log.info("Dropping notify from {client} for {zone}", client=request.client, zone=served.name)
        return NO_REPLY

    def transfer_zone(self, name: bytes) -> ServedZone | None:
        """See :class:`kdns.plugin.capabilities.OffersTransfers`."""
        return self.zones.get(name)

    def watch_zones(self, watcher: ZoneWatcher) -> None:
        """See :class:`kdns.plugin.capabilities.OffersTransfers`."""
        for served in self.zones.values():
            served.changed.append(watcher)

    def unwatch_zones(self, watcher: ZoneWatcher) -> None:
        """See :class:`kdns.plugin.capabilities.OffersTransfers`."""
        for served in self.zones.values():
            if watcher in served.changed:
                served.changed.remove(watcher)

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Nothing for names outside the zones. Where zones come and go, the link is asked."""
        return NO_EFFECT if self._members is None else None

    def fast_sources(self) -> dict[bytes, SourceMaker | None]:
        """Each zone."""
        return (
            {} if self._members is not None else {origin: partial(self._fast_source, origin) for origin in self.zones}
        )

    def _fast_source(self, origin: bytes, success_ttl: Limit, denial_ttl: Limit, keeps: bool) -> RecordSource:
        return RecordSource(partial(self._fast, self.zones[origin]), success_ttl, denial_ttl, keeps)

    def _fast(self, served: ServedZone, qname: bytes, qtype: int) -> FoundRecords | None:
        zone = served.zone
        if zone is None or served.expired or zone.signed:
            return None
        found = look_up(zone, qname, qtype, False)
        if found.outside is not None or not found.authoritative:
            return None
        if found.falls_through and self._falls_through(qname):
            return None
        return FoundRecords(found.rcode, found.answer, found.authority, found.additional, (served.stamp.ref(),))

    def explain(self, request: Request) -> list[Note]:
        """Which zone the name is in, and which of its data decide."""
        served = self._zone_for(request)
        if served is None:
            return [Note(f"not for this name: its zones are {', '.join(map(to_text, sorted(self.zones))) or 'none'}")]
        if served.zone is None or served.expired:
            return [Note(f"zone {served.name}: {served.why}; so SERVFAIL", True)]
        found = look_up(served.zone, request.qname, request.qtype, request.do)
        text = (
            f"zone {served.name} with serial {served.zone.serial} and {served.zone.records} records: {_reason(found)}"
        )
        if found.falls_through and self._falls_through(request.qname):
            return [Note(f"{text}; the next plugin is asked (fallthrough)")]
        return [Note(text, missing=not found.answer and found.authoritative)]

    def freshness(self) -> list[str]:
        """What each zone is at."""
        return [
            f"zone {served.name}: serial {served.zone.serial}"
            if served.zone is not None and not served.expired
            else f"zone {served.name}: {served.why}"
            for served in self.zones.values()
        ]

    def _zone_for(self, request: Request) -> ServedZone | None:
        """
        The longest zone of a name.

        A question for DS of a zone's own name goes to the parent, where that is here and delegates the zone (RFC 4035 section 3.1.4.1).
        """
        zones = self.zones
        origin = longest_zone(request.qname, zones)
        if origin is None:
            return None
        if request.qtype == DS and origin == request.qname and len(zones) > 1:
            above = longest_zone(parent(origin), zones)
            if above is not None and (zone := zones[above].zone) is not None:
                node = zone.index.get(key_of(origin, above))
                if node is not None and has_type(node, NS):
                    return zones[above]
        return zones[origin]

    def _falls_through(self, qname: bytes) -> bool:
        return bool(self._fallthrough) and longest_zone(qname, self._fallthrough) is not None

    def _pass_outside(self, request: Request, next: Next, refs: tuple[StampRef, ...]) -> Reply:
        """Pass on what is in no zone; where no plugin behind answers, the name is not served here: REFUSED."""
        try:
            reply = self._pass_on(request, next, refs)
        except NoNextPlugin as error:
            raise Refused(str(error)) from None
        return reply.addErrback(_refuse) if isinstance(reply, Deferred) else reply

    def _pass_on(self, request: Request, next: Next, refs: tuple[StampRef, ...]) -> Reply:
        reply = next(request)
        if not refs:
            return reply
        return then(reply, lambda answer: answer.with_validity(answer.validity.narrowed(stamps=refs)))

    def _without_data(self, served: ServedZone) -> Reply:
        if served.expired:
            raise ResolutionFailed(f"Zone {served.name} is expired", SERVFAIL, (EDE_NOT_READY, "zone expired"))
        failure = RcodeOnly(f"zone {served.name}: {served.why}", SERVFAIL)
        failure.ede = (EDE_NOT_READY, "zone not loaded")
        raise failure

    def _joined(self, inner: Answer, found: Found, zone: Zone, request: Request, refs: tuple[StampRef, ...]) -> Answer:
        """Put together what the zone says and what the look-up of the outside name brought."""
        rcode = None if inner.silent else inner.rcode
        answer, authority, _ = inner.sections()
        found.joined(zone, request.do, rcode, answer, authority)
        return self._made(found, inner.validity.narrowed(stamps=refs), inner.flags & TC)

    def _made(self, found: Found, validity: Validity, flags: int = 0) -> Answer:
        if found.authoritative:
            flags |= AA
        body = Sections(tuple(found.answer), tuple(found.authority), tuple(found.additional))
        return Answer(found.rcode, flags, body=body, validity=validity, source=self.name)


def _refuse(failure: Failure) -> Failure:
    return Failure(Refused(str(failure.value))) if failure.check(NoNextPlugin) else failure


def _reason(found: Found) -> str:
    """Why the answer is as it is, in a few words."""
    if found.outside is not None:
        return f"an alias leads to {to_text(found.outside)}, which is looked up through the server"
    if not found.authoritative and found.authority:
        return f"the name is at or below the delegation {to_text(found.authority[0].owner)}"
    if found.wildcard is not None:
        return f"the wildcard {to_text(found.wildcard)} stands for the name"
    if found.answer:
        return f"{len(found.answer)} records answer"
    if found.falls_through and found.rcode == 0:
        return "only names below the name have records (an empty non-terminal)"
    return "the name has no record of the type" if found.rcode == 0 else rcode_text(found.rcode)
