# -*- test-case-name: tests.plugins.dnssec.test_link -*-
"""
``dnssec`` as a link of the chain: it answers DNSKEY at the apex of its zones, and signs the answers of the plugins behind it.

Only clients that set the DO bit get signatures. What a denial becomes is decided in :mod:`~kdns.plugins.dnssec.denial`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from kdns.core.answer import Records
from kdns.core.explaining import Note
from kdns.core.fast_path import NO_EFFECT, Effect
from kdns.core.slices import in_slices
from kdns.plugin import (
    ALWAYS,
    NOTHING,
    Answer,
    Kind,
    Link,
    Next,
    Record,
    Reply,
    Request,
    Sections,
    ServerContext,
    is_subdomain,
    longest_zone,
    then,
    to_text,
)
from kdns.plugins.dnssec.denial import deny, deny_ds
from kdns.plugins.dnssec.signer import Job, Made, Signer, job_of
from kdns.wire.constants import AA, AXFR, CNAME, DNSKEY, DS, IN, IXFR, NOERROR, NS, NSEC, NXDOMAIN, OPT, RRSIG, SOA
from kdns.wire.message import AUTHORITY
from kdns.wire.names import MalformedName
from kdns.zones.signing import SigningKey, canonical_rrset
from kdns.zones.zone import timers_of

MANY = 300
"""Records above which an answer is put into canonical form in slices: it would take a millisecond of the reactor's turn."""

STEP = 64
"""Records between two places where other work may be done."""

SIGNS = Effect(not_types=frozenset((DNSKEY,)), plain_only=True)


class Signed(NamedTuple):
    """An RRset of an answer, and what signs it."""

    section: int
    ttl: int
    owner: bytes
    """As the answer spells it."""

    job: Job


