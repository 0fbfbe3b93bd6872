# -*- test-case-name: tests.plugins.autopath.test_resolver -*-
"""
One walk along a search path: a core module of *autopath*.

The caller asks for the names one after another and tells what each led to. The first reply that is not NXDOMAIN ends the walk. Where no
name exists, the reply to the first one is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from msgspec.structs import replace

from kdns.core.answer import NO_REPLY, Answer, records
from kdns.core.failure import ResolutionFailed
from kdns.core.metrics import Counter
from kdns.core.request import Request
from kdns.core.validity import Validity
from kdns.wire.constants import NXDOMAIN
from kdns.wire.names import MAX_NAME, ROOT, is_subdomain
from kdns.wire.records import cname


def names_of(request: Request, path: Sequence[bytes]) -> list[bytes]:
    """
    The names to ask for, as spelled; the first is the one that was asked for.

    :param path: domains of the search path. The name that was asked for must be below the first; where it is not, there is nothing to walk.
    """
    if not path or request.qname == path[0] or not is_subdomain(request.qname, path[0]):
        return []
    front = request.spelled[: len(request.spelled) - len(path[0])]
    names = [front + domain for domain in (*path[1:], ROOT)]
    return [request.spelled, *(name for name in names if len(name) <= MAX_NAME)]


class Walk:
    """
    The state of one walk.

    :param counter: counts walks that found a name.
    :param until: when the answer stops to hold at the latest, in seconds of the server's clock.
    """

    def __init__(self, request: Request, names: Sequence[bytes], counter: Counter, until: float = inf) -> None:
        self._request = request
        self._left = list(names)
        self._counter = counter
        self._first: Answer | ResolutionFailed | None = None
        self._validity: Validity | None = Validity(True, until)
        """Of the replies that were passed over; None when one of them cannot be used again."""

    def request(self) -> Request:
        """The next name as a request; there must be one."""
        spelled = self._left.pop(0)
        if self._first is None:
            return self._request
        size = self._request.size - len(self._request.spelled) + len(spelled)
        return replace(self._request, qname=spelled.lower(), spelled=spelled, size=size)

    def failed(self, error: ResolutionFailed) -> Answer | None:
        """A name came to a response code without a reply: pass over it."""
        self._validity = None
        return self._passed(error)

    def came(self, answer: Answer, asked: Request) -> Answer | None:
        """The reply to a name: the answer, if the walk is over, else None."""
        if answer.silent:
            return NO_REPLY
        if answer.rcode != NXDOMAIN:
            return self._won(answer, asked)
        if self._validity is not None:
            self._validity = self._validity.joined(answer.validity)
        return self._passed(answer)

    def _passed(self, result: Answer | ResolutionFailed) -> Answer | None:
        if self._first is None:
            self._first = result
        if self._left:
            return None
        if isinstance(self._first, ResolutionFailed):
            raise self._first
        return replace(self._first, validity=self._validity or Validity())

    def _won(self, answer: Answer, asked: Request) -> Answer:
        self._counter.inc()
        validity = Validity() if self._validity is None else self._validity.joined(answer.validity)
        answer = replace(answer.charged(self._counter), validity=validity)
        if asked is self._request:
            return answer
        # The message of an upstream points at the name in its question, which is another one in the reply.
        found, *others = answer.sections()
        qname = self._request.qname
        if found and all(record.owner.lower() != qname for record in found):
            found = (cname(self._request.spelled, found[0].ttl, found[0].owner), *found)
        return replace(answer, body=records(found, *others))
