# -*- test-case-name: tests.cluster.test_api -*-
"""
Requests to the API server: pages of lists, and watches.

Each request waits for the rate limit and is sent with the current credentials. It fails with a :class:`WatchProblem` that tells the
operator what to do. When the server refuses the credentials, they are read again; if they have changed, the request is repeated once.
When to send a request and what to do with the response is decided in reflector.py.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError, succeed
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.python.failure import Failure
from twisted.web.client import Agent
from twisted.web.http_headers import Headers

from kdns import __version__
from kdns.cluster import projection
from kdns.cluster.bodies import LineStream, Overlong, StreamProblem, WholeBody
from kdns.cluster.connections import Connection, Connections, tls_reason
from kdns.cluster.credentials import Access, Credentials, CredentialsError
from kdns.cluster.pacing import Limiter
from kdns.cluster.resources import Watched, probe_options
from kdns.core.metrics import Registry
from kdns.core.timing import Clock
from kdns.core.tls_identity import CertificateRefused


class WatchProblem(Exception):
    """
    A request that failed, or a stream that broke.

    :ivar watched: what it was about.
    :ivar verb: ``list`` or ``watch``.
    :ivar retry_after: seconds that the server asks to wait, when it does.
    """

    def __init__(self, watched: Watched, verb: str, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.watched = watched
        self.verb = verb
        self.retry_after = retry_after

    @property
    def cause(self) -> str:
        """The label of this failure in ``kdns_kubernetes_watch_errors_total``."""
        return "broken"


class ApiRefusal(WatchProblem):
    """An HTTP status other than 200, or an ERROR event."""

    def __init__(
        self, watched: Watched, verb: str, status: int, reason: str, message: str, retry_after: float | None = None
    ) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        super().__init__(watched, verb, _text(watched, verb, status, reason, message), retry_after)

    @property
    def cause(self) -> str:
        return str(self.status)

    @property
    def expired(self) -> bool:
        """Whether the version or the continue token is too old."""
        return self.status == 410 or self.reason in ("Expired", "Gone")

    @property
    def refuses_lists_too(self) -> bool:
        """Whether the server would refuse a list in pages for the same reason: no permission, or load."""
        return self.status in (401, 403, 429) or self.expired

    @property
    def too_large(self) -> bool:
        """Whether the server does not know the version yet."""
        return self.status == 504


def _text(watched: Watched, verb: str, status: int, reason: str, message: str) -> str:
    said = f"{message or reason or 'no reason given'}"
    if status == 401:
        return f"the API server refuses the credentials of kdns (401 {said}): the token or certificate is wrong or has ended"
    if status == 403:
        where = f' of API group "{watched.group}"' if watched.group else ""
        return f'{said} (403): kdns needs the verb "{verb}" on resource "{watched.plural}"{where}'
    if status == 404 and watched.group:
        return f"{said} (404): the cluster does not serve {watched.plural} of {watched.root.removeprefix('/apis/')}"
    return f"{said} ({status})"


class Unreachable(WatchProblem):
    """No response: the connection or the handshake failed, or timed out."""

    def __init__(self, watched: Watched, verb: str, text: str, tls: bool = False) -> None:
        super().__init__(watched, verb, text)
        self.tls = tls
        """Whether the two did not trust each other."""

    @property
    def cause(self) -> str:
        return "tls" if self.tls else "unreachable"


class NoCredentials(WatchProblem):
    """No usable credentials: a program failed, or a file is unusable."""

    @property
    def cause(self) -> str:
        return "credentials"


BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds."""