class DnssecLink(Link):
    """The link of one ``dnssec``."""

    name = "dnssec"
    varies = NOTHING  # answers end before their signatures do

    def __init__(
        self, zones: Iterable[bytes], keys: tuple[SigningKey, ...], context: ServerContext, signer: Signer
    ) -> None:
        self._zones = frozenset(zones)
        self._keys = keys
        separate = [key for key in keys if key.sep], [key for key in keys if not key.sep]
        # Where there are keys of both kinds the one signs the keys, and the other everything else; else each signs all.
        both = all(separate)
        self._key_signers, self._signers = (tuple(some if both else keys) for some in separate)
        self._context = context
        self._signer = signer
        registry = context.registry
        self._hits = registry.counter(
            "coredns_dnssec_cache_hits_total", "RRsets whose signatures were there.", ["server"]
        )
        self._misses = registry.counter("coredns_dnssec_cache_misses_total", "RRsets that were signed.", ["server"])
        self._entries = registry.gauge(
            "coredns_dnssec_cache_entries", "Signed RRsets that are kept.", ["server", "type"]
        )
        self._servers: set[str] = set()

    def answer(self, request: Request, next: Next) -> Reply:
        """See :class:`kdns.core.chain.Link`."""
        zone = longest_zone(request.qname, self._zones)
        if zone is None:
            return next(request)
        if request.qtype == DNSKEY and request.qname == zone:
            return self._own_keys(zone, request)
        if not request.do or request.qtype in (AXFR, IXFR):
            return next(request)
        return then(next(request), self._complete, request, next)

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Only queries with DO, and for the keys, are more than passed on."""
        if any(is_subdomain(zone, one) or is_subdomain(one, zone) for one in self._zones):
            return SIGNS
        return NO_EFFECT

    # What is signed

    def _own_keys(self, zone: bytes, request: Request) -> Reply:
        records = tuple([Record(zone, DNSKEY, IN, key.ttl, key.rdata) for key in self._keys])
        answer = Answer(flags=AA, body=Sections(records), validity=ALWAYS, source=self.name)
        if not request.do:
            return answer
        return self._sign(answer, (records, (), ()), request)

    def _complete(self, answer: Answer, request: Request, next: Next) -> Reply:
        """Add what proves an answer, and have it signed."""
        if answer.silent or answer.messages is not None:
            return answer
        try:
            sections = answer.sections()
        except MalformedName:
            return answer  # an upstream's record that cannot be read
        if _denies(answer, request.qtype):
            answers, authority, _ = sections
            if len(authority) > 1:
                # The plugin behind has a proof of its own, mostly signed.
                return answer if not answers else self._sign(answer, sections, request)
            if request.qtype == DS and not answers and request.qname not in self._zones:
                # Whether the name is a delegation is not in the answer, and decides what the denial must say.
                found = next(replace(request, qtype=NS))
                return then(found, self._denied_ds, answer, request)
            return self._denied(answer, request)
        if answer.kind(request.qtype) is Kind.DELEGATION:
            return self._referred(answer, sections, request)
        return self._sign(answer, sections, request)

    def _denied_ds(self, found: Answer, answer: Answer, request: Request) -> Reply:
        answer = answer.with_validity(answer.validity.joined(found.validity))
        return self._denied(answer, request, cut=found.kind(NS) is Kind.DELEGATION)

    def _denied(self, answer: Answer, request: Request, *, cut: bool = False) -> Reply:
        """A denial with its proof; *cut* says whether the name is a delegation."""
        answers, (soa,), additional = answer.sections()
        name = _last_name(request.spelled, answers)
        if longest_zone(name.lower(), self._zones) is None or longest_zone(soa.owner.lower(), self._zones) is None:
            return self._sign(answer, (answers, (soa,), additional), request)
        # RFC 9077 section 3: no longer than the denial itself may be kept.
        ttl = min(soa.ttl, timers_of(soa.rdata).minimum)
        nsec = deny(name, request.qtype, ttl, apex=name.lower() in self._zones, cut=cut)
        if nsec is None:
            return answer
        sections: tuple[Records, Records, Records] = (answers, (soa, nsec), additional)
        if request.qtype == NSEC and not answers:
            sections = ((nsec,), (), additional)  # it was asked for
        return self._sign(replace(answer, rcode=NOERROR), sections, request)

    def _referred(self, answer: Answer, sections: tuple[Records, Records, Records], request: Request) -> Reply:
        """A referral: only its DS records are of this zone, or the proof that there are none."""
        answers, authority, additional = sections
        if not any(record.rtype == DS for record in authority):
            servers = next(record for record in authority if record.rtype == NS)
            nsec = deny_ds(servers.owner, servers.ttl)
            if nsec is None:
                return answer
            sections = (answers, (*authority, nsec), additional)
        return self._sign(answer, sections, request, only=frozenset((DS, NSEC)))

    # Signing

    def _sign(
        self,
        answer: Answer,
        sections: tuple[Records, Records, Records],
        request: Request,
        only: frozenset[int] | None = None,
    ) -> Reply:
        """
        The answer with signatures of the records in this link's zones.

        :param only: the types to sign; None means all.
        """
        work = self._finding(sections, only)
        if sum(map(len, sections)) > MANY:
            found = in_slices(self._context.reactor, work)
            return found.addCallback(self._with_signatures, answer, sections, request)
        try:
            while True:
                next(work)
        except StopIteration as end:
            return self._with_signatures(end.value, answer, sections, request)

    def _finding(self, sections: Sequence[Records], only: frozenset[int] | None) -> Generator[None, None, list[Signed]]:
        """Find the RRsets to sign, in short steps."""
        found = []
        for number, section in enumerate(sections):
            rrsets: dict[tuple[bytes, int], list[Record]] = {}
            present: set[tuple[bytes, bytes]] = set()
            for count, record in enumerate(section, 1):
                if not count % STEP:
                    yield
                if record.rtype == RRSIG:
                    present.add((record.owner.lower(), _signed_by(record.rdata)))
                elif record.rclass == IN and record.rtype != OPT and (only is None or record.rtype in only):
                    rrsets.setdefault((record.owner.lower(), record.rtype), []).append(record)
            for (owner, rtype), records in rrsets.items():
                if len(records) > STEP:
                    yield
                zone = longest_zone(owner, self._zones)
                if zone is None:
                    continue
                keys = self._key_signers if rtype == DNSKEY and owner == zone else self._signers
                if present:
                    # A lookup that a plugin behind made for this answer passed here, too, and was signed.
                    head = rtype.to_bytes(2, "big")
                    if all((owner, head + key.tag.to_bytes(2, "big") + zone) in present for key in keys):
                        continue
                job = job_of(canonical_rrset(records), zone, keys)
                found.append(Signed(number, records[0].ttl, records[0].owner, job))
        return found

    def _with_signatures(
        self, found: list[Signed], answer: Answer, sections: tuple[Records, Records, Records], request: Request
    ) -> Reply:
        if not found:
            return replace(answer, body=Sections(*sections))
        label = request.server.label
        if label not in self._servers:
            self._servers.add(label)
            self._entries.gauge(label, "signature", read=self._signer.store.__len__)
        hits = self._hits.counter(label)
        jobs = [signed.job for signed in found]
        there = self._signer.find(jobs)
        missing = {job.digest: job for job in jobs if job.digest not in there}
        hits.value += len(jobs) - len(missing)
        answer = answer.charged(*[hits] * len(jobs))
        if not missing:
            return self._joined(there, found, answer, sections)
        self._misses.counter(label).value += len(missing)
        made = self._signer.sign(tuple(missing.values()))
        return made.addCallback(self._joined, found, answer, sections, there)

    def _joined(
        self,
        made: Made,
        found: list[Signed],
        answer: Answer,
        sections: tuple[Records, Records, Records],
        there: Made | None = None,
    ) -> Answer:
        if there:
            made = there | made
        parts = [list(section) for section in sections]
        until = min(made[signed.job.digest].good_until for signed in found)
        for section, ttl, owner, job in found:
            parts[section] += [Record(owner, RRSIG, IN, ttl, rdata) for rdata in made[job.digest].rdatas]
        context = self._context
        validity = answer.validity.narrowed(until=context.clock() + until - context.wall())
        return replace(answer, body=Sections(*map(tuple, parts)), validity=validity)

    # Explaining

    def explain(self, request: Request) -> list[Note]:
        """Which keys sign."""
        zone = longest_zone(request.qname, self._zones)
        if zone is None:
            return []
        if request.qtype == DNSKEY and request.qname == zone:
            return [Note(f"the keys of {to_text(zone)} are answered here: {_tags(self._keys)}")]
        if not request.do:
            return [Note("the client does not set DO, so nothing is signed")]
        return [Note(f"records of {to_text(zone)} are signed with {_tags(self._signers)}")]

    def explain_passed(self, request: Request, came: Answer) -> list[Note]:
        """What becomes of a denial."""
        if not request.do or longest_zone(request.qname, self._zones) is None:
            return []
        if not _denies(came, request.qtype):
            return []
        if len(came.body.types(AUTHORITY)) > 1:
            return [Note("the denial has a proof already, and is passed on as it is")]
        text = "NXDOMAIN becomes NOERROR: " if came.rcode == NXDOMAIN else ""
        return [Note(f"{text}an NSEC record denies the type at this one name")]


def _signed_by(rrsig: bytes) -> bytes:
    """The type that an RRSIG covers, its key's tag, and the signer."""
    end = 18
    while end < len(rrsig) and rrsig[end]:
        end += 1 + rrsig[end]
    return rrsig[:2] + rrsig[16:18] + rrsig[18 : end + 1].lower()


def _denies(answer: Answer, qtype: int) -> bool:
    """Whether an answer says that there is no such name or type, perhaps at the end of a chain of aliases."""
    if answer.rcode not in (NOERROR, NXDOMAIN) or answer.reaches(qtype):
        return False
    return SOA in answer.body.types(AUTHORITY)


def _last_name(spelled: bytes, answers: Iterable[Record]) -> bytes:
    """The name that a denial is about: the target of the last alias, else the name that was asked for."""
    name = spelled
    for record in answers:
        if record.rtype == CNAME:
            name = record.rdata
    return name


def _tags(keys: Iterable[SigningKey]) -> str:
    tags = [str(key.tag) for key in keys]
    return f"key {tags[0]}" if len(tags) == 1 else f"keys {', '.join(tags)}"
