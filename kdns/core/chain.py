# -*- test-case-name: tests.core.test_chain -*-
"""
The chain: plugins in their order, each knowing those behind it only as "next".

What a plugin has in memory it returns as an :class:`~kdns.core.answer.Answer`; only what must wait is a Deferred. A plugin may be an
``async def`` too. Failures travel as :class:`~kdns.core.failure.ResolutionFailed`, raised or in the Deferred.

The chain, not the plugin, sees to it that an answer is used again only where that is right: it narrows everything that comes out of a link
to what the link declares to vary by (:class:`~kdns.core.validity.Varies`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.answer import Answer
from kdns.core.answer import Reply as Reply  # plugins find it here
from kdns.core.explaining import Note
from kdns.core.failure import NoNextPlugin
from kdns.core.fast_path import Alias, Effect, SourceMaker, Upstreams
from kdns.core.request import Request
from kdns.core.stamps import Stamp
from kdns.core.validity import EVERY_QUERY, Varies

P = ParamSpec("P")

Next: TypeAlias = Callable[[Request], Reply]
"""The rest of the chain."""


class Link:
    """
    A link of the chain: the base of every plugin's answering part. Only :meth:`answer` must be written.
    """

    name: str = ""
    """The directive's name in a Corefile."""

    varies: Varies = EVERY_QUERY
    """What, besides the question, the link's own answers and its passing on depend on; read when the chain is made."""

    def answer(self, request: Request, next: Next) -> Reply | Coroutine[Any, Any, Answer]:
        """
        Answer the request, or pass it on with ``next(request)`` and return what comes of it, changed or not.

        ``await next(request)`` works too, in an ``async def``.

        :raises ResolutionFailed: there is no answer, and this is the response code.
        """
        raise TypeError(f"{type(self).__name__} does not say what it answers")

    def placed(self, behind: Sequence[Link]) -> None:
        """Called once, when the block is complete, with the links behind this one, the nearest first."""

    # The fast path; see kdns.core.fast_path.

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """
        What the link does to queries it passes on, as data; None, the default, sends them all the general way.

        :param server: the listener as metrics name it.
        :param zone: all queries are for names in it, wire form, lower case; the root stands for names that are forwarded.
        """
        return None

    def fast_sources(self) -> Mapping[bytes, SourceMaker | None]:
        """The zones that the link answers for (wire form, lower case) with what makes their records; None: the link must be asked."""
        return {}

    def fast_alias(self, zone: bytes) -> Alias | None:
        """The zone in which the links behind are asked for names of *zone*, where the link does no more to them."""
        return None

    def fast_upstreams(self) -> Upstreams | None:
        """What asks upstreams for all names that reach the link; None where they must be asked for one by one."""
        return None

    # What an operator is told by an explanation. It asks the real chain and sees what goes into each link and what comes out; why a link
    # does so it says here, in words, about the state it answers from.

    def explain(self, request: Request) -> Sequence[Note]:
        """What the link sees in a request; called before it is asked, and it must change nothing."""
        return ()

    def explain_passed(self, request: Request, came: Answer) -> Sequence[Note]:
        """What the link does with *came*, which the next link answered."""
        return ()

    def freshness(self) -> Sequence[str]:
        """Where the link's data is from and how old it may be."""
        return ()

    def asks_others(self, request: Request) -> bool:
        """Whether the link would ask another server."""
        return False


def chain(links: Sequence[Link], last: str = "") -> Next:
    """
    Join links, the first being the outermost, to one function; behind the last one nothing is found.

    :param last: the plugin that the failure names then; the last link when it is not given.
    """
    name = last or (links[-1].name if links else "")

    def exhausted(request: Request) -> Reply:
        raise NoNextPlugin(name)

    following: Next = exhausted
    for link in reversed(links):
        varies = link.varies
        following = partial(_ask, link.answer, following)
        if varies.every_query:
            following = partial(_once, following)
        elif varies.data:
            following = partial(_while_data_stands, following, varies.data)
    return following


def _ask(
    answer: Callable[[Request, Next], Reply | Coroutine[Any, Any, Answer]], following: Next, request: Request
) -> Reply:
    reply = answer(request, following)
    if isinstance(reply, (Deferred, Answer)):
        return reply
    return Deferred.fromCoroutine(reply)


def _once(ask: Next, request: Request) -> Reply:
    return then(ask(request), Answer.once)


def _while_data_stands(ask: Next, stamps: tuple[Stamp, ...], request: Request) -> Reply:
    refs = tuple([stamp.ref() for stamp in stamps])  # before the link looks: what changes meanwhile ends the answer

    def narrow(answer: Answer) -> Answer:
        return answer.with_validity(answer.validity.narrowed(stamps=refs))

    return then(ask(request), narrow)


def then(reply: Reply, change: Callable[Concatenate[Answer, P], Reply], *args: P.args, **kwargs: P.kwargs) -> Reply:
    """Apply *change* to the answer, now if it is there already, else when it comes; *args* follow the answer. It may have to wait, too."""
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
