# -*- test-case-name: tests.plugins.cache.test_resolver -*-
"""
The cache as a link of the chain: answers from its entries, or asks on and keeps what it is told.

What is kept is decided in :mod:`~kdns.plugins.cache.policy`, which entry goes in :mod:`~kdns.plugins.cache.entries`. Here an entry turns
into an answer, and what has run out or is about to is asked for again:

* a miss asks on, and the client waits;
* *immediate*: an entry that expired is served at once, and refreshed in the background;
* *verify*: an entry that expired is served when asking brings nothing in time;
* *prefetch*: an entry that is asked for often is refreshed in the background before it expires.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf

from msgspec.structs import replace
from twisted.internet.base import DelayedCall
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply, attempt, then
from kdns.core.explaining import Note
from kdns.core.failure import ResolutionFailed
from kdns.core.fast_path import Effect, Kept
from kdns.core.request import Request, Transport
from kdns.core.tally import Charge
from kdns.core.validity import NOTHING, ONCE, Audience, Validity, audience_of
from kdns.plugin.capabilities import KeepsAnswers
from kdns.plugin.seam import BlockBuilder
from kdns.plugins.cache.config import CacheConfig
from kdns.plugins.cache.entries import Entry, Key, key_of, stripped
from kdns.plugins.cache.explaining import of_answer, of_question
from kdns.plugins.cache.metrics import Cells, cells
from kdns.plugins.cache.policy import Place, clamped, judge, passed_by, positive
from kdns.plugins.cache.store import CacheStore
from kdns.wire.constants import (
    AA,
    AD,
    CD,
    EDE_STALE_ANSWER,
    EDE_STALE_NXDOMAIN,
    IN,
    NOERROR,
    NXDOMAIN,
    RA,
    RCODE_MASK,
    SOA,
)
from kdns.wire.message import ANSWER, AUTHORITY, MOST_TAKEN_APART, Relayed
from kdns.wire.names import ROOT, MalformedName, is_subdomain, longest_zone

log = Logger(namespace="plugin/cache")

WILDCARD = "zone/wildcard"
"""Metadata that plugins with zone data leave behind, and that comes back with a cached answer."""


class CacheLink(Link, KeepsAnswers):
    """One ``cache`` of a server block."""

    name = "cache"
    varies = NOTHING

    def __init__(self, config: CacheConfig, builder: BlockBuilder, store: CacheStore) -> None:
        self.config = config
        self._builder = builder
        self.store = store
        self.clock = builder.context.clock
        self._zones = frozenset(zone.name for zone in config.zones)
        self.zones_text = ",".join(zone.text for zone in config.zones)
        self._cells: dict[str, Cells] = {}
        self._audience: Audience | None = None
        self._by_transport = False

    def placed(self, behind: Sequence[Link]) -> None:
        """Keep entries apart by what the links behind vary by."""
        varies = [link.varies for link in behind]
        self._audience = audience_of(varies)
        self._by_transport = any(one.transport for one in varies)

    def _key(self, request: Request) -> Key:
        key = key_of(request)
        if self._by_transport:
            key = (*key, request.server.label, request.transport)
        if self._audience is not None:
            key = (*key, self._audience.of(request.client))
        return key

    def answer(self, request: Request, next: Next) -> Reply:
        """See :class:`kdns.core.chain.Link`."""
        if ROOT not in self._zones and longest_zone(request.qname, self._zones) is None:
            return next(request)
        counts = self._cells.get(request.server.label) or self._cells_for(request.server.label)
        counts.requests.value += 1
        now = self.clock()
        entry = None if passed_by(request) else self.store.find(self._key(request), now)
        if entry is None:
            counts.misses.value += 1
            return then(next(passed_on(request)), self._learned, request, counts)
        counts.hits[entry.denial].value += 1
        if entry.wildcard is not None and request.metadata is not None:
            request.metadata[WILDCARD] = entry.wildcard
        left = entry.left(now)
        if left > 0:
            return self._fresh(entry, request, next, counts, now, left)
        stale = self.config.stale
        if stale is not None and stale.verify and now >= entry.retry_at:
            return self._verified(entry, request, next, counts, stale.timeout)
        if now >= entry.retry_at:
            self._refresh(entry, request, next, counts)
        return self._stale(entry, request, counts)

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """
        Count a miss, limit the TTL, and let the answer table hold the reply for that long; repetitions count as hits.

        Nothing is entered here: what made the reply once makes it again. A cache that does more is asked.
        """
        config = self.config
        if ROOT not in self._zones or config.prefetch is not None or config.stale is not None:
            return None
        counts = self._cells.get(server) or self._cells_for(server)
        limits = partial(clamped, limits=config.success), partial(clamped, limits=config.denial)
        if zone != ROOT:
            if all(disabled and longest_zone(zone, disabled) for disabled in (config.no_success, config.no_denial)):
                return Effect(counts.on_miss, counts.on_miss, counts.on_miss, *limits, ask_flags=AD)
            if any(
                is_subdomain(name, zone) or is_subdomain(zone, name) for name in config.no_success | config.no_denial
            ):
                return None
        if not (config.success.least_ttl and config.denial.least_ttl):
            return None
        return Effect(
            counts.on_miss,
            counts.on_hit[False],
            counts.on_hit[True],
            *limits,
            keeps=True,
            counts_down=not config.keep_ttl,
            ask_flags=AD,  # whoever answers shall say whether the data is authentic (RFC 6840 section 5.7)
            keep=_Keep(self, counts),
        )

    def _cells_for(self, server: str) -> Cells:
        made = self._cells[server] = cells(
            self._builder.context.registry,
            server,
            self.zones_text,
            self._builder.view,
            self.store.success,
            self.store.denial,
        )
        return made

    # What an operator is told; see kdns.core.explaining.

    def explain(self, request: Request) -> list[Note]:
        """Whether the question is answered from an entry."""
        now = self.clock()
        entry = None if passed_by(request) else self.store.find(self._key(request), now)
        return of_question(self.config, request, entry, now)

    def explain_passed(self, request: Request, came: Answer) -> list[Note]:
        """Whether the answer from behind is kept."""
        return of_answer(self.config, request, came, self._builder.context.wall())

    # From an entry to an answer

    def _fresh(self, entry: Entry, request: Request, next: Next, counts: Cells, now: float, left: int) -> Answer:
        """The reply of an entry that has time left."""
        repeat = True
        until = entry.stored + entry.ttl
        counts_from = inf if self.config.keep_ttl else until - left + 1
        prefetch = self.config.prefetch
        if prefetch is not None:
            entry.hit(now, prefetch.gap)
            window = entry.stored + entry.ttl - prefetch.threshold(entry.ttl)
            if entry.hits < prefetch.amount or now >= window:
                # Each hit must be seen here: it may be the one that makes the entry worth refreshing.
                repeat = False
            else:
                until = min(until, window)
                entry.last_hit = until  # the answer table sees those in between
            if entry.hits >= prefetch.amount and left <= prefetch.threshold(entry.ttl):
                self._refresh(entry, request, next, counts)
        ttl = entry.ttl if self.config.keep_ttl else left
        validity = Validity(repeat, until, entry.answer.validity.stamps, True, counts_from)
        return _reply(entry, request, ttl, validity, counts.on_hit[entry.denial])

    def _stale(self, entry: Entry, request: Request, counts: Cells) -> Answer:
        """The reply of an entry that expired (RFC 8767); EDE tells so (RFC 8914 sections 4.4 and 4.20)."""
        stale = self.config.stale
        assert stale is not None
        counts.served_stale.value += 1
        code = EDE_STALE_NXDOMAIN if entry.answer.rcode == NXDOMAIN else EDE_STALE_ANSWER
        validity = ONCE
        if entry.retry_at > self.clock() and not entry.refreshing:
            # Nothing will be tried before then, so there is nothing that each query had to set off.
            until = min(entry.retry_at, entry.stored + entry.ttl + stale.most_age)
            validity = Validity(True, until, entry.answer.validity.stamps, False)
        return _reply(entry, request, stale.ttl, validity, counts.on_stale[entry.denial], ((code, ""),))

    # Asking on

    def _learned(self, answer: Answer, request: Request, counts: Cells) -> Answer:
        """
        Keep an answer that came from the plugins behind, and turn it into the reply to the client that asked for it.

        The answer shows the TTL that it would be kept for, kept or not. One that is not kept may be repeated as the plugin behind said. For
        one that is kept the entry answers from now on: so the reply may be repeated as what the entry would say, with AA set.
        """
        if answer.silent:
            return answer
        entry, ttl = self._keep(request, counts, answer)
        flags = answer.flags
        if flags & AD and not (request.do or request.flags & AD):
            flags &= ~AD
        charges, validity = answer.charges, answer.validity
        repeat_flags = answer.repeat_flags
        if entry is None:
            charges += counts.on_miss
        elif self.config.prefetch is not None or answer.options or answer.ede or answer.rd is not None:
            # Hits must be seen here, or what the reply says beyond its records is not in the entry.
            validity = validity.not_repeated()
        else:
            charges += counts.on_hit[entry.denial]
            counts_from = inf if self.config.keep_ttl else entry.stored + 1
            until = min(validity.until, entry.stored + entry.ttl)
            validity = Validity(True, until, validity.stamps, True, counts_from)
            repeat_flags = AA | flags & (RA | AD)
        return replace(
            answer,
            flags=flags,
            body=answer.body.with_ttl(ttl),
            validity=validity,
            charges=charges,
            repeat_flags=repeat_flags,
        )

    def _keep(self, request: Request, counts: Cells, answer: Answer) -> tuple[Entry | None, int]:
        """Store an answer if it is to be stored; the entry or None, and the TTL to show."""
        place, ttl = judge(answer, request, self.config, self._builder.context.wall())
        if place is Place.NOWHERE or passed_by(request):
            return None, ttl
        body = answer.body
        if isinstance(body, Relayed) and body.question is not None:
            name, qtype, qclass = body.question
            same = name == request.spelled or name.lower() == request.qname
            if not same or qtype != request.qtype or qclass != request.qclass:
                counts.drops.value += 1
                return None, ttl
        wildcard = request.metadata.get(WILDCARD) if request.metadata is not None else None
        entry = Entry(
            stripped(answer),
            self.clock(),
            ttl,
            place is Place.DENIAL,
            wildcard() if callable(wildcard) else wildcard,
        )
        stored = self.store.put(self._key(request), entry)
        if stored.evicted:
            counts.evictions[entry.denial].value += stored.evicted
        return stored.entry, ttl

    def _refreshed(self, old: Entry, request: Request, counts: Cells, answer: Answer) -> Answer | None:
        """What became of a refresh: the reply to who waits for it, or None when the entry is still the best there is."""
        old.refreshing = False
        stale = self.config.stale
        now = self.clock()
        useful = answer.rcode in (NOERROR, NXDOMAIN) and not answer.silent
        if useful and stale is not None and stale.prefer_positive and not old.denial:
            useful = positive(answer, request.qtype)
        if not useful:
            if stale is not None:
                old.retry_at = now + stale.recheck
            return None
        reply = self._learned(answer, request, counts)
        fresh = self.store.find(self._key(request), now)
        if fresh is not None:
            fresh.hits, fresh.last_hit = old.hits, old.last_hit
        return reply

    def _failed(self, old: Entry, failure: Failure) -> None:
        """A refresh ended in a failure."""
        old.refreshing = False
        if self.config.stale is not None:
            old.retry_at = self.clock() + self.config.stale.recheck
        if failure.check(ResolutionFailed, CancelledError) is None:
            log.failure("refreshing an entry failed", failure)

    def _refresh(self, entry: Entry, request: Request, next: Next, counts: Cells) -> None:
        """Ask in the background, as if over TCP so that the answer is a whole one; one at a time for each entry."""
        if entry.refreshing:
            return
        entry.refreshing = True
        counts.prefetches.value += 1
        metadata = None if request.metadata is None else dict[str, str | Callable[[], str]]()
        asking = replace(passed_on(request), transport=Transport.TCP, metadata=metadata)
        outcome = attempt(next, asking)
        if isinstance(outcome, Answer):
            self._refreshed(entry, asking, counts, outcome)
        elif isinstance(outcome, Failure):
            self._failed(entry, outcome)
        else:
            self.store.watch(outcome)
            outcome.addCallback(partial(self._refreshed, entry, asking, counts))
            outcome.addErrback(partial(self._failed, entry))

    def _verified(self, entry: Entry, request: Request, next: Next, counts: Cells, timeout: float) -> Reply:
        """
        Ask, and fall back on an expired entry when that fails or takes longer than *timeout* seconds (0: as long as it takes).

        What comes too late for the client is kept all the same. Cancelling stops asking.
        """
        outcome = attempt(next, passed_on(request))
        if isinstance(outcome, Answer):
            return self._refreshed(entry, request, counts, outcome) or self._stale(entry, request, counts)
        if isinstance(outcome, Failure):
            self._failed(entry, outcome)
            return self._stale(entry, request, counts)
        asking = outcome
        waiting: Deferred[Answer] = Deferred(lambda _: asking.cancel())
        timer: DelayedCall | None = None

        def settle(reply: Answer | None) -> None:
            if timer is not None and timer.active():
                timer.cancel()
            if not waiting.called:
                waiting.callback(reply or self._stale(entry, request, counts))

        if timeout > 0:
            timer = self._builder.context.reactor.callLater(timeout, settle, None)
        self.store.watch(asking)
        asking.addCallback(partial(self._refreshed, entry, request, counts))
        asking.addErrback(partial(self._failed, entry))
        asking.addCallback(settle)
        return waiting


class _Keep:
    """The cache as the fast path sees it: replies of upstreams to queries of class IN without DO."""

    def __init__(self, link: CacheLink, counts: Cells) -> None:
        self._store = link.store
        self._config = link.config
        self._counts = counts
        self._clock = link.clock
        self._disabled = tuple(link.config.no_success | link.config.no_denial)

    def has(self, qname: bytes, qtype: int, flags: int) -> bool:
        """See :class:`kdns.core.fast_path.Keep`."""
        if self._disabled and qname.endswith(
            self._disabled
        ):  # true of some names outside, too; the cache looks closely
            return True
        key = (qname, qtype, IN, False, flags & CD)
        return key in self._store.success.entries or key in self._store.denial.entries

    def __call__(self, qname: bytes, qtype: int, flags: int, reply: Relayed) -> Kept | None:
        """See :class:`kdns.core.fast_path.Keep`."""
        config, rcode = self._config, reply.flags & RCODE_MASK
        answers = reply.counts[0]
        denial = False
        if rcode == NOERROR and answers:
            for slot in reply.slots:
                if slot.rtype == qtype and slot.section == ANSWER:
                    break
            else:
                return None
            ttl = clamped(reply.least_ttl, config.success)
        elif not answers and rcode in (NOERROR, NXDOMAIN) and SOA in reply.types(AUTHORITY):
            denial = True
            ttl = clamped(reply.least_ttl, config.denial)
        else:
            return None
        opt = reply.opt
        if opt is not None:
            if opt.end != len(reply.message):
                return None
            reply = replace(reply, message=reply.message[: opt.start], opt=None)
        answer = Answer(rcode, reply.flags & (AA | RA | AD), reply, validity=_STAMPLESS, source="forward")
        entry = Entry(answer, self._clock(), ttl, denial)
        stored = self._store.put((qname, qtype, IN, False, flags & CD), entry)
        if stored.evicted:
            self._counts.evictions[denial].value += stored.evicted
        return Kept(ttl, denial)


_STAMPLESS = Validity()


def passed_on(request: Request) -> Request:
    """The request with AD set: whoever answers shall say whether the data is authentic (RFC 6840 section 5.7)."""
    return request if request.flags & AD else replace(request, flags=request.flags | AD)


def _reply(
    entry: Entry,
    request: Request,
    ttl: int,
    validity: Validity,
    charges: tuple[Charge, ...],
    ede: tuple[tuple[int, str], ...] = (),
) -> Answer:
    """The answer of an entry: owner names as stored, AA always set, AD for those who understand it."""
    kept = entry.answer
    flags = AA | kept.flags & (RA | AD if request.do or request.flags & AD else RA)
    body = kept.body.with_ttl(ttl)
    if (
        isinstance(body, Relayed)
        and body.question is not None
        and body.question[0] != request.spelled
        and len(body.slots) <= MOST_TAKEN_APART
    ):
        # Patching in another spelling of the question would change the owner names that point at it.
        try:
            body = Sections(*body.sections())
        except MalformedName:
            pass  # what cannot be taken apart is better spelled otherwise than not said
    return Answer(kept.rcode, flags, body, ede=ede, validity=validity, source="cache", charges=charges)
