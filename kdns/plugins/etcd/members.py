# -*- test-case-name: tests.plugins.etcd.test_store -*-
"""The members of an etcd: ask one of them, and log in where etcd wants that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from kdns.plugins.etcd import gateway
from kdns.plugins.etcd.config import Source
from kdns.plugins.stores.rest import Refusal, RestClient, RestStream, StoreProblem, short

T = TypeVar("T")


class Members:
    """Ask one member after another, each as long as it answers."""

    def __init__(self, source: Source, reactor: Any) -> None:
        self._source = source
        self._client = RestClient(reactor, source.tls)
        self._at = 0
        self._token = ""

    @property
    def url(self) -> str:
        """Of the member that is asked."""
        return self._source.endpoints[self._at % len(self._source.endpoints)]

    def failed(self) -> bool:
        """
        The member has not answered: the next one is asked.

        :return: whether all of them have failed.
        """
        self._at += 1
        return self._at >= len(self._source.endpoints)

    def answered(self) -> None:
        """The member has answered."""
        self._at %= len(self._source.endpoints)

    def problem(self, text: str) -> StoreProblem:
        """A failure of the member."""
        shown = short(text)
        # What is away is called by its address already, if it has one only.
        return StoreProblem(shown if len(self._source.endpoints) == 1 else f"{self.url}: {shown}")

    async def ask(self, path: str, body: bytes, kind: type[T]) -> T:
        """
        Ask.

        :raises StoreProblem: there is no answer that can be read.
        """

        async def asked(headers: Mapping[str, str]) -> bytes:
            return (await self._client.ask("POST", f"{self.url}{path}", headers, body)).body

        answer = await self._with_token(asked)
        try:
            return gateway.decode(kind, answer)
        except gateway.BadAnswer as error:
            raise self.problem(str(error)) from None

    async def watch(self, body: bytes) -> RestStream:
        """
        Begin a watch.

        :raises StoreProblem: the member does not let us.
        """

        async def asked(headers: Mapping[str, str]) -> RestStream:
            return await self._client.stream(f"{self.url}/v3/watch", body, headers)

        return await self._with_token(asked)

    def stop(self) -> Deferred[Any]:
        """Cut all connections."""
        return self._client.stop()

    async def _with_token(self, asked: Callable[[Mapping[str, str]], Awaitable[T]]) -> T:
        """Ask with a token where there is a user, and once again with a new one when etcd does not take it any more."""
        try:
            try:
                return await asked(await self._headers())
            except Refusal as refusal:
                text = gateway.failure_text(refusal.body)
                # It has ended, etcd was started again, or users were changed since.
                if not self._token or not (refusal.status == 401 or "auth token" in text or "auth store" in text):
                    raise
            self._token = ""
            return await asked(await self._headers())
        except Refusal as refusal:
            raise self.problem(gateway.failure_text(refusal.body) or f"status {refusal.status}") from None
        except StoreProblem as problem:
            raise self.problem(str(problem).removeprefix(f"{self.url}: ")) from None

    async def _headers(self) -> dict[str, str]:
        if not self._source.user:
            return {}
        if not self._token:
            body = gateway.login_request(self._source.user, self._source.password)
            try:
                reply = await self._client.ask("POST", f"{self.url}/v3/auth/authenticate", {}, body)
                token = gateway.decode(gateway.Token, reply.body).token
            except Refusal as refusal:
                reason = gateway.failure_text(refusal.body) or f"status {refusal.status}"
                raise StoreProblem(f"log-in: {reason}") from None
            except gateway.BadAnswer as error:
                raise StoreProblem(f"log-in: {error}") from None
            if not token.isascii() or not token.isprintable():
                raise StoreProblem("log-in: a token that cannot be sent")
            self._token = token
        return {"Authorization": self._token}
