# -*- test-case-name: tests.plugins.rewrite.test_resolver -*-
"""
The link of *rewrite*: it asks the next plugin another question, and gives the client an answer to its own.

The request that goes on is a copy. So whatever stands in front of the link, the reply's question included, shows what the client sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, Reply, attempt
from kdns.core.explaining import Note
from kdns.core.failure import ResolutionFailed
from kdns.core.fast_path import Alias, Effect
from kdns.core.reply import ECHOED_OPTIONS
from kdns.core.request import Request
from kdns.core.validity import EVERY_QUERY, Group, Validity, Varies
from kdns.plugins.rewrite.config import Config
from kdns.plugins.rewrite.fast import alias_of
from kdns.plugins.rewrite.options import Option
from kdns.plugins.rewrite.replies import CnameChange, RcodeChange, ReplyChange, TtlChange
from kdns.plugins.rewrite.rules import InvalidName, OptionRule, Query, RuleList, SubnetRule, apply
from kdns.wire.constants import CLIENT_SUBNET, COOKIE, SERVFAIL, class_text, type_text
from kdns.wire.names import BadName, MalformedName, from_text, spelled_from_text, to_text
from kdns.wire.query import Edns, options_of, pack_options

ADDED_SIZE = 4096
"""The payload size of an OPT that is added for the sake of an option."""

_NEVER_ALIKE = frozenset({"{client_port}", "{server_ip}"})
_BY_LISTENER = frozenset({"{protocol}", "{server_port}"})


class RewriteLink(Link):
    """A link of the chain that changes queries and their replies."""

    name = "rewrite"

    def __init__(self, config: Config) -> None:
        self._rules = RuleList(config.entries)
        rules = [entry.rule for entry in config.entries]
        self._codes = frozenset(rule.code for rule in rules if isinstance(rule, OptionRule))
        self._options = any(isinstance(rule, (OptionRule, SubnetRule)) for rule in rules)
        self.varies = _varies(config)

    def answer(self, request: Request, next: Next) -> Reply:
        """
        See :class:`kdns.core.chain.Link`.

        :raises ResolutionFailed: a rule makes a name that is none.
        """
        query = self._query(request)
        try:
            fired = apply(self._rules, query)
        except InvalidName as error:
            raise ResolutionFailed(str(error)) from None
        if not fired and not self._options:
            return next(request)
        changed = self._changed(request, query)
        reply = attempt(next, changed)
        if isinstance(reply, Deferred):
            return reply.addCallbacks(
                self._came, self._failed, callbackArgs=(request, changed, query), errbackArgs=(request, query)
            )
        if isinstance(reply, Failure):
            result = self._failed(reply, request, query)
            if isinstance(result, Failure):
                result.raiseException()
            return result
        return self._came(reply, request, changed, query)

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Nothing for names and types that no rule is about; with rules that may be about any, each query must come here."""
        reaches = [entry.rule.reach() for entry in self._rules.entries]
        types: frozenset[int] = frozenset()
        for reach in reaches:
            if reach is None:
                return None
            types |= reach.types
        return Effect(not_types=types)

    def fast_sources(self) -> dict[bytes, None]:
        """The zones of names that rules are about."""
        reaches = [entry.rule.reach() for entry in self._rules.entries]
        return {zone: None for reach in reaches if reach is not None for zone in reach.zones}

    def fast_alias(self, zone: bytes) -> Alias | None:
        """See :func:`kdns.plugins.rewrite.fast.alias_of`."""
        return None if self._options else alias_of(self._rules.entries, zone)

    def explain(self, request: Request) -> list[Note]:
        """The rules that fire, and what is asked then."""
        query = self._query(request)
        try:
            fired = apply(self._rules, query)
        except InvalidName as error:
            return [Note(str(error), missing=True)]
        notes = [Note(f"rewrite {entry.text}{'' if entry.stop else ' (further rules are tried)'}") for entry in fired]
        asked = f"{query.name} {class_text(query.qclass)} {type_text(query.qtype)}"
        if asked != f"{to_text(request.qname)} {class_text(request.qclass)} {type_text(request.qtype)}":
            notes.append(Note(f"the next plugin is asked for {asked}"))
        return notes or [Note("no rule fits")]

    # The way in

    def _query(self, request: Request) -> Query:
        edns = request.edns
        options = tuple(options_of(edns.options)) if edns is not None and self._options else ()
        return Query(request, to_text(request.qname), request.qtype, request.qclass, options)

    def _changed(self, request: Request, query: Query) -> Request:
        qname, spelled, edns = request.qname, request.spelled, request.edns
        if query.name != to_text(qname):
            spelled = qname = from_text(query.name)
        if self._options:
            if edns is None:
                edns = Edns(ADDED_SIZE, 0, 0, b"")
            # A client's subnet goes to upstreams anyway.
            added = [option for option in query.options if option in query.added and option[0] != CLIENT_SUBNET]
            edns = edns._replace(options=pack_options(query.options), added=pack_options(added))
        return replace(request, qname=qname, spelled=spelled, qtype=query.qtype, qclass=query.qclass, edns=edns)

    # The way back

    def _came(self, answer: Answer, request: Request, changed: Request, query: Query) -> Reply:
        if answer.silent or answer.messages is not None:
            return answer  # nothing, or a transfer, whose records are the zone's own
        if self._options and request.edns is not None:
            answer = self._with_options(answer, request, query)
        if any(isinstance(change, CnameChange) for change in query.changes):
            return Deferred.fromCoroutine(self._changed_with_lookups(answer, request, changed, query))
        for change in reversed(query.changes):
            assert not isinstance(change, CnameChange)
            answer = _applied(change, answer)
        return _in_range(answer, request)

    def _failed(self, failure: Failure, request: Request, query: Query) -> Answer | Failure:
        """A failure without a message: a rule may give it another code, and then it is a message."""
        error = failure.value
        if not isinstance(error, ResolutionFailed):
            return failure
        rcode = error.rcode
        for change in reversed(query.changes):
            if isinstance(change, RcodeChange) and change.old == rcode:
                rcode = change.new
        if rcode == error.rcode:
            return failure
        return _in_range(Answer(rcode, ede=() if error.ede is None else (error.ede,), source=self.name), request)

    async def _changed_with_lookups(self, answer: Answer, request: Request, changed: Request, query: Query) -> Answer:
        for change in reversed(query.changes):
            if isinstance(change, CnameChange):
                answer = await _with_target(change, answer, changed)
            else:
                answer = _applied(change, answer)
        return _in_range(answer, request)

    def _with_options(self, answer: Answer, request: Request, query: Query) -> Answer:
        """The answer with the client's own options where rules say so, and without options that it never sent."""
        assert request.edns is not None
        options: tuple[Option, ...] = query.options if answer.options is None else answer.options
        for undo in reversed(query.undos):
            options = undo.applied(options)
        if answer.options is not None:
            return answer if options == answer.options else replace(answer, options=options)
        # The reply has no OPT of its own: the query's comes back, as rules left it.
        shown = tuple(option for option in options if option[0] in ECHOED_OPTIONS or option[0] in self._codes)
        own = tuple(option for option in options_of(request.edns.options) if option[0] in ECHOED_OPTIONS)
        if shown == own:
            return answer
        answer = replace(answer, options=shown)
        # A cookie differs from query to query, and nobody else writes the right one into options of the answer's own.
        return answer.once() if any(code == COOKIE for code, _ in shown) else answer


