# -*- test-case-name: tests.core.test_chain -*-
"""
The chain: plugins in their order, each knowing those after it only as "next".

What a plugin has in memory it returns as an :class:`~kdns.core.answer.Answer`; only what must wait is a Deferred. A plugin may be written
with ``async def`` too. Failures travel as :class:`~kdns.core.failure.ResolutionFailed`, raised or in the Deferred.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.answer import Answer
from kdns.core.answer import Reply as Reply  # plugins find it here
from kdns.core.failure import NoNextPlugin
from kdns.core.request import Request

P = ParamSpec("P")

Next: TypeAlias = Callable[[Request], Reply]
"""The rest of the chain."""


class Plugin(Protocol):
    """
    A link of the chain.

    One may have a method ``alike_below(zone: bytes) -> bool``: whether it treats all names alike that are below *zone* (wire form, lower
    case) and do not exist. Where all links in front of the one that denies a name say so, and all observers, further such names are
    answered without them (:class:`kdns.core.answer.Denial`).
    """

    name: str
    """As it is written in a Corefile."""

    def answer(self, request: Request, next: Next) -> Reply | Coroutine[Any, Any, Answer]:
        """
        Answer the request, or pass it on with ``next(request)`` and return what comes of it, changed or not.

        ``await next(request)`` works too, in an ``async def``.

        :raises ResolutionFailed: there is no answer, and this is the response code.
        """


def chain(plugins: Sequence[Plugin], last: str = "") -> Next:
    """
    Link plugins, the first being the outermost, to one function; past the last one nothing is found.

    :param last: whom the failure names then; the last plugin when it is not given.
    """
    name = last or (plugins[-1].name if plugins else "")

    def exhausted(request: Request) -> Reply:
        raise NoNextPlugin(name)

    following: Next = exhausted
    for plugin in reversed(plugins):
        following = partial(_ask, plugin.answer, following)
    return following


def _ask(
    answer: Callable[[Request, Next], Reply | Coroutine[Any, Any, Answer]], following: Next, request: Request
) -> Reply:
    reply = answer(request, following)
    if isinstance(reply, (Deferred, Answer)):
        return reply
    return Deferred.fromCoroutine(reply)


def then(reply: Reply, change: Callable[Concatenate[Answer, P], Answer], *args: P.args, **kwargs: P.kwargs) -> Reply:
    """Apply *change* to the answer, now if it is there already, else when it comes; *args* follow the answer."""
    # Whether something is a Deferred is asked first everywhere: to tell that a Deferred is no Answer takes Python's ABCMeta.
    if isinstance(reply, Deferred):
        return reply.addCallback(change, *args, **kwargs)
    return change(reply, *args, **kwargs)


def attempt(ask: Next, request: Request) -> Answer | Deferred[Answer] | Failure:
    """Ask, and turn an exception that is raised at once into a Failure, so that the caller has one place to look."""
    try:
        return ask(request)
    except Exception:
        return Failure()
