# -*- test-case-name: tests.plugins.etcd.test_fake -*-
"""
An etcd for tests: the part of the JSON gateway that kdns asks, on any reactor.

What it answers is compared with a real etcd in :mod:`tests.integration.test_etcd`, by the checks in :mod:`tests.plugins.etcd.checks`.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

from tests.apiserver.http import Exchange, HttpFactory
from tests.apiserver.timing import ListeningReactor, Timer


def coded(data: bytes) -> str:
    """Base 64 as text."""
    return b64encode(data).decode()


@dataclass(slots=True)
class Pair:
    """A key with its value."""

    value: bytes
    created: int
    modified: int
    version: int
    lease: int = 0


@dataclass(slots=True)
class Change:
    """One event."""

    revision: int
    key: bytes
    pair: Pair | None
    """None: it was deleted."""


@dataclass(slots=True)
class FakeLease:
    """A lease with its keys."""

    granted: int
    ends: float
    timer: Timer
    keys: set[bytes] = field(default_factory=set)


class FakeEtcd:
    """
    A store of keys with revisions, watches and leases.

    :ivar asked: path of every request, in order.
    :ivar frozen: whether watches pass nothing on.
    :ivar silent: whether nothing is answered.
    :ivar users: passwords by name; empty means that nobody need log in.
    """

    def __init__(self, reactor: ListeningReactor) -> None:
        self.revision = 1
        self.compacted = 0
        self.pairs: dict[bytes, Pair] = {}
        self.changes: list[Change] = []
        self.leases: dict[int, FakeLease] = {}
        self.asked: list[str] = []
        self.frozen = self.silent = False
        self.users: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.broken: bytes | None = None
        """A body that is sent in place of every answer."""

        self._reactor = reactor
        self._factory = HttpFactory(reactor, self._answer)
        self._watches: list[tuple[Exchange, bytes, bytes]] = []
        self._port: Any = None
        self._number = 0

    # Life

    def start(self, port: int = 0, interface: str = "127.0.0.1", tls: Any = None) -> str:
        """Listen, and return the URL."""
        if tls is None:
            self._port = self._reactor.listenTCP(port, self._factory, interface=interface)
        else:
            self._port = self._reactor.listenSSL(port, self._factory, tls, interface=interface)
        return f"{'http' if tls is None else 'https'}://{interface}:{self._port.getHost().port}"

    def stop(self) -> Deferred[Any]:
        """Stop listening and cut all connections; keys stay, leases run on."""
        waiting: list[Deferred[Any]] = [connection.closed for connection in self._factory.connections]
        if self._port is not None:
            waiting.append(maybeDeferred(self._port.stopListening))
            self._port = None
        for connection in list(self._factory.connections):
            connection.abort()
        return DeferredList(waiting)

    def end(self) -> Deferred[Any]:
        """Stop, and forget the leases."""
        for number in list(self.leases):
            self.leases.pop(number).timer.cancel()
        return self.stop()

    # Keys

    def put(self, key: str | bytes, value: str | bytes | Mapping[str, Any], lease: int = 0) -> int:
        """Set a key; a mapping becomes JSON."""
        if isinstance(value, Mapping):
            value = json.dumps(value)
        name = key.encode() if isinstance(key, str) else key
        data = value.encode() if isinstance(value, str) else value
        self.revision += 1
        before = self.pairs.get(name)
        if before is not None and before.lease:
            self.leases[before.lease].keys.discard(name)
        created = self.revision if before is None else before.created
        pair = Pair(data, created, self.revision, 1 if before is None else before.version + 1, lease)
        self.pairs[name] = pair
        if lease:
            self.leases[lease].keys.add(name)
        self._changed(Change(self.revision, name, pair))
        return self.revision

    def delete(self, *keys: str | bytes) -> None:
        """Delete keys in one transaction."""
        names = [key.encode() if isinstance(key, str) else key for key in keys]
        there = [name for name in names if name in self.pairs]
        if there:
            self.revision += 1
        for name in there:
            del self.pairs[name]
            self._changed(Change(self.revision, name, None))

    def grant(self, seconds: int) -> int:
        """A lease; its keys go with it."""
        self._number += 7
        number = 1 << 60 | self._number  # real ones do not fit a double
        timer = self._reactor.callLater(seconds, self._expire, number)
        self.leases[number] = FakeLease(seconds, self._reactor.seconds() + seconds, timer)
        return number

    def keep_alive(self, number: int) -> None:
        """Renew a lease."""
        lease = self.leases[number]
        lease.timer.cancel()
        lease.ends = self._reactor.seconds() + lease.granted
        lease.timer = self._reactor.callLater(lease.granted, self._expire, number)

    def _expire(self, number: int) -> None:
        lease = self.leases.pop(number)
        self.delete(*lease.keys)

    def compact(self) -> None:
        """Forget all changes until now."""
        self.compacted = self.revision
        self.changes = [change for change in self.changes if change.revision > self.compacted]

    def cut_watches(self) -> None:
        """End all watches, as a member does that restarts."""
        for exchange, _, _ in list(self._watches):
            exchange.connection.abort()

    def open_watches(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    def _changed(self, change: Change) -> None:
        self.changes.append(change)
        for exchange, start, end in list(self._watches):
            if not self.frozen and in_range(change.key, start, end):
                self._tell(exchange, {"header": self._header(), "events": [self._event(change)]})

    # Answering

    def _header(self) -> dict[str, str]:
        return {"cluster_id": "1", "member_id": "2", "revision": str(self.revision), "raft_term": "3"}

    def _pair(self, key: bytes, pair: Pair, keys_only: bool = False) -> dict[str, str]:
        shown = {
            "key": coded(key),
            "create_revision": str(pair.created),
            "mod_revision": str(pair.modified),
            "version": str(pair.version),
        }
        if not keys_only:
            shown["value"] = coded(pair.value)
        if pair.lease:
            shown["lease"] = str(pair.lease)
        return shown

    def _event(self, change: Change) -> dict[str, Any]:
        if change.pair is None:
            return {"type": "DELETE", "kv": {"key": coded(change.key), "mod_revision": str(change.revision)}}
        return {"kv": self._pair(change.key, change.pair)}

    def _tell(self, exchange: Exchange, result: Mapping[str, Any]) -> None:
        exchange.write(json.dumps({"result": result}).encode() + b"\n")

    def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        self.asked.append(request.path)
        if self.silent:
            return
        if self.broken is not None:
            self._reply(exchange, 200, self.broken)
            return
        try:
            body = json.loads(request.body)
        except ValueError:
            self._refuse(exchange, 400, 3, "invalid character")
            return
        if request.path == "/v3/auth/authenticate":
            self._log_in(exchange, body)
            return
        if self.users and request.headers.get("authorization", "") not in self.tokens:
            if "authorization" in request.headers:
                self._refuse(exchange, 401, 16, "etcdserver: invalid auth token")
            else:
                self._refuse(exchange, 400, 3, "etcdserver: user name is empty")
            return
        match request.path:
            case "/v3/kv/range":
                self._range(exchange, body)
            case "/v3/watch":
                self._watch(exchange, body["create_request"])
            case "/v3/lease/timetolive":
                self._time_to_live(exchange, int(body["ID"]))
            case _:
                self._refuse(exchange, 404, 5, "Not Found")

    def _reply(self, exchange: Exchange, code: int, body: bytes) -> None:
        exchange.head(code, "application/json", len(body))
        exchange.write(body)
        exchange.finish()

    def _refuse(self, exchange: Exchange, status: int, code: int, text: str) -> None:
        self._reply(exchange, status, json.dumps({"error": text, "message": text, "code": code}).encode())

    def _log_in(self, exchange: Exchange, body: Mapping[str, Any]) -> None:
        if self.users.get(body.get("name", "")) != body.get("password"):
            self._refuse(exchange, 400, 3, "etcdserver: authentication failed, invalid user ID or password")
            return
        token = f"token{len(self.tokens)}.{len(self.asked)}"
        self.tokens.add(token)
        self._reply(exchange, 200, json.dumps({"header": self._header(), "token": token}).encode())

    def _range(self, exchange: Exchange, body: Mapping[str, Any]) -> None:
        revision = int(body.get("revision", 0))
        if revision and revision < self.compacted:
            self._refuse(exchange, 400, 11, "etcdserver: mvcc: required revision has been compacted")
            return
        start, end = b64decode(body["key"]), b64decode(body.get("range_end", ""))
        pairs = self._at(revision) if revision else self.pairs
        inside = sorted(key for key in pairs if in_range(key, start, end))
        count = len(inside)
        least = int(body.get("min_mod_revision", 0))
        chosen = [key for key in inside if pairs[key].modified >= least]
        limit = int(body.get("limit", 0)) or len(chosen)
        answer: dict[str, Any] = {"header": self._header()}
        if body.get("count_only"):
            chosen = []
        if chosen:
            answer["kvs"] = [self._pair(key, pairs[key], body.get("keys_only", False)) for key in chosen[:limit]]
        if len(chosen) > limit:
            answer["more"] = True
        if count:
            answer["count"] = str(count)
        self._reply(exchange, 200, json.dumps(answer).encode())

    def _at(self, revision: int) -> dict[bytes, Pair]:
        """The keys at a revision; those of a later one that had another value before are not known, and left out."""
        return {key: pair for key, pair in self.pairs.items() if pair.modified <= revision}

    def _watch(self, exchange: Exchange, asked: Mapping[str, Any]) -> None:
        start, end = b64decode(asked["key"]), b64decode(asked["range_end"])
        revision = int(asked["start_revision"])
        exchange.head(200, "application/json", None)
        self._tell(exchange, {"header": self._header(), "created": True})
        if revision <= self.compacted:
            gone = {"header": self._header(), "canceled": True, "compact_revision": str(self.compacted)}
            self._tell(exchange, gone)
            return
        watch = (exchange, start, end)
        self._watches.append(watch)
        exchange.on_end.append(lambda: self._watches.remove(watch))
        events = [
            self._event(change)
            for change in self.changes
            if change.revision >= revision and in_range(change.key, start, end)
        ]
        if events and not self.frozen:
            self._tell(exchange, {"header": self._header(), "events": events})

    def _time_to_live(self, exchange: Exchange, number: int) -> None:
        lease = self.leases.get(number)
        answer: dict[str, Any] = {"header": self._header(), "ID": str(number)}
        if lease is None:
            answer["TTL"] = "-1"
        else:
            answer |= {"TTL": str(int(lease.ends - self._reactor.seconds())), "grantedTTL": str(lease.granted)}
        self._reply(exchange, 200, json.dumps(answer).encode())


def in_range(key: bytes, start: bytes, end: bytes) -> bool:
    """Whether a key is in a range of etcd."""
    if not end:
        return key == start
    return key >= start and (end == b"\x00" or key < end)