class RequestMetrics:
    """Metrics of the requests to the API server, by the names that dashboards know; every request is a GET."""

    def __init__(self, registry: Registry) -> None:
        self._durations = registry.histogram(
            "coredns_kubernetes_rest_client_request_duration_seconds",
            "Seconds until the API server answered, by verb and host; for a watch until it began.",
            BUCKETS,
            ("verb", "host"),
        )
        self._waits = registry.histogram(
            "coredns_kubernetes_rest_client_rate_limiter_duration_seconds",
            "Seconds that a request waited for apiserver_qps, apiserver_burst and apiserver_max_inflight, by verb and host.",
            BUCKETS,
            ("verb", "host"),
        )
        self._requests = registry.counter(
            "coredns_kubernetes_rest_client_requests_total",
            "Requests to the API server, by status code, method and host.",
            ("code", "method", "host"),
        )

    def waited(self, host: str, seconds: float) -> None:
        self._waits.histogram("GET", host).observe(seconds)

    def answered(self, host: str, code: int, seconds: float) -> None:
        """A request ended; code 0: without a response."""
        self._requests.counter(str(code) if code else "<error>", "GET", host).inc()
        self._durations.histogram("GET", host).observe(seconds)


ANSWER_PATIENCE = 30.0
"""Seconds from a request to the head of its answer, connecting included; a server under load queues requests for some seconds."""

PROBE_PATIENCE = 10.0
"""Seconds for the answer to a question that the API server answers from memory; its watch lasts a second of them."""

REFUSAL_LIMIT = 64 << 10
"""Bytes of the body of a refusal that are read."""

JSON = b"application/json"
VERSIONS_ONLY = b"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""For a list of names and versions only; a server that does not support it sends whole objects."""


@dataclass(frozen=True, slots=True)
class _ApiRequest:
    watched: Watched
    verb: str
    uri: str
    accept: bytes = JSON
    patience: float = ANSWER_PATIENCE
    """Seconds until the head of the answer, and between two pieces of its body."""


T = TypeVar("T")
Send: TypeAlias = Callable[[_ApiRequest, Access, Connections], Coroutine[Any, Any, T]]


class WatchStream:
    """
    A watch that the server accepted. :meth:`read` it once; the caller must :meth:`close` it.

    :ivar work: called with each line; it may be replaced while the watch runs.
    :ivar ended: whether the stream is over; *failure* then says why, None if it ended in order.
    """

    stream: LineStream

    def __init__(self, response: Any, connections: Connections, connection: Connection, clock: Clock) -> None:
        self.began = 0.0
        self.ended = False
        self._reading = False
        self.failure: BaseException | None = None
        self._response = response
        self._connections = connections
        self._connection = connection
        self._clock = clock
        self._news: Deferred[None] | None = None

    def read(self, work: Callable[[bytes | Overlong], None], patience: float) -> None:
        """Begin to read; the first lines may be processed before this returns. *patience*: see :class:`LineStream`."""
        self.work = work
        self._reading = True
        self.began = self._clock.seconds()
        self.stream = LineStream(self._clock, self._line, patience)
        self.stream.done.addBoth(self._end)
        self._response.deliverBody(self.stream)

    def _line(self, line: bytes | Overlong) -> None:
        self.work(line)

    def _end(self, result: Failure | None) -> None:
        self.ended = True
        if isinstance(result, Failure) and not result.check(CancelledError):
            self.failure = result.value
        self.notify()

    async def news(self) -> None:
        """Wait until :meth:`notify` is called or the stream ends."""
        if self.ended:
            return
        self._news = Deferred()
        try:
            await self._news
        finally:
            self._news = None

    def notify(self) -> None:
        """Wake the coroutine in :meth:`news`."""
        waiting, self._news = self._news, None
        if waiting is not None:
            waiting.callback(None)

    def close(self) -> None:
        """Stop reading and cut the connection; a second time does nothing."""
        if self._reading and not self.ended:
            self.stream.done.cancel()
        self._connections.forget(self._connection)


