# -*- test-case-name: tests.plugins.stores.test_rest -*-
"""
Ask a store over HTTP/1.1: whole answers on pooled connections, and bodies that are read line by line while they come.

Certificates are always verified, by the system's authorities or by those of the configuration. Files of certificates are read again each
minute, so that renewed ones are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore, TimeoutError, succeed
from twisted.web.client import Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from kdns import __version__
from kdns.cluster.bodies import BODY_LIMIT, LineStream, Overlong, StreamProblem, WholeBody
from kdns.cluster.connections import Connection, Connections, tls_reason
from kdns.cluster.credentials import CredentialsError, Server, Trust, read_file
from kdns.core.text import printable
from kdns.core.tls_identity import CertificateRefused

PATIENCE = 10.0
"""Seconds from a request to the head of its answer, and between two pieces of its body."""

MOST_AT_ONCE = 8
"""Requests under way from one client; more of them wait."""

REREAD = 60.0
"""Seconds after which files of certificates are read again."""

MOST_REASON = 200
"""Characters of an error of the other end that are shown."""


class StoreProblem(Exception):
    """The store has not done what it was asked; the text is for the operator."""


class Refusal(StoreProblem):
    """The store answered with another status than was wanted."""

    def __init__(self, where: str, status: int, body: bytes, retry_after: float | None = None) -> None:
        self.status = status
        self.body = body
        self.retry_after = retry_after
        """Seconds after which the store wants to be asked again."""

        super().__init__(f"{where}: status {status}: {short(body) or 'no reason'}")


class Reply(NamedTuple):
    """An answer with status 200."""

    body: bytes
    header: Callable[[str], str]
    """The value of a header by its name; empty when there is none."""


def short(text: bytes | str) -> str:
    """Words of the other end on one line, with nothing that a terminal would obey."""
    if isinstance(text, bytes):
        text = text[: 4 * MOST_REASON].decode("utf-8", "replace")
    return printable(" ".join(text.split())[:MOST_REASON])


@dataclass(frozen=True, slots=True)
class TrustFiles:
    """Paths of PEM files: whose certificates are trusted, and the client's own certificate; empty for none."""

    certificate: str = ""
    key: str = ""
    authority: str = ""

    def read(self) -> Trust:
        """
        Their content.

        :raises CredentialsError: a file cannot be read.
        """
        own = (read_file(self.certificate), read_file(self.key)) if self.certificate else (b"", b"")
        authority = read_file(self.authority) if self.authority else None
        return Trust(authority, *own, authority_from=self.authority)


NO_FILES = TrustFiles()
"""The system's authorities, and no certificate of our own."""


