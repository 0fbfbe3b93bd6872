# -*- test-case-name: tests.plugins.nomad.test_nomad -*-
"""
What is known of a Nomad: the names of all services by a blocking query, and the instances of those that are asked for.

The blocking query returns when anything about services has changed. Then every answer made before is dead, and instances are asked for
again when somebody wants them; so Nomad is asked once for each service and change, however many queries there are. A token that may not
list the services of all namespaces leaves that out: Nomad is asked for each query then.
"""

from __future__ import annotations

from enum import Enum
from typing import Any
from urllib.parse import quote, urlencode

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.cluster.pacing import Backoff
from kdns.core.degraded import Fault
from kdns.core.stamps import Stamp, StampRef
from kdns.core.timing import pause
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.nomad.answers import BadAnswer, Names, Registration, registrations, services
from kdns.plugins.nomad.config import Source
from kdns.plugins.stores.metrics import StoreMetrics
from kdns.plugins.stores.rest import Refusal, RestClient, StoreProblem, short, url_of, where_of
from kdns.plugins.stores.starting import StartWait

WAIT = 60
"""Seconds that Nomad holds a blocking query; it adds up to a sixteenth."""

ASK_PATIENCE = 4.0
"""Seconds for an answer about one service: a client waits five."""

MOST_TRIES = 3
"""How often one query asks about a service that changes while it is asked about."""

MOST_KEPT = 10_000
"""Services whose instances are remembered."""

BODY_LIMIT = 8 << 20
"""Bytes of one answer."""

log = Logger(namespace="plugin/nomad")


class Age(Enum):
    """How old instances are."""

    CURRENT = "no change is known since they were asked for"
    PASSING = "they were asked for just now, and services change all the time"
    OLD = "Nomad does not answer: they are what it said last"


class Unknown(Exception):
    """Nomad cannot be asked, and never answered about this service; the text is for the operator."""


class Instances:
    """The instances of one service, as last heard."""

    __slots__ = ("found", "generation", "waiting")

    def __init__(self) -> None:
        self.found: list[Registration] | None = None
        self.generation = -1
        """Of the store, when they were asked for; -1 where Nomad did not answer the last time."""

        self.waiting: list[Deferred[None]] | None = None
        """Queries that wait for the answer; None while nothing is asked."""


