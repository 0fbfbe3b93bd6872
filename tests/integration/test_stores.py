"""Requests to a store over real sockets: a Unix socket, as Nomad's agent may have one, and loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from kdns.plugin.seam import ServerContext
from kdns.plugins.nomad.config import Source
from kdns.plugins.nomad.store import Age, NomadStore
from tests.plugins.nomad.fake import FakeNomad


class RealSocketTests(TestCase):
    """kdns.plugins.nomad on Twisted's own reactor."""

    timeout = 30.0

    def test_nomad(self) -> Deferred[None]:
        """Over TCP, and over a Unix socket."""
        return Deferred.fromCoroutine(self.check_nomad())

    async def check_nomad(self) -> None:
        """Start a store on each, and ask it."""
        from twisted.internet import reactor as running

        reactor: Any = running  # to mypy it is a module
        nomad = FakeNomad(reactor)
        nomad.register("web", ("10.0.0.1", 80))
        url = nomad.start()
        path = Path(self.mktemp()).absolute()
        listening = reactor.listenUNIX(str(path), nomad._factory)
        try:
            for address in (url, f"unix://{path}"):
                store = NomadStore(Source((address,)), ServerContext(reactor, kernel_sockets=False))
                try:
                    await store.start()
                    self.assertEqual(store.names, {("default", "web"): "web"}, store.why)
                    found, age = await store.instances("default", "web")
                    self.assertEqual((len(found), age), (1, Age.CURRENT))
                finally:
                    await store.stop()
        finally:
            await listening.stopListening()
            await nomad.stop()
