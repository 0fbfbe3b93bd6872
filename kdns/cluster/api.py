# -*- test-case-name: tests.cluster.test_api -*-
"""
Asking the API server: pages of lists, and watches.

Each request takes its turn with the limiter, shows the credentials of now, and fails with a :class:`~kdns.cluster.api_errors.WatchProblem`
that says what to do about it. Credentials that are refused are read anew, and when they are others than before the request is made
once more at once. When to ask, and what to make of the answer, is reflector.py's business.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError, succeed
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.web.client import Agent
from twisted.web.http_headers import Headers

from kdns import __version__
from kdns.cluster import projection
from kdns.cluster.api_errors import ApiRefusal, NoCredentials, Unreachable, WatchProblem
from kdns.cluster.api_metrics import RequestMetrics
from kdns.cluster.bodies import StreamProblem, WholeBody
from kdns.cluster.connections import Connection, Connections
from kdns.cluster.credentials import Access, Credentials, CredentialsError
from kdns.cluster.limiter import Limiter
from kdns.cluster.tls import tls_reason
from kdns.cluster.watched import Watched, probe_options
from kdns.core.metrics import Registry
from kdns.core.tls_identity import CertificateRefused

ANSWER_PATIENCE = 30.0
"""Seconds from a request to the head of its answer, connecting included; a server under load queues requests for some seconds."""

PROBE_PATIENCE = 10.0
"""Seconds for the answer to a question that the API server answers from memory; its watch lasts a second of them."""

REFUSAL_LIMIT = 64 << 10
"""Bytes of the body of a refusal that are read."""

JSON = b"application/json"
VERSIONS_ONLY = b"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""For a list of which only names and versions are wanted; a server that cannot do that sends whole objects."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A request."""

    watched: Watched
    verb: str
    uri: str
    accept: bytes = JSON
    patience: float = ANSWER_PATIENCE
    """Seconds until the head of the answer, and between two pieces of its body."""


T = TypeVar("T")
Send: TypeAlias = Callable[[_Question, Access, Connections], Coroutine[Any, Any, T]]