class NomadStore(Resource):
    """The services of one Nomad."""

    def __init__(self, source: Source, context: ServerContext) -> None:
        self.source = source
        self.names: Names | None = None
        """The services that exist; None while they are not known, or not up to date."""

        self.reached = False
        """Whether Nomad has ever answered."""

        self.why = "Nomad has not answered yet"
        self.serial = 0
        """Unix seconds of the last change."""

        self._context = context
        self._client = RestClient(context.reactor, source.tls)
        self._address = 0
        self._index = 0
        self._generation = 0
        self._changed = Stamp()
        self._kept: dict[tuple[str, str], Instances] = {}
        self._backoff = Backoff(context.random)
        self._work: Deferred[None] | None = None
        self._waiting = StartWait(context.reactor)
        self._asking: set[Deferred[None]] = set()
        name = f"nomad at {', '.join(map(where_of, source.addresses))}"
        self._away = context.degraded.condition(Fault.NOMAD, name)
        self.metrics = StoreMetrics(context.registry, "nomad", where_of(source.addresses[0]))
        labels = ["server", "namespace"]
        self.succeeded = context.registry.counter(
            "coredns_nomad_success_requests_total", "Queries answered from Nomad's data.", labels
        )
        self.failed = context.registry.counter(
            "coredns_nomad_failed_requests_total", "Queries that Nomad could not be asked about.", labels
        )

    # Life

    def start(self) -> Deferred[None]:
        """Fires when the services are known, when Nomad cannot be asked, or after some seconds."""
        waiting = self._waiting.begin()
        self._work = Deferred.fromCoroutine(self._follow()).addErrback(self._panicked)
        return waiting

    def _panicked(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            log.failure("following Nomad", failure)

    def stop(self) -> Deferred[Any]:
        """Follow no more."""
        if self._work is not None:
            self._work.cancel()
        for asking in tuple(self._asking):
            asking.cancel()
        self._waiting.stop()
        self._away.forget()
        self._changed.bump()
        return self._client.stop()

    # What the link asks

    def note(self) -> StampRef:
        """The stamp that moves with each change of any service, and when it is no longer known whether there are changes."""
        return self._changed.ref()

    def spelled(self, namespace: str, name: str) -> str | None:
        """A service as Nomad spells it; None when there is none, and what was asked while that is not known."""
        return name if self.names is None else self.names.get((namespace, name))

    async def instances(self, namespace: str, name: str) -> tuple[list[Registration], Age]:
        """
        The instances of a service.

        :raises Unknown: Nomad does not say, and never said.
        """
        kept = self._kept_for(namespace, name)
        if kept.found is not None and self.names is not None and kept.generation == self._generation:
            return kept.found, Age.CURRENT
        for _ in range(MOST_TRIES):
            await self._answer_for(namespace, name, kept)
            if kept.generation == self._generation and kept.found is not None:
                return kept.found, Age.CURRENT
            if kept.generation < 0:
                break
        if kept.found is None:
            raise Unknown(self.why)
        return kept.found, Age.OLD if kept.generation < 0 else Age.PASSING

    def _kept_for(self, namespace: str, name: str) -> Instances:
        key = (namespace, name)
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= MOST_KEPT:
                # Those that queries wait for stay.
                idle = [old for old, one in self._kept.items() if one.waiting is None]
                for old in idle[: MOST_KEPT // 10]:
                    del self._kept[old]
            kept = self._kept[key] = Instances()
        return kept

    async def _answer_for(self, namespace: str, name: str, kept: Instances) -> None:
        """Ask Nomad, or wait for the answer where it is being asked."""
        if kept.waiting is None:
            kept.waiting = []
            asking = Deferred.fromCoroutine(self._ask_instances(namespace, name, kept))
            self._asking.add(asking)
            asking.addBoth(self._asked, asking, kept)
        if kept.waiting is not None:
            waiting: Deferred[None] = Deferred()
            kept.waiting.append(waiting)
            await waiting

    async def _ask_instances(self, namespace: str, name: str, kept: Instances) -> None:
        generation = self._generation
        options = {"namespace": namespace}
        if self.source.filter:
            options["filter"] = self.source.filter
        path = f"/v1/service/{quote(name, safe='')}?{self._options(options)}"
        for _ in self.source.addresses:
            try:
                reply = await self._client.ask(
                    "GET", url_of(self._url, path), self._headers(), b"", ASK_PATIENCE, BODY_LIMIT
                )
                found, bad = registrations(reply.body)
            except (StoreProblem, BadAnswer) as problem:
                self._trouble(problem)
                self._address += 1
                continue
            if bad:
                log.warn(
                    "{name} in {namespace}: {bad} is no IP address", name=name, namespace=namespace, bad=short(bad[0])
                )
            kept.found, kept.generation = found, generation
            self.reached = True
            return
        kept.generation = -1

    def _asked(self, result: object, asking: Deferred[None], kept: Instances) -> None:
        self._asking.discard(asking)
        waiting, kept.waiting = kept.waiting, None
        for one in waiting or ():
            one.callback(None)
        if isinstance(result, Failure) and result.check(CancelledError) is None:
            log.failure("asking Nomad", result)

    # Following

    @property
    def _url(self) -> str:
        return self.source.addresses[self._address % len(self.source.addresses)]

    def _options(self, options: dict[str, str]) -> str:
        if self.source.region:
            options["region"] = self.source.region
        return urlencode(options)

    def _headers(self) -> dict[str, str]:
        return {"X-Nomad-Token": self.source.token} if self.source.token else {}

    async def _follow(self) -> None:
        """Hold a blocking query, for ever."""
        tried = 0
        while True:
            try:
                await self._look()
                tried = 0
            except (StoreProblem, BadAnswer) as problem:
                self._trouble(problem)
                self._lost()
                self._address += 1
                tried += 1
                self.metrics.restarts.value += 1
                if tried >= len(self.source.addresses):
                    self._waiting.end()
                    await pause(self._context.reactor, self._backoff.delay(self._context.reactor.seconds()))

    async def _look(self) -> None:
        """
        Wait for a change, or read all when there was no answer yet.

        :raises StoreProblem: Nomad does not answer.
        :raises BadAnswer: it is not Nomad that answers.
        """
        options = {"namespace": "*"}
        patience = 10.0
        if self._index and self.names is not None:
            options |= {"index": str(self._index), "wait": f"{WAIT}s"}
            patience = WAIT * 17 / 16 + 10.0
        path = f"/v1/services?{self._options(options)}"
        reply = await self._client.ask("GET", url_of(self._url, path), self._headers(), b"", patience, BODY_LIMIT)
        names = services(reply.body)
        text = reply.header("X-Nomad-Index")
        index = int(text) if text.isdigit() and len(text) < 20 else 0
        now = self._context.wall()
        self.reached = True
        self.metrics.succeeded(now)
        self._away.end(now, log)
        if self.names is None or index != self._index:
            self.names = names
            # Lower than before: another Nomad, or one that was restored. Nomad's rule is to begin from 0 then, which reading all is.
            self._index = index
            self._generation += 1
            self.serial = int(now)
            self.metrics.entries.set(len(names))
            self._changed.bump()
        self._waiting.end()
        if not index:
            await pause(self._context.reactor, 1.0)  # without an index a query does not block

    def _trouble(self, problem: Exception) -> None:
        text = str(problem)
        if isinstance(problem, Refusal) and problem.status == 403:
            text += "; the token must be allowed to read jobs in all namespaces"
        elif isinstance(problem, BadAnswer):
            text = f"{where_of(self._url)}: {short(text)}"
        self.why = text
        self.metrics.failed.value += 1
        self._away.begin(text, self._context.wall(), log)

    def _lost(self) -> None:
        """Changes may be missed from now on: nothing that was heard before counts as current."""
        if self.names is not None:
            self.names = None
            self._generation += 1
            self._changed.bump()

    def freshness(self) -> list[str]:
        """Where the data are from, for the operator."""
        if self.names is None:
            return [f"services are asked for one by one: {self.why}"]
        return [f"{len(self.names)} services at index {self._index} of {where_of(self._url)}"]
