"""A small HTTP client for tests of the fake API server: Twisted's Agent, and watches as lists of lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, FileBodyProducer, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from kdns.testing.certificates import Authority, Identity

SERVICES = "/api/v1/services"


@implementer(IAgentEndpointFactory)
class Ways:
    """
    Connects: plainly, or trusting one authority and showing a certificate if there is one.

    What ``Agent`` makes of https by itself keeps time by the global reactor, and so does not work in memory.
    """

    def __init__(self, reactor: Any, authority: Authority | None, identity: Identity | None) -> None:
        self._reactor = reactor
        self._authority = authority
        self._identity = identity

    def endpointForURI(self, uri: URI) -> Any:
        """What Agent asks for."""
        host = uri.host.decode()
        endpoint: Any = HostnameEndpoint(self._reactor, host, uri.port)
        if self._authority is None:
            return endpoint
        shown = None if self._identity is None else self._identity.private_certificate()
        trusted: Any = self._authority.trust_root()
        options = optionsForClientTLS(host, trusted, shown)
        return wrapClientTLS(options, endpoint, self._reactor)


class Lines(Protocol):
    """The body of a watch."""

    def __init__(self) -> None:
        self.data = b""
        self.reason = connectionDone
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self.ended.callback(None)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The whole lines so far."""
        return [json.loads(line) for line in self.data.split(b"\n")[:-1]]

    @property
    def told(self) -> list[tuple[str, str]]:
        """Type and name of each event."""
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in self.events]

    async def end(self) -> str:
        """Wait for the end of the body; the name of the reason."""
        await self.ended
        return type(self.reason.value).__name__


class Client:
    """Asks one server."""

    def __init__(
        self, reactor: Any, url: str, authority: Authority | None = None, identity: Identity | None = None
    ) -> None:
        self._agent = Agent.usingEndpointFactory(reactor, Ways(reactor, authority, identity))
        self._cooperator = Cooperator(scheduler=lambda call: reactor.callLater(0, call))
        self._url = url
        self.headers: dict[str, str] = {}

    async def _request(self, method: str, path: str, body: object, headers: Mapping[str, str], query: Any) -> Any:
        raw = {name: [value] for name, value in {**self.headers, **headers}.items()}
        producer = None
        if body is not None:
            producer = FileBodyProducer(BytesIO(json.dumps(body).encode()), self._cooperator)
        target = f"{self._url}{path}" + (f"?{urlencode(query)}" if query else "")
        return await self._agent.request(method.encode(), target.encode(), Headers(raw), producer)

    async def ask(
        self,
        path: str,
        method: str = "GET",
        body: object = None,
        headers: Mapping[str, str] | None = None,
        **query: object,
    ) -> tuple[int, Any]:
        """The code and the JSON of the answer."""
        response = await self._request(method, path, body, headers or {}, query)
        return response.code, json.loads(await readBody(response))

    async def response(self, path: str, **query: object) -> Any:
        """The answer before its body is read."""
        return await self._request("GET", path, None, {}, query)

    async def watch(self, path: str = SERVICES, **query: object) -> Lines:
        """Open a watch, whatever becomes of it."""
        response = await self._request("GET", path, None, {}, {"watch": "true", **query})
        lines = Lines()
        response.deliverBody(lines)
        return lines
