# -*- test-case-name: tests.server.test_nxdomain_synthesis -*-
"""
Names that do not exist, and that nobody asked for before: answered out of a reply that another such name got.

Most queries in a cluster are for names that search paths make up, and a flood of random ones is all new names: neither shall cost what
the plugins cost, nor take a place in the answer table. A :class:`Template` is a finished NXDOMAIN with a hole for the name. It is found by
what the query says beside the name (flags, counts, the zone as it is spelled, type, class, OPT), and whether the name exists is asked of
the :class:`~kdns.core.answer.Denial` each time.

A name that is asked for a second time is not answered here, so that it comes into the answer table, which is cheaper still.
"""

from __future__ import annotations

from collections.abc import Callable

from kdns.core.answer import Denial
from kdns.core.stamps import stand
from kdns.core.tally import Tally

COOKIE_OPTION = b"\x00\x0a\x00\x08"
"""Code and length of an EDNS option that holds a client cookie alone (RFC 7873 section 4)."""

COOKIE = 8
"""Octets of a client cookie."""

MOST_TEMPLATES = 512
"""Templates of one table; clients that spell the zone in a way of their own each time fill them, and then they begin anew."""

MOST_SEEN = 16_384
"""Names that are remembered as asked once, by a hash of 64 bits; then they are all forgotten."""

MOST_LENGTHS = 4
"""Lengths of zone and rest that are tried for queries of one head."""

Weigh = Callable[[int], Tally | None]
"""What to count for a name with so many octets in front of the zone; None when it cannot be said beforehand."""


class Template:
    """A reply with a hole for the name."""

    __slots__ = ("_tallies", "_weigh", "body", "cookie", "covers", "head", "longest", "noted", "rest", "until")

    def __init__(
        self, head: bytes, body: bytes, rest: int, cookie: int, longest: int, denial: Denial, weigh: Weigh
    ) -> None:
        """
        :param head: the reply's flags and counts.
        :param body: what stands behind the question, without the cookie.
        :param rest: octets of the query behind its question.
        :param cookie: octets at the end of the query that are repeated at the end of the reply.
        :param longest: octets in front of the zone that the reply has room for.
        """
        self.head = head
        self.body = body
        self.rest = rest
        self.cookie = cookie
        self.longest = longest
        self.covers = denial.covers
        self.until = denial.until
        self.noted = denial.stamps
        self._weigh = weigh
        self._tallies: dict[int, Tally | None] = {}

    def tally(self, octets: int) -> Tally | None:
        """What to count for a name with so many octets in front of the zone."""
        try:
            return self._tallies[octets]
        except KeyError:
            tally = self._tallies[octets] = self._weigh(octets)
            return tally

    def stands(self, now: float) -> bool:
        """Whether it may still be used."""
        return now < self.until and stand(self.noted)


class NxdomainTemplates:
    """The templates of one answer table; keys are those of the table."""

    __slots__ = ("_count", "_seen", "_templates", "given")

    def __init__(self) -> None:
        # By the octets in front of the name, then by the length of what stands from the zone on, then by those octets.
        self._templates: dict[bytes, list[tuple[int, dict[bytes, Template]]]] = {}
        self._count = 0
        self._seen: set[int] = set()
        self.given = 0
        """Replies made so far."""

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Forget all templates."""
        self._templates.clear()
        self._count = 0

    def knows(self, key: bytes, zone: int, now: float) -> bool:
        """Whether there is a template that stands for a query with so many octets from the zone on."""
        cut = cookie_of(key)
        template = self._found(key, zone, cut)
        return template is not None and template.stands(now)

    def asked(self, key: bytes) -> None:
        """The plugins were asked for this query; the next time they, or the answer table, are asked again."""
        self._mark(hash(key[: len(key) - cookie_of(key)]))

    def _mark(self, mark: int) -> None:
        if len(self._seen) >= MOST_SEEN:
            self._seen.clear()
        self._seen.add(mark)

    def enter(self, key: bytes, zone: int, template: Template) -> None:
        """Enter a template for queries like the one of *key*, *zone* octets of which stand from the zone on, cookie included."""
        if self._count >= MOST_TEMPLATES:
            self.clear()
        head = key[: head_of(key)]
        length = zone - template.cookie
        tail = key[len(key) - zone : len(key) - template.cookie]
        groups = self._templates.setdefault(head, [])
        for known, templates in groups:
            if known == length:
                self._count += tail not in templates
                templates[tail] = template
                return
        if len(groups) >= MOST_LENGTHS:
            self._count -= len(groups.pop(0)[1])
        groups.append((length, {tail: template}))
        self._count += 1

    def _found(self, key: bytes, zone: int, cut: int) -> Template | None:
        for length, templates in self._templates.get(key[: head_of(key)], ()):
            if length == zone - cut:
                return templates.get(key[len(key) - zone : len(key) - cut])
        return None

    def find(self, key: bytes, now: float) -> tuple[bytes, Tally] | None:
        """
        The reply, behind its identifier, to a query for a name that does not exist and was not asked for lately.

        :return: the reply and what to count for it; None when the plugins must be asked.
        """
        start = head_of(key)
        groups = self._templates.get(key[:start])
        if groups is None:
            return None
        end = len(key)
        if key[-12:-8] == COOKIE_OPTION:
            end -= COOKIE
        for length, templates in groups:
            zone = end - length
            template = templates.get(key[zone:end])
            if template is None or template.cookie != len(key) - end:
                continue
            if not template.stands(now):
                return None
            front = zone - start
            if front > template.longest or not template.covers(key[start:zone].lower()):
                return None
            mark = hash(key[:end])
            if mark in self._seen:
                return None
            tally = template.tally(front)
            if tally is None:
                return None
            self._mark(mark)
            self.given += 1
            if end != len(key):
                return template.head + key[start : end - template.rest] + template.body + key[end:], tally
            return template.head + key[start : end - template.rest] + template.body, tally
        return None


def head_of(key: bytes) -> int:
    """Bytes in front of the question in a key of the answer table; see :class:`kdns.server.table.ClientPrefixes`."""
    first = key[0] if key else 0
    if first < 0xFE:
        return 10
    return 11 if first == 0xFF else 15


def cookie_of(key: bytes) -> int:
    """Octets at the end of a query that look like a client cookie."""
    return COOKIE if key[-12:-8] == COOKIE_OPTION else 0
