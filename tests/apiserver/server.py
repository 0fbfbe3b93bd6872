# -*- test-case-name: tests.apiserver.test_http -*-
"""
The fake API server as a whole: listens, answers through rest.py, lets faults strike, keeps the request log.

This is the class that tests use; everything here is for them to call.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger

from kdns.testing.certificates import Authority, Identity
from tests.apiserver.access import Access, check_path, check_resource
from tests.apiserver.bulk import Bulk, churn, populate
from tests.apiserver.cluster import Cluster
from tests.apiserver.credentials import InCluster, Login, write_kubeconfig
from tests.apiserver.faults import BREAKING, Fault, FaultKind, FaultPlan, corrupted
from tests.apiserver.http import Exchange, HttpFactory
from tests.apiserver.resources import SERVICE_IMPORTS, Json, Place, Resource, by_kind
from tests.apiserver.rest import (
    Reply,
    Rest,
    WaitOrder,
    WatchListSupport,
    WatchOrder,
    refusal,
    verb_of,
)
from tests.apiserver.status import ApiError, bad_request, too_large_version
from tests.apiserver.store import DEFAULT_WINDOW, Store
from tests.apiserver.streams import WatchStream
from tests.apiserver.timing import ListeningReactor
from tests.apiserver.tls import SERVER_NAMES, ServerContext

LOG_LENGTH = 10_000  # requests remembered
_HEADERS_OF_INTEREST = ("accept", "authorization", "content-type", "user-agent")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How the server behaves as long as no fault is injected."""

    boot: bool = True  # start with default, kube-system, kube-public and the Service default/kubernetes
    multicluster: bool = True  # ServiceImports are served; if not, loading their definition installs them
    watch_list: WatchListSupport = WatchListSupport.SERVED
    gone_as_http: bool = False  # a watch from a forgotten version: HTTP 410 instead of an ERROR event
    bookmark_interval: float = 60.0  # seconds
    watch_timeout: float = 1800.0  # seconds, where the client names none; up to twice as long, as drawn
    freshness_wait: float = 3.0  # seconds until a version too large is answered with 504
    window: int = DEFAULT_WINDOW  # events remembered of each resource
    seed: int = 1  # of uids, generated names and time-outs


@dataclass(slots=True)
class LoggedRequest:
    """A request as the log remembers it."""

    time: float
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # those of interest, names in lower case
    verb: str
    resource: str  # plural; empty: no resource
    code: int = 0  # of the answer; 0: none yet, or none at all