class ApiClient:
    """
    Make requests.

    :param reactor: Twisted's, or one of :mod:`kdns.testing`.
    """

    def __init__(self, reactor: Any, credentials: Credentials, limiter: Limiter, registry: Registry) -> None:
        self._reactor = reactor
        self._credentials = credentials
        self._limiter = limiter
        self._metrics = RequestMetrics(registry)
        self._connections: Connections | None = None
        self._retired: list[Connections] = []
        self._headers = {b"User-Agent": [f"kdns/{__version__}".encode()]}

    async def page(
        self, watched: Watched, options: Mapping[str, str], *, fields: str = "", partial: bool = False
    ) -> bytes:
        """
        A page of a list.

        :param fields: a field selector besides that of *watched*.
        :param partial: names and versions are enough.
        :raises WatchProblem: there is none.
        """
        request = _ApiRequest(watched, "list", watched.uri(options, fields), VERSIONS_ONLY if partial else JSON)
        return await self._ask(request, self._whole)

    async def watch(self, watched: Watched, options: Mapping[str, str]) -> WatchStream:
        """
        Begin a watch, on a connection of its own.

        :raises WatchProblem: the server does not let us.
        """
        return await self._ask(_ApiRequest(watched, "watch", watched.uri(options)), self._open)

    async def changes_since(self, watched: Watched, version: str) -> bytes:
        """
        The lines of a watch of one second, sent on a pooled connection: empty when nothing has changed since *version*.

        :raises WatchProblem: the server refuses, or does not answer within :data:`PROBE_PATIENCE`.
        """
        request = _ApiRequest(watched, "watch", watched.uri(probe_options(version)), patience=PROBE_PATIENCE)
        return await self._ask(request, self._whole)

    def stop(self) -> Deferred[Any]:
        """Cut all connections; fires when nothing is left in the reactor. Cancel the requests in flight first."""
        self._credentials.stop()
        current, self._connections = self._connections, None
        retired, self._retired = self._retired, []
        all_of_them = [*retired, current] if current is not None else retired
        return DeferredList([connections.stop() for connections in all_of_them]) if all_of_them else succeed(None)

    async def _ask(self, request: _ApiRequest, send: Send[T]) -> T:
        access = await self._access(request)
        try:
            return await self._request(request, access, send)
        except (ApiRefusal, Unreachable) as problem:
            distrust = problem.status == 401 if isinstance(problem, ApiRefusal) else problem.tls
            if not distrust:
                raise
            # The token may have been replaced a moment ago, or the authority of the server.
            self._credentials.refused(access)
            renewed = await self._access(request)
            if renewed == access:
                raise
            return await self._request(request, renewed, send)

    async def _access(self, request: _ApiRequest) -> Access:
        try:
            found = self._credentials.current(self._reactor.seconds())
            return await found if isinstance(found, Deferred) else found
        except CredentialsError as problem:
            raise NoCredentials(request.watched, request.verb, str(problem)) from None

    async def _request(self, request: _ApiRequest, access: Access, send: Send[T]) -> T:
        try:
            connections = self._connections_for(access)
        except CredentialsError as problem:
            raise NoCredentials(request.watched, request.verb, str(problem)) from None
        permit = await self._limiter.acquire()
        self._metrics.waited(access.server.authority, permit.waited)
        try:
            return await send(request, access, connections)
        finally:
            permit.release()

    async def _whole(self, request: _ApiRequest, access: Access, connections: Connections) -> bytes:
        """Fetch a body, on a pooled connection."""
        response = await self._head(request, access, connections.lists)
        if response.code != 200:
            raise await self._refusal(request, response)
        body = WholeBody(self._reactor, patience=request.patience)
        response.deliverBody(body)
        try:
            return await body.done
        except StreamProblem as problem:
            raise Unreachable(request.watched, request.verb, f"{access.server.url}: {problem}") from None

    async def _open(self, request: _ApiRequest, access: Access, connections: Connections) -> WatchStream:
        """Begin a watch on a connection of its own."""
        connection = connections.for_watch()
        try:
            response = await self._head(request, access, connection.agent)
            if response.code != 200:
                raise await self._refusal(request, response)
        except BaseException:
            connections.forget(connection)
            raise
        return WatchStream(response, connections, connection, self._reactor)

    async def _head(self, request: _ApiRequest, access: Access, agent: Agent) -> Any:
        """Send the request and wait for the head of the response."""
        server = access.server
        headers = {**self._headers, b"Accept": [request.accept]}
        if access.authorization:
            headers[b"Authorization"] = [access.authorization]
        began = self._reactor.seconds()
        sending: Any = agent.request(b"GET", f"{server.url}{request.uri}".encode("ascii"), Headers(headers))
        code = 0
        try:
            response = await sending.addTimeout(request.patience, self._reactor)
            code = response.code
        except Exception as problem:  # Agent fails with whatever the transport or TLS failed with
            cause = _innermost(problem)
            if isinstance(cause, CancelledError | TimeoutError):
                # Agent wraps a cancellation at some stages, so its origin cannot be seen.
                if self._reactor.seconds() - began < request.patience:
                    raise CancelledError from None
                text = f"{server.url}: no answer in {request.patience:.0f} seconds"
                raise Unreachable(request.watched, request.verb, text) from None
            raise _unreachable(request, access, cause) from None
        finally:
            self._metrics.answered(server.authority, code, self._reactor.seconds() - began)
        return response

    async def _refusal(self, request: _ApiRequest, response: Any) -> WatchProblem:
        body = WholeBody(self._reactor, REFUSAL_LIMIT, patience=5.0)
        response.deliverBody(body)
        try:
            status = projection.failure(await body.done)
        except StreamProblem:
            status = projection.Failure(0, "", "")
        message = status.message if status.code else response.phrase.decode("latin-1")
        after = _retry_after(response.headers.getRawHeaders(b"retry-after"))
        if after is None and status.retry_after is not None:
            after = float(status.retry_after)
        return ApiRefusal(request.watched, request.verb, response.code, status.reason, message, after)

    def _connections_for(self, access: Access) -> Connections:
        known = self._connections
        if known is not None and (known.server, known.trust) == (access.server, access.trust):
            return known
        made = Connections(self._reactor, access.server, access.trust)
        if known is not None:
            # Watches that run on the old ones are fine: the server has trusted us, and we it, when they began.
            known.retire()
            self._retired = [*self._retired[-4:], known]
        self._connections = made
        return made


