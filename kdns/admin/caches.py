# -*- test-case-name: tests.admin.test_caches -*-
"""
The commands ``cache.list``, ``cache.get`` and ``cache.flush``: what the caches of a running server hold, and to forget it.

Two things keep answers: the plugin *cache*, by TTL, and in front of everything the answer table, which keeps finished replies. A list reads
both. A flush always empties the whole answer table, which fills again from what the plugins say. All commands run in slices.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import msgspec

from kdns.admin.commands import Arguments, CommandError, Result, number_of, text_of
from kdns.admin.explain import question_of
from kdns.core.slices import in_slices
from kdns.core.stamps import stand
from kdns.plugin.capabilities import KeepsAnswers
from kdns.server.service import KdnsService
from kdns.server.table import Entry as TableEntry
from kdns.server.table_keys import head_of
from kdns.wire.constants import rcode_text, type_number, type_text
from kdns.wire.names import MalformedName, from_text, is_subdomain, read_name, to_text

STEP = 20
"""Entries between two looks at the clock: 150 microseconds when all are listed."""

MOST_LISTED = 100_000
DEFAULT_LISTED = 1000


class CacheEntry(msgspec.Struct, omit_defaults=True):
    """What is said of an entry; times are seconds."""

    name: str
    type: str
    held: str
    """``success`` or ``denial`` of the plugin *cache*, or ``table``."""

    rcode: str
    listener: str = ""
    """For the answer table: whose."""

    zone: str = ""
    """For the plugin: the zones of its server block."""

    left: float | None = None
    """Until it runs out, negative when it has; None when it does only with its data."""

    age: float | None = None
    ttl: int | None = None
    hits: int | None = None
    """For the plugin, where it prefetches: hits in a row."""

    stale: bool = False
    """Whether it ran out, or its data changed, so that it will not be given as it is."""

    records: int | None = None


class Wanted:
    """Which entries are meant."""

    def __init__(self, arguments: Arguments) -> None:
        """:raises CommandError: the arguments say nothing sensible."""
        name, zone, qtype = text_of(arguments, "name"), text_of(arguments, "zone"), text_of(arguments, "type")
        self.qtype: int | None = None
        self.name: bytes | None = None
        self.zone: bytes | None = None
        if qtype:
            self.qtype = type_number(qtype)
            if self.qtype is None:
                raise CommandError(f"there is no record type {qtype}")
        if name:
            spelled, number, whole = question_of(name, qtype)
            self.name = spelled.lower()
            if not qtype and whole and type_text(number) == "PTR":
                self.qtype = number
        if zone:
            try:
                self.zone = from_text(zone)
            except (MalformedName, ValueError) as error:
                raise CommandError(f"{zone!r} is no domain name: {error}") from None

    def takes(self, name: bytes, qtype: int) -> bool:
        """Whether an entry for a question is meant; *name* in lower case."""
        if self.name is not None and name != self.name:
            return False
        if self.zone is not None and not is_subdomain(name, self.zone):
            return False
        return self.qtype is None or qtype == self.qtype


class Caches:
    """The commands for one server."""

    def __init__(self, server: KdnsService) -> None:
        self._server = server
        self._context = server.context

    async def list(self, arguments: Arguments) -> Result:
        """``zone``, ``type`` and ``limit``: the entries, and how many there are."""
        limit = number_of(arguments, "limit", DEFAULT_LISTED, MOST_LISTED)
        return await in_slices(self._context.reactor, self._listed(Wanted(arguments), limit))

    async def get(self, arguments: Arguments) -> Result:
        """``name`` and ``type``: the entries for a name."""
        wanted = Wanted(arguments)
        if wanted.name is None:
            raise CommandError("which name?")
        return await in_slices(self._context.reactor, self._listed(wanted, MOST_LISTED))

    async def flush(self, arguments: Arguments) -> Result:
        """``name`` (and ``type``), ``zone``, or ``all``: forget, so that the next answers are fresh."""
        everything = arguments.get("all") is True
        wanted = Wanted(arguments)
        if everything == (wanted.name is not None or wanted.zone is not None):
            raise CommandError("say what to flush: a name, a zone, or everything")
        return await in_slices(self._context.reactor, self._flushed(wanted, everything))

    def _flushed(self, wanted: Wanted, everything: bool) -> Generator[None, None, Result]:
        flushed = 0
        for link in self._links():
            for budget in (link.store.success, link.store.denial):
                for count, key in enumerate(list(budget.entries), 1):
                    if everything or wanted.takes(key[0], key[1]):
                        flushed += budget.drop(key)
                    if not count % STEP:
                        yield
        finished = 0
        for entries in self._server.table_budget.cut():
            finished += len(entries)
            while entries:
                del entries[-STEP:]
                yield
        return {"flushed": flushed, "replies": finished}

    def _listed(self, wanted: Wanted, limit: int) -> Generator[None, None, Result]:
        text = bytearray(b"[")  # it grows with the slices, so that nothing is left to join in the last one
        found = 0
        for count, entry in enumerate(self._entries(wanted), 1):
            if entry is not None:
                found += 1
                if found <= limit:
                    text += b"," if found > 1 else b""
                    text += msgspec.json.encode(entry)
            if not count % STEP:
                yield
        text += b"]"
        return {"entries": msgspec.Raw(text), "found": found, "caches": sum(1 for _ in self._links())}

    def _entries(self, wanted: Wanted) -> Iterator[CacheEntry | None]:
        """What is wanted of all entries; None for each other."""
        for link in self._links():
            for budget in (link.store.success, link.store.denial):
                for key, entry in list(budget.entries.items()):
                    yield self._cached(link, key, entry) if wanted.takes(key[0], key[1]) else None
        for endpoint, opened in self._server.endpoints.items():
            for table in opened.tables:
                for query, reply in table.entries():
                    name, qtype = question_in(query)
                    yield self._finished(endpoint.label, name, qtype, reply) if wanted.takes(name, qtype) else None

    def _cached(self, link: KeepsAnswers, key: Sequence[Any], entry: Any) -> CacheEntry:
        now = self._context.clock()
        left = entry.stored + entry.ttl - now
        return CacheEntry(
            to_text(key[0]),
            type_text(key[1]),
            "denial" if entry.denial else "success",
            rcode_text(entry.answer.rcode),
            zone=link.zones_text,
            left=round(left, 1),
            age=round(now - entry.stored, 1),
            ttl=entry.ttl,
            hits=entry.hits,
            stale=left <= 0 or not stand(entry.answer.validity.stamps),
            records=entry.answer.answer_count(),
        )

    def _finished(self, listener: str, name: bytes, qtype: int, entry: TableEntry) -> CacheEntry:
        now = self._context.clock()
        exchange = entry.exchange
        return CacheEntry(
            to_text(name),
            type_text(qtype),
            "table",
            rcode_text(entry.reply[1] & 15),
            listener=listener,
            left=round(entry.until - now, 1) if entry.until < float("inf") else None,
            age=round(now - exchange.request.arrived, 1) if exchange is not None else None,
            stale=now >= entry.until or not stand(entry.noted),
            records=entry.reply[4] << 8 | entry.reply[5],
        )

    def _links(self) -> Iterator[KeepsAnswers]:
        """The caches of all server blocks, each once."""
        configuration = self._server.configuration
        if configuration is None:
            raise CommandError("this kdns does not answer queries yet, or not any more")
        for builder in configuration.builders:
            for link in builder.links:
                if isinstance(link, KeepsAnswers):
                    yield link


def question_in(key: bytes) -> tuple[bytes, int]:
    """Name in lower case and type in a key of the answer table."""
    name, end = read_name(key, head_of(key))
    return name.lower(), key[end] << 8 | key[end + 1]