class ApiServer:
    """A Kubernetes API server for tests."""

    _log = Logger()

    def __init__(self, reactor: ListeningReactor, options: ServerOptions | None = None) -> None:
        self.options = options = options or ServerOptions()
        self.rng = random.Random(options.seed)
        self.cluster = Cluster(Store(options.window), self.rng)
        self.rest = Rest(self.cluster, options.watch_list, options.gone_as_http)
        self.access = Access()
        self.faults = FaultPlan()
        self.requests: deque[LoggedRequest] = deque(maxlen=LOG_LENGTH)
        self.counts: Counter[tuple[str, str]] = Counter()  # (verb, plural) -> requests
        self.factory = HttpFactory(reactor, self._answer)
        self.port = 0  # the port listened on, once started
        self._reactor = reactor
        self._listening: Any = None
        self._interface = ""
        self._tls: ServerContext | None = None
        self._streams: list[WatchStream] = []
        self._bulk: Bulk | None = None
        self._churns = 0
        self.cluster.store.subscribe(self._changed)
        if options.boot:
            self.cluster.boot(reactor.seconds())
        if not options.multicluster:
            self.cluster.hidden.add(SERVICE_IMPORTS)

    # Listening

    def start(self, port: int = 0, tls: bool = False, interface: str = "127.0.0.1") -> None:
        """Listen. Port 0 takes a free one; a later start after an outage takes the same again."""
        if tls and self._tls is None:
            self._tls = ServerContext(Authority())
        self._interface = interface
        if self._tls is not None:
            self._listening = self._reactor.listenSSL(port, self.factory, self._tls, interface=interface)
        else:
            self._listening = self._reactor.listenTCP(port, self.factory, interface=interface)
        self.port = self._listening.getHost().port

    def stop(self) -> Deferred[None]:
        """Stop listening and cut all connections; fires when nothing is left in the reactor."""
        waiting: list[Deferred[Any]] = [connection.closed for connection in self.factory.connections]
        if self._listening is not None:
            waiting.append(maybeDeferred(self._listening.stopListening))
            self._listening = None
        for connection in list(self.factory.connections):
            connection.abort()
        return DeferredList(waiting).addCallback(lambda _: None)

    def begin_outage(self) -> Deferred[None]:
        """Be gone: connections are cut, new ones refused."""
        return self.stop()

    def end_outage(self) -> None:
        """Be back at the same port, with the same objects."""
        self.start(self.port, interface=self._interface)

    @property
    def url(self) -> str:
        """Where the server is, without a path."""
        host = f"[{self._interface}]" if ":" in self._interface else self._interface
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}"

    # Objects

    @property
    def version(self) -> int:
        """The resource version of the whole."""
        return self.cluster.store.version

    def apply(self, obj: Json) -> Json:
        """Create or replace an object, status included; returns what is stored."""
        return self.cluster.apply(obj, self._reactor.seconds()).decode()

    def load(self, text: str) -> list[Json]:
        """Apply all documents of a YAML text."""
        return [entry.decode() for entry in self.cluster.load(text, self._reactor.seconds())]

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object by kind, plural or short name; *namespace* is empty for a Namespace."""
        self.cluster.delete_kind(kind, namespace, name, self._reactor.seconds())

    def get(self, kind: str, namespace: str, name: str) -> Json:
        """An object as it is stored."""
        return self.cluster.store.get(_known(kind), (namespace, name)).decode()

    def objects(self, kind: str, namespace: str = "") -> list[Json]:
        """All objects of a kind, of one namespace or of all."""
        return [entry.decode() for entry in self.cluster.store.snapshot(_known(kind), namespace=namespace)]

    def compact(self) -> None:
        """Forget the history: watches and continue tokens from older versions get 410."""
        self.cluster.store.compact()

    def populate(
        self,
        services: int = 10_000,
        slices: int = 10_000,
        endpoints: int = 5,
        namespaces: int = 50,
        pods: int = 0,
    ) -> None:
        """Make many realistic objects."""
        self._bulk = Bulk(services, slices, endpoints, namespaces, pods)
        populate(self.cluster, self._bulk, self._reactor.seconds())

    def churn(self, changes: int) -> None:
        """Change the endpoints of so many of the populated slices, drawn at random."""
        if self._bulk is None:
            raise ValueError("nothing has been populated")
        self._churns += 1
        churn(self.cluster, self._bulk, changes, self.rng, self._reactor.seconds(), self._churns)

    # Faults

    def inject(
        self, kind: FaultKind, resource: str = "", verb: str = "", times: int | None = 1, **details: Any
    ) -> Fault:
        """Let a fault strike the next requests; see Fault for the details. Returned for clear_faults."""
        fault = Fault(kind, resource, verb, times, **details)
        self.faults.add(fault)
        return fault

    def clear_faults(self, fault: Fault | None = None) -> None:
        """Take back one fault, or all; what has struck a connection stays with it."""
        self.faults.clear(fault)

    def disturb(self, kind: FaultKind, resource: str = "", **details: Any) -> int:
        """Let a fault strike the watches that are open now; returns how many."""
        fault = Fault(kind, resource, "watch", **details)
        struck = self._watches(resource)
        for stream in struck:
            stream.suffer(fault)
        return len(struck)

    # Looking on

    def open_watches(self, resource: str = "") -> int:
        """How many watches are open, of one resource (plural) or of all."""
        return len(self._watches(resource))

    def lag(self, resource: str = "") -> int:
        """How many versions the slowest open watch is behind the store."""
        return max((self.version - stream.watch.position for stream in self._watches(resource)), default=0)

    def requests_for(self, verb: str, resource: str) -> list[LoggedRequest]:
        """The requests remembered for a verb and a resource (plural), oldest first."""
        return [request for request in self.requests if (request.verb, request.resource) == (verb, resource)]

    def _watches(self, resource: str) -> list[WatchStream]:
        return [s for s in self._streams if resource in ("", s.watch.filter.resource.plural)]

    # Credentials

    @property
    def authority(self) -> Authority:
        """The certificate authority; the server must have been started with TLS."""
        return self._tls_context().authority

    def rotate_certificate(self, names: tuple[str, ...] = SERVER_NAMES) -> None:
        """Show a new certificate of the same authority."""
        self.show_certificate(self.authority.server(*names))

    def show_certificate(self, identity: Identity) -> None:
        """Show this certificate from the next connection on."""
        self._tls_context().use(identity)

    def rotate_authority(self, new: Authority | None = None) -> Authority:
        """
        Replace the authority and the certificate; whoever trusts the old one is locked out.

        :param new: for instance one that has expired; None: a fresh one.
        :return: the old one.
        """
        context = self._tls_context()
        old, context.authority = context.authority, new or Authority()
        context.use(context.authority.server(*SERVER_NAMES))
        return old

    def client_certificate(self, user: str, groups: tuple[str, ...] = ()) -> Identity:
        """A client certificate; admit the user in ``access.certificates`` for it to be of use."""
        return self.authority.client(user, groups)

    def kubeconfig(self, path: Path, login: Login | None = None, trust: bytes | None = None) -> Path:
        """Write a kubeconfig for this server; *trust* is the PEM of another authority than its own."""
        if trust is None and self._tls is not None:
            trust = self._tls.authority.certificate_pem
        return write_kubeconfig(path, self.url, trust, login or Login())

    def in_cluster(self, folder: Path, token: str, namespace: str = "kube-system") -> InCluster:
        """Write the files a pod would find; pods speak TLS, so the server must."""
        files = InCluster(folder, self._interface, self.port)
        files.write(token, self.authority.certificate_pem, namespace)
        return files

    def _tls_context(self) -> ServerContext:
        if self._tls is None:
            raise ValueError("the server was not started with TLS")
        return self._tls

    # Answering

    def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        place = self.rest.place(request)
        verb = verb_of(request, place)
        plural = place.resource.plural if place else ""
        headers = {name: request.headers[name] for name in _HEADERS_OF_INTEREST if name in request.headers}
        logged = LoggedRequest(
            self._reactor.seconds(), request.method, request.path, request.query, headers, verb, plural
        )
        self.requests.append(logged)
        self.counts[verb, plural] += 1
        faults = self.faults.take(verb, plural)
        delay = 0.0
        for fault in faults:
            if fault.kind is FaultKind.HANG:
                return
            if fault.kind is FaultKind.DELAY:
                delay += fault.seconds
        if delay:
            self._later(exchange, delay, lambda: self._respond(exchange, place, logged, faults))
        else:
            self._respond(exchange, place, logged, faults)

    def _respond(
        self, exchange: Exchange, place: Place | None, logged: LoggedRequest, faults: tuple[Fault, ...]
    ) -> None:
        for fault in faults:
            if fault.kind in BREAKING and not _later_on(fault):
                exchange.breaks(fault.kind)
                return
        try:
            self._admit(exchange, place, logged.verb)
            stale: int | None = None
            for fault in faults:
                if fault.kind is FaultKind.STATUS and fault.after_lines is None:
                    raise ApiError(fault.code, fault.message, retry_after=fault.retry_after)
                if fault.kind is FaultKind.STALE:
                    stale = fault.version
            outcome = self.rest.answer(exchange.request, self._reactor.seconds(), stale)
        except ApiError as problem:
            outcome = refusal(problem)
        except Exception:
            self._log.failure("while answering {method} {path}", method=logged.method, path=logged.path)
            outcome = refusal(ApiError(500, "the fake server has failed"))
        if isinstance(outcome, WaitOrder):
            self._wait(exchange, place, logged, faults, outcome)
            return
        for fault in faults:
            exchange.trouble(fault)
        if isinstance(outcome, WatchOrder):
            logged.code = 200
            self._stream(exchange, outcome, faults)
        else:
            logged.code = outcome.code
            self._reply(exchange, outcome, faults)

    def _admit(self, exchange: Exchange, place: Place | None, verb: str) -> None:
        request = exchange.request
        user = self.access.authenticate(request.headers.get("authorization", ""), exchange.common_name)
        if place is None:
            check_path(user, verb, request.path)
        else:
            check_resource(user, verb, place)

    def _reply(self, exchange: Exchange, reply: Reply, faults: tuple[Fault, ...]) -> None:
        body = reply.body
        if any(fault.kind is FaultKind.CORRUPT for fault in faults):
            body = corrupted(body)
        exchange.head(reply.code, reply.content_type, len(body), reply.headers)
        exchange.write(body)
        exchange.finish()

    def _stream(self, exchange: Exchange, order: WatchOrder, faults: tuple[Fault, ...]) -> None:
        timeout = order.timeout or self.options.watch_timeout * self.rng.uniform(1.0, 2.0)
        stream = WatchStream(exchange, order, self._reactor, timeout, self.options.bookmark_interval)
        for fault in faults:
            stream.trouble.add(fault)
        self._streams.append(stream)
        exchange.on_end.append(lambda: self._streams.remove(stream))
        stream.start()

    def _changed(self, resource: Resource) -> None:
        for stream in list(self._streams):
            if stream.watch.filter.resource is resource:
                stream.pump()

    def _wait(
        self,
        exchange: Exchange,
        place: Place | None,
        logged: LoggedRequest,
        faults: tuple[Fault, ...],
        order: WaitOrder,
    ) -> None:
        """Answer when the store has reached the version, or refuse when it does not in time."""

        def give_up() -> None:
            unsubscribe()
            logged.code = 504
            problem = too_large_version(order.version, min(order.current, self.version))
            self._reply(exchange, refusal(problem), faults)

        def look(_: Resource) -> None:
            if self.version >= order.version and not any(fault.kind is FaultKind.STALE for fault in faults):
                unsubscribe()
                cancel()
                self._respond(exchange, place, logged, faults)

        unsubscribe = self.cluster.store.subscribe(look)
        exchange.on_end.append(unsubscribe)
        cancel = self._later(exchange, self.options.freshness_wait, give_up)

    def _later(self, exchange: Exchange, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        """Call later, unless the exchange is over by then; returns what calls it off."""

        def due() -> None:
            timers.clear()
            call()

        def cancel() -> None:
            while timers:
                timers.pop().cancel()

        timers = [self._reactor.callLater(seconds, due)]

        exchange.on_end.append(cancel)
        return cancel


def _later_on(fault: Fault) -> bool:
    """Whether a breaking fault lets a part of the answer through."""
    return fault.after_bytes is not None or fault.after_lines is not None or fault.mid_line


def _known(kind: str) -> Resource:
    resource = by_kind(kind)
    if resource is None:
        raise bad_request(f"no kind {kind!r} here")
    return resource