class OpenWatch:
    """A watch that the server has accepted; :meth:`close` is due whatever happens."""

    def __init__(self, response: Any, connections: Connections, connection: Connection) -> None:
        self._response = response
        self._connections = connections
        self._connection = connection

    def deliver(self, stream: Any) -> None:
        """Give the body to a protocol; only once."""
        self._response.deliverBody(stream)

    def close(self) -> None:
        """Cut the connection; a second time does nothing."""
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
        asked = _Question(watched, "list", watched.uri(options, fields), VERSIONS_ONLY if partial else JSON)
        return await self._ask(asked, self._whole)

    async def watch(self, watched: Watched, options: Mapping[str, str]) -> OpenWatch:
        """
        Begin a watch, on a connection of its own.

        :raises WatchProblem: the server does not let us.
        """
        return await self._ask(_Question(watched, "watch", watched.uri(options)), self._open)

    async def changes_since(self, watched: Watched, version: str) -> bytes:
        """
        The lines of a watch that lasts a second, asked for on a connection of the lists: empty when nothing has changed since *version*.

        :raises WatchProblem: the server refuses, or does not answer within :data:`PROBE_PATIENCE`.
        """
        asked = _Question(watched, "watch", watched.uri(probe_options(version)), patience=PROBE_PATIENCE)
        return await self._ask(asked, self._whole)

    def stop(self) -> Deferred[Any]:
        """Cut all connections; fires when nothing is left. Requests that are under way are to be cancelled before."""
        self._credentials.stop()
        current, self._connections = self._connections, None
        retired, self._retired = self._retired, []
        all_of_them = [*retired, current] if current is not None else retired
        return DeferredList([connections.stop() for connections in all_of_them]) if all_of_them else succeed(None)

    async def _ask(self, asked: _Question, send: Send[T]) -> T:
        access = await self._access(asked)
        try:
            return await self._request(asked, access, send)
        except (ApiRefusal, Unreachable) as problem:
            distrust = problem.status == 401 if isinstance(problem, ApiRefusal) else problem.tls
            if not distrust:
                raise
            # The token may have been replaced a moment ago, or the authority of the server.
            self._credentials.refused(access)
            renewed = await self._access(asked)
            if renewed == access:
                raise
            return await self._request(asked, renewed, send)

    async def _access(self, asked: _Question) -> Access:
        try:
            found = self._credentials.current(self._reactor.seconds())
            return await found if isinstance(found, Deferred) else found
        except CredentialsError as problem:
            raise NoCredentials(asked.watched, asked.verb, str(problem)) from None

    async def _request(self, asked: _Question, access: Access, send: Send[T]) -> T:
        try:
            connections = self._connections_for(access)
        except CredentialsError as problem:
            raise NoCredentials(asked.watched, asked.verb, str(problem)) from None
        permit = await self._limiter.acquire()
        self._metrics.waited(access.server.authority, permit.waited)
        try:
            return await send(asked, access, connections)
        finally:
            permit.release()

    async def _whole(self, asked: _Question, access: Access, connections: Connections) -> bytes:
        """The body of an answer, on a connection of the pool."""
        response = await self._head(asked, access, connections.lists)
        if response.code != 200:
            raise await self._refusal(asked, response)
        body = WholeBody(self._reactor, patience=asked.patience)
        response.deliverBody(body)
        try:
            return await body.done
        except StreamProblem as problem:
            raise Unreachable(asked.watched, asked.verb, f"{access.server.url}: {problem}") from None

    async def _open(self, asked: _Question, access: Access, connections: Connections) -> OpenWatch:
        """A watch that was accepted, on a connection of its own."""
        connection = connections.for_watch()
        try:
            response = await self._head(asked, access, connection.agent)
            if response.code != 200:
                raise await self._refusal(asked, response)
        except BaseException:
            connections.forget(connection)
            raise
        return OpenWatch(response, connections, connection)

    async def _head(self, asked: _Question, access: Access, agent: Agent) -> Any:
        """The response once its head is there."""
        server = access.server
        headers = {**self._headers, b"Accept": [asked.accept]}
        if access.authorization:
            headers[b"Authorization"] = [access.authorization]
        began = self._reactor.seconds()
        request: Any = agent.request(b"GET", f"{server.url}{asked.uri}".encode("ascii"), Headers(headers))
        code = 0
        try:
            response = await request.addTimeout(asked.patience, self._reactor)
            code = response.code
        except Exception as problem:  # Agent fails with whatever the transport or TLS failed with
            cause = _innermost(problem)
            if isinstance(cause, CancelledError | TimeoutError):
                # Agent wraps a cancellation at some stages, so that one cannot see who it came from.
                if self._reactor.seconds() - began < asked.patience:
                    raise CancelledError from None
                text = f"{server.url}: no answer in {asked.patience:.0f} seconds"
                raise Unreachable(asked.watched, asked.verb, text) from None
            raise _unreachable(asked, access, cause) from None
        finally:
            self._metrics.answered(server.authority, code, self._reactor.seconds() - began)
        return response

    async def _refusal(self, asked: _Question, response: Any) -> WatchProblem:
        """Why the server refused."""
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
        return ApiRefusal(asked.watched, asked.verb, response.code, status.reason, message, after)

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
    """Seconds of a Retry-After header; the form with a date is not used by API servers and ignored."""
    text = values[0].strip() if values else b""
    return float(text) if text.isdigit() and len(text) < 10 else None


def _innermost(problem: BaseException) -> BaseException:
    """The cause: twisted.web wraps failures in lists."""
    while getattr(problem, "reasons", None):
        first: Any = problem.reasons[0]  # type: ignore[attr-defined]  # of the wrapping errors
        problem = first.value
    return problem


def _unreachable(asked: _Question, access: Access, problem: BaseException) -> Unreachable:
    """Tell the operator what failed, from what Twisted and OpenSSL say."""
    where = access.server.url
    name = type(problem).__name__
    if isinstance(problem, SSL.Error):
        reason = tls_reason(problem)
        if "verify failed" in reason:
            trusted = access.trust.authority_from or "the authorities of the system"
            reason += f": the server's certificate is not signed by one of {trusted}, or has ended"
        return Unreachable(asked.watched, asked.verb, f"{where}: TLS: {reason}", tls=True)
    if isinstance(problem, CertificateRefused):
        return Unreachable(asked.watched, asked.verb, f"{where}: TLS: {problem}", tls=True)
    if isinstance(problem, DNSLookupError):
        return Unreachable(asked.watched, asked.verb, f"{where}: no address is known for {access.server.host}")
    text = " ".join(str(problem).split())[:200] or name
    if isinstance(problem, ConnectError):
        return Unreachable(asked.watched, asked.verb, f"{where}: no connection: {text}")
    return Unreachable(asked.watched, asked.verb, f"{where}: no answer: {text}")