def _retry_after(values: list[bytes] | None) -> float | None:
    """Seconds of a Retry-After header. The form with a date is ignored; API servers do not use it."""
    text = values[0].strip() if values else b""
    return float(text) if text.isdigit() and len(text) < 10 else None


def _innermost(problem: BaseException) -> BaseException:
    """Unwrap the lists that twisted.web puts failures in."""
    while getattr(problem, "reasons", None):
        first: Any = problem.reasons[0]  # type: ignore[attr-defined]  # of the wrapping errors
        problem = first.value
    return problem


def _unreachable(request: _ApiRequest, access: Access, problem: BaseException) -> Unreachable:
    """Turn an error of Twisted or OpenSSL into a message for the operator."""
    where = access.server.url
    name = type(problem).__name__
    if isinstance(problem, SSL.Error):
        reason = tls_reason(problem)
        if "verify failed" in reason:
            trusted = access.trust.authority_from or "the authorities of the system"
            reason += f": the server's certificate is not signed by one of {trusted}, or has ended"
        return Unreachable(request.watched, request.verb, f"{where}: TLS: {reason}", tls=True)
    if isinstance(problem, CertificateRefused):
        return Unreachable(request.watched, request.verb, f"{where}: TLS: {problem}", tls=True)
    if isinstance(problem, DNSLookupError):
        return Unreachable(request.watched, request.verb, f"{where}: no address is known for {access.server.host}")
    text = " ".join(str(problem).split())[:200] or name
    if isinstance(problem, ConnectError):
        return Unreachable(request.watched, request.verb, f"{where}: no connection: {text}")
    return Unreachable(request.watched, request.verb, f"{where}: no answer: {text}")