def _varies(config: Config) -> Varies:
    """What the rules look at besides the question."""
    groups: list[Group] = []
    listener = False
    for entry in config.entries:
        rule = entry.rule
        if isinstance(rule, SubnetRule):
            groups.append(rule.prefix.option)
        elif isinstance(rule, OptionRule) and rule.variable is not None:
            if rule.variable_name in _NEVER_ALIKE or "/" in rule.variable_name:
                return EVERY_QUERY
            listener = listener or rule.variable_name in _BY_LISTENER
            if rule.variable_name == "{client_ip}":
                groups.append(_itself)
    return Varies(client=_joined(tuple(groups)) if groups else None, transport=listener)


def _itself(client: str) -> str:
    return client


def _joined(groups: Sequence[Group]) -> Group:
    return groups[0] if len(groups) == 1 else lambda client: tuple(group(client) for group in groups)


def _applied(change: ReplyChange, answer: Answer) -> Answer:
    assert not isinstance(change, CnameChange)
    try:
        answer = change.apply(answer)
    except MalformedName:
        raise ResolutionFailed("a record of the reply cannot be read", SERVFAIL) from None
    except BadName as error:
        raise ResolutionFailed(f"invalid name after rewrite: {error}") from None
    validity = answer.validity
    if isinstance(change, TtlChange) and validity.counts_from != inf:
        # A TTL that a rule sets does not count down with the cache entry behind it.
        fixed = change.least == change.most
        answer = answer.with_validity(replace(validity, counts_from=inf, repeat=validity.repeat and fixed))
    return answer


async def _with_target(change: CnameChange, answer: Answer, changed: Request) -> Answer:
    """The answer with the first target that fits replaced, and with what the new one leads to."""
    try:
        found = change.found(answer)
        if found is None:
            return answer
        index, text = found
        target = spelled_from_text(text)
        names = {record.owner.lower() for record in answer.answer[: index + 1]}
    except MalformedName:
        return answer
    except BadName:
        raise ResolutionFailed(f"invalid name after rewrite: {text}") from None
    if target.lower() in names:
        return answer  # it would lead back to where the answer begins
    inner = await changed.server.resolve(changed.about(target))
    if inner.silent:
        return answer
    try:
        joined = change.joined(answer, index, target, inner)
    except MalformedName:
        return answer
    # The look-up is logged and counted each time, so the finished reply is not repeated without it.
    stamps = answer.validity.stamps + inner.validity.stamps
    cache = answer.validity.cacheable and inner.validity.cacheable
    return joined.with_validity(Validity(stamps=stamps, cache=cache))


def _in_range(answer: Answer, request: Request) -> Answer:
    """A code above 15 needs an OPT (RFC 6891 section 6.1.3); a client without one hears SERVFAIL."""
    if answer.rcode <= 15 or request.edns is not None:
        return answer
    return Answer(SERVFAIL, validity=answer.validity, source=answer.source)
