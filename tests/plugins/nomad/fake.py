"""
A Nomad for tests: the two requests of its HTTP API that kdns makes, written from its public documentation.

Services are listed by namespace with ``*`` for all, a query with an index blocks until the index is higher, and both answer with the index.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

from tests.apiserver.http import Exchange, HttpFactory
from tests.apiserver.timing import ListeningReactor


class FakeNomad:
    """
    Registered services.

    :ivar asked: path and query of every request, in order.
    :ivar silent: whether nothing is answered.
    :ivar token: the token that requests need; empty for none.
    :ivar may_list: whether it may list all namespaces.
    :ivar broken: a body in place of every answer.
    :ivar held: if it is a list, answers about instances wait in it until they are called.
    """

    def __init__(self, reactor: ListeningReactor) -> None:
        self.index = 10
        self.registered: dict[tuple[str, str], list[tuple[str, int]]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.silent = False
        self.token = ""
        self.may_list = True
        self.broken: bytes | None = None
        self.held: list[Callable[[], None]] | None = None
        self._reactor = reactor
        self._factory = HttpFactory(reactor, self._answer)
        self._blocked: list[tuple[Exchange, Any]] = []
        self._port: Any = None

    # Life

    def start(self, port: int = 0) -> str:
        """Listen, and return the URL."""
        self._port = self._reactor.listenTCP(port, self._factory, interface="127.0.0.1")
        return f"http://127.0.0.1:{self._port.getHost().port}"

    def stop(self) -> Deferred[Any]:
        """Stop listening and cut all connections."""
        waiting: list[Deferred[Any]] = [connection.closed for connection in self._factory.connections]
        if self._port is not None:
            waiting.append(maybeDeferred(self._port.stopListening))
            self._port = None
        for connection in list(self._factory.connections):
            connection.abort()
        return DeferredList(waiting)

    # Services

    def register(self, name: str, *instances: tuple[str, int], namespace: str = "default") -> None:
        """Set the instances of a service; without any it is gone."""
        self.index += 1
        if instances:
            self.registered[namespace, name] = list(instances)
        else:
            self.registered.pop((namespace, name), None)
        for exchange, timer in self._blocked[:]:
            timer.cancel()
            self._list(exchange)

    # Answering

    def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        query = dict(request.query)
        self.asked.append((request.path, query))
        if self.silent:
            return
        if self.broken is not None:
            self._reply(exchange, 200, self.broken)
        elif self.token and request.headers.get("x-nomad-token") != self.token:
            self._reply(exchange, 403, b"Permission denied")
        elif request.path == "/v1/services":
            if not self.may_list:
                self._reply(exchange, 403, b"Permission denied")
            elif int(query.get("index", 0)) >= self.index:
                seconds = float(query["wait"].removesuffix("s"))
                timer = self._reactor.callLater(seconds, self._list, exchange)
                self._blocked.append((exchange, timer))
                exchange.on_end.append(lambda: self._forget(exchange))
            else:
                self._list(exchange)
        elif request.path.startswith("/v1/service/"):
            name = unquote(request.path.removeprefix("/v1/service/"))
            self._instances(exchange, query.get("namespace", "default"), name, query.get("filter", ""))
        else:
            self._reply(exchange, 404, b"Invalid URL path")

    def _forget(self, exchange: Exchange) -> None:
        for one in [one for one in self._blocked if one[0] is exchange]:
            self._blocked.remove(one)
            if one[1].active():
                one[1].cancel()

    def _list(self, exchange: Exchange) -> None:
        rows: dict[str, list[dict[str, Any]]] = {}
        for namespace, name in self.registered:
            rows.setdefault(namespace, []).append({"ServiceName": name, "Tags": ["v1"]})
        body = [{"Namespace": namespace, "Services": services} for namespace, services in rows.items()]
        self._reply(exchange, 200, json.dumps(body or None).encode())

    def _instances(self, exchange: Exchange, namespace: str, name: str, expression: str) -> None:
        rows = [
            {
                "ID": f"_nomad-task-{at}",
                "ServiceName": name,
                "Namespace": namespace,
                "Tags": ["v1"],
                "Address": address,
                "Port": port,
                "ModifyIndex": self.index,
            }
            for at, (address, port) in enumerate(self.registered.get((namespace, name), ()))
            if not expression or expression == f'Address == "{address}"'
        ]
        body = json.dumps(rows).encode()
        if self.held is not None:
            self.held.append(lambda: self._reply(exchange, 200, body))
        else:
            self._reply(exchange, 200, body)

    def _reply(self, exchange: Exchange, code: int, body: bytes) -> None:
        exchange.head(code, "application/json", len(body), (("X-Nomad-Index", str(self.index)),))
        exchange.write(body)
        exchange.finish()