def server_of(url: str) -> Server:
    """
    The server of an ``http``, ``https`` or ``unix`` URL; the path of a socket is its prefix.

    :raises ValueError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix" and parts.path:
        return Server("unix", "localhost", 0, parts.path)
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.netloc.isascii():
        raise ValueError(f"{short(url)!r} is no URL of http:// or https://")
    return Server(parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))


def url_of(base: str, path: str) -> str:
    """The URL of a path with its query at a server; below ``unix:`` it stands behind a question mark."""
    return f"{base}?{path}" if base.startswith("unix:") else f"{base.rstrip('/')}{path}"


class RestClient:
    """
    Make requests.

    :param reactor: Twisted's, or one of :mod:`kdns.testing`.
    :param files: certificates for ``https``.
    """

    def __init__(self, reactor: Any, files: TrustFiles | None = None) -> None:
        self._reactor = reactor
        self._files = files
        self._trust: Trust | None = None
        self._read_at = 0.0
        self._connections: dict[Server, Connections] = {}
        self._turns = DeferredSemaphore(MOST_AT_ONCE)

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        patience: float = PATIENCE,
        limit: int = BODY_LIMIT,
    ) -> Reply:
        """
        Send a request and read its answer.

        :param patience: seconds until the head of the answer.
        :param limit: the most bytes of the body.
        :raises StoreProblem: there is no answer with status 200.
        """
        await self._turns.acquire()
        try:
            connections = self._connections_for(url)
            response = await self._head(connections.lists, method, url, headers, body, patience)
            content = WholeBody(self._reactor, limit, patience)
            response.deliverBody(content)
            try:
                data = await content.done
            except StreamProblem as problem:
                raise StoreProblem(f"{where_of(url)}: {problem}") from None
        finally:
            self._turns.release()
        if response.code != 200:
            raise Refusal(where_of(url), response.code, data, _retry_after(response))

        def header(name: str) -> str:
            values = response.headers.getRawHeaders(name)
            return values[0] if values else ""

        return Reply(data, header)

    async def stream(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> RestStream:
        """
        POST a request whose answer has no end; the caller must close the stream.

        :raises StoreProblem: there is no answer with status 200.
        """
        connections = self._connections_for(url)
        connection = connections.for_watch()
        try:
            response = await self._head(connection.agent, "POST", url, headers, body, PATIENCE)
            if response.code != 200:
                content = WholeBody(self._reactor, 1 << 16, PATIENCE)
                response.deliverBody(content)
                try:
                    data = await content.done
                except StreamProblem:
                    data = b""
                raise Refusal(where_of(url), response.code, data, _retry_after(response))
        except BaseException:
            connections.forget(connection)
            raise
        return RestStream(response, connections, connection, self._reactor)

    def stop(self) -> Deferred[Any]:
        """Cut all connections; fires when nothing is left in the reactor. Cancel the requests in flight first."""
        stopped = [connections.stop() for connections in self._connections.values()]
        self._connections.clear()
        return DeferredList(stopped) if stopped else succeed(None)

    def _connections_for(self, url: str) -> Connections:
        try:
            server = server_of(url)
        except ValueError as problem:
            raise StoreProblem(str(problem)) from None  # from the environment, or from another answer
        try:
            trust = self._current_trust() if server.scheme == "https" else Trust()
            known = self._connections.get(server)
            if known is not None:
                if known.trust == trust:
                    return known
                known.retire()
            made = self._connections[server] = Connections(self._reactor, server, trust)
        except CredentialsError as problem:
            raise StoreProblem(f"{where_of(url)}: {problem}") from None
        return made

    def _current_trust(self) -> Trust:
        now = self._reactor.seconds()
        if self._trust is None or now - self._read_at >= REREAD:
            self._read_at = now
            try:
                self._trust = self._files.read() if self._files is not None else Trust()
            except CredentialsError:
                if self._trust is None:
                    raise
        return self._trust

    async def _head(
        self, agent: Agent, method: str, url: str, headers: Mapping[str, str] | None, body: bytes, patience: float
    ) -> Any:
        sent = Headers({"User-Agent": [f"kdns/{__version__}"]})
        for name, value in (headers or {}).items():
            sent.addRawHeader(name, value)
        where = where_of(url)
        if url.startswith("unix:"):
            url = f"http://localhost{url.partition('?')[2]}"
        producer: Any = _Bytes(body) if body else None
        began = self._reactor.seconds()
        try:
            sending: Any = agent.request(method.encode(), url.encode("ascii"), sent, producer)
            return await sending.addTimeout(patience, self._reactor)
        except Exception as problem:  # Agent fails with whatever the transport or TLS failed with
            cause = _innermost(problem)
            if isinstance(cause, CancelledError | TimeoutError):
                # Agent wraps a cancellation at some stages, so its origin cannot be seen.
                if self._reactor.seconds() - began < patience:
                    raise CancelledError from None
                raise StoreProblem(f"{where}: no answer in {patience:.0f} seconds") from None
            raise StoreProblem(f"{where}: {_reason(cause)}") from None


class RestStream:
    """
    An answer that comes line by line. :meth:`read` it once, and :meth:`close` it.
    """

    def __init__(self, response: Any, connections: Connections, connection: Connection, reactor: Any) -> None:
        self._response = response
        self._connections = connections
        self._connection = connection
        self._reactor = reactor
        self._stream: LineStream | None = None

    def read(self, work: Callable[[bytes | Overlong], None], patience: float) -> Deferred[None]:
        """
        Have *work* called with each line.

        :param patience: seconds without data after which the stream has failed.
        :return: fires at the end of the stream; fails with :class:`kdns.cluster.bodies.StreamProblem`, or with what *work* raised.
        """
        self._stream = LineStream(self._reactor, work, patience)
        self._response.deliverBody(self._stream)
        return self._stream.done

    def expect(self, patience: float) -> None:
        """Change the patience."""
        if self._stream is not None:
            self._stream.expect(patience)

    def close(self) -> None:
        """Cut the connection."""
        self._connections.forget(self._connection)


@implementer(IBodyProducer)
class _Bytes:
    """A body that is there. Twisted's own producer reads files with the global reactor."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All is written already."""

    resumeProducing = stopProducing = pauseProducing


def where_of(url: str) -> str:
    """The server of a URL, as errors show it: never a path or query, which may hold what is nobody's business."""
    if url.startswith("unix:"):
        return url.partition("?")[0]
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _retry_after(response: Any) -> float | None:
    values = response.headers.getRawHeaders("retry-after")
    text = values[0].strip() if values else ""
    return float(text) if text.isdigit() and len(text) < 10 else None


def _innermost(problem: BaseException) -> BaseException:
    """Unwrap the lists that twisted.web puts failures in."""
    while getattr(problem, "reasons", None):
        first: Any = problem.reasons[0]  # type: ignore[attr-defined]  # of the wrapping errors
        problem = first.value
    return problem


def _reason(problem: BaseException) -> str:
    if isinstance(problem, SSL.Error):
        reason = tls_reason(problem)
        if "verify failed" in reason:
            reason += ": no trusted authority has signed the server's certificate, or it has ended"
        return f"TLS: {reason}"
    if isinstance(problem, CertificateRefused):
        return f"TLS: {problem}"
    return short(str(problem)) or type(problem).__name__
