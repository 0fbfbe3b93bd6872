"""The chain of plugins: at once where it can be, later where it must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, Reply, attempt, chain, then
from kdns.core.failure import NoNextPlugin, ResolutionFailed
from kdns.core.request import Request
from kdns.wire.constants import NXDOMAIN, SERVFAIL
from tests.support import a_request, now

REQUEST = a_request("web.prod.svc.cluster.local.")


class Says(Link):
    """A plugin that answers, noting that it was asked."""

    def __init__(self, name: str, answer: Callable[[Request, Next], Any]) -> None:
        self.name = name
        self._answer = answer

    def answer(self, request: Request, next: Next) -> Any:
        """Answer with the function."""
        return self._answer(request, next)


def passes(request: Request, next: Next) -> Reply:
    """Pass the request on."""
    return next(request)


class ChainTests(SynchronousTestCase):
    """Links of a chain."""

    def test_order(self) -> None:
        """The first plugin is the outermost; what it passes on is the next one's."""
        asked: list[str] = []

        def noting(name: str) -> Callable[[Request, Next], Reply]:
            def answer(request: Request, next: Next) -> Reply:
                asked.append(name)
                return Answer(NXDOMAIN) if name == "c" else next(request)

            return answer

        ask = chain([Says(name, noting(name)) for name in "abcd"])
        self.assertEqual(now(ask(REQUEST)).rcode, NXDOMAIN)
        self.assertEqual(asked, ["a", "b", "c"])

    def test_end(self) -> None:
        """Past the last plugin nothing is found, and the failure names it."""
        failure = attempt(chain([Says("first", passes), Says("last", passes)]), REQUEST)
        assert isinstance(failure, Failure)
        assert isinstance(failure.value, NoNextPlugin)
        self.assertEqual(failure.value.text, "plugin/last: no next plugin found")
        self.assertEqual(str(failure.value), "SERVFAIL: plugin/last: no next plugin found")

    def test_named_end(self) -> None:
        """The last plugin may be one that is no link."""
        failure = attempt(chain([], last="errors"), REQUEST)
        assert isinstance(failure, Failure)
        assert isinstance(failure.value, NoNextPlugin)
        self.assertEqual(failure.value.plugin, "errors")

    def test_async_plugin(self) -> None:
        """A plugin may be a coroutine; where nothing has to wait it is done when the call returns."""

        async def answer(request: Request, next: Next) -> Answer:
            inner: Answer = await next(request)
            return Answer(inner.rcode, source="async")

        waiting: Deferred[Answer] = Deferred()
        last: list[Reply] = [Answer(NXDOMAIN), waiting]
        ask = chain([Says("async", answer), Says("last", lambda request, next: last.pop(0))])
        at_once, later = ask(REQUEST), ask(REQUEST)
        assert isinstance(at_once, Deferred)
        assert isinstance(later, Deferred)
        self.assertEqual(self.successResultOf(at_once), Answer(NXDOMAIN, source="async"))
        self.assertNoResult(later)
        waiting.callback(Answer(NXDOMAIN))
        self.assertEqual(self.successResultOf(later), Answer(NXDOMAIN, source="async"))

    def test_async_failure(self) -> None:
        """What a coroutine raises is the Deferred's failure."""

        async def answer(request: Request, next: Next) -> Answer:
            raise ResolutionFailed("it broke")

        reply = chain([Says("async", answer)])(REQUEST)
        assert isinstance(reply, Deferred)
        self.assertEqual(str(self.failureResultOf(reply, ResolutionFailed).value), "SERVFAIL: it broke")

    def test_attempt(self) -> None:
        """What is raised at once becomes a Failure, so there is one place to look."""

        def answer(request: Request, next: Next) -> Reply:
            raise ResolutionFailed("it broke", SERVFAIL)

        failure = attempt(chain([Says("broken", answer)]), REQUEST)
        assert isinstance(failure, Failure)
        failure.trap(ResolutionFailed)
        self.assertEqual(attempt(chain([Says("fine", lambda request, next: Answer())]), REQUEST), Answer())

    def test_then(self) -> None:
        """A change is applied at once to what is there, and later to what comes."""
        change = [lambda answer: Answer(answer.rcode, source="changed")]
        self.assertEqual(now(then(Answer(NXDOMAIN), change[0])).source, "changed")
        waiting: Deferred[Answer] = Deferred()
        reply = then(waiting, change[0])
        waiting.callback(Answer())
        assert isinstance(reply, Deferred)
        self.assertEqual(self.successResultOf(reply).source, "changed")
