"""
The golden cases about a cluster, over real sockets: an API server over HTTP, an upstream resolver, and clients over UDP and TCP.

What happens in memory in test_in_memory.py happens here on the loopback interface: list and watch instead of manifests, the batches of
recvmmsg and sendmmsg where there are such, and the order and the sizes that a kernel makes of octets.
"""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Protocol
from twisted.protocols.basic import Int16StringReceiver
from twisted.trial.unittest import TestCase

from kdns.plugin.seam import ServerContext
from kdns.server.assembly import read_text
from kdns.server.service import KdnsService
from kdns.testing.upstream import FakeUpstream, UpstreamServer
from tests.apiserver import COREDNS, LIST_AND_WATCH, ApiServer, Login, User
from tests.conformance.cases import CASES, CLUSTER, add_tests, case_file
from tests.conformance.client import compare, query, tell
from tests.conformance.world import OWN_ADDRESS, filled

TOKEN = "golden-token"

PAGES = {
    "health {": "health 127.0.0.1:0 {",
    "lameduck 5s": "lameduck 1ms",
    "ready\n": "ready 127.0.0.1:0\n",
    "prometheus :9153": "prometheus 127.0.0.1:0",
}
"""What is changed in Corefiles: nobody waits for the end, and pages have ports that are free."""


class _Datagrams(DatagramProtocol):
    """One client over UDP, with one query at a time."""

    transport: Any  # Twisted's own annotations cannot be called

    def __init__(self) -> None:
        self.waiting: Deferred[bytes] | None = None

    def ask(self, message: bytes, port: int) -> Deferred[bytes]:
        """Send a query to the server; fires with the reply."""
        self.waiting = Deferred()
        self.transport.write(message, ("127.0.0.1", port))
        return self.waiting

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """The reply."""
        waiting, self.waiting = self.waiting, None
        assert waiting is not None, "a reply that nobody waits for"
        waiting.callback(datagram)


class _Stream(Int16StringReceiver, _Datagrams):
    """One client over TCP, with one query at a time on a connection that stays."""

    transport: Any

    def __init__(self) -> None:
        super().__init__()
        self.ready: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Ready to ask."""
        self.ready.callback(None)

    def ask(self, message: bytes, port: int) -> Deferred[bytes]:
        """Send a query; fires with the reply."""
        self.waiting = Deferred()
        self.sendString(message)
        return self.waiting

    def stringReceived(self, string: bytes) -> None:
        """The reply."""
        self.datagramReceived(string, None)

    def connectionLost(self, reason: Any = None) -> None:
        """The connection is closed."""
        self.gone.callback(None)


class _Connect(ClientFactory[Protocol]):
    noisy = False

    def __init__(self, stream: _Stream) -> None:
        self.stream = stream

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """The one connection."""
        return self.stream


class GoldenOnLoopbackTests(TestCase):
    """One test for each case file about a cluster in which nothing has to wait."""

    timeout = 60.0

    async def check(self, name: str, *, tls: bool = False) -> None:
        """Ask all cases of a file in their order."""
        from twisted.internet import reactor as running

        reactor: Any = running  # to mypy it is a module
        file = case_file(name)
        api = ApiServer(reactor)
        api.start(tls=tls)
        upstream = UpstreamServer(FakeUpstream.from_json(CASES / "upstream.json"), reactor)
        address = upstream.start()
        login = None
        if tls:
            api.access.tokens[TOKEN] = User(COREDNS, LIST_AND_WATCH)
            login = Login(token=TOKEN)
        for manifest in (CASES / "every-cluster.yaml", *file.manifests):
            api.load(manifest.read_text(encoding="utf-8"))
        kubeconfig = api.kubeconfig(Path(self.mktemp()).absolute(), login)
        places = {"PORT": "0", "UPSTREAM": f"{address[0]}:{address[1]}", "KUBECONFIG": str(kubeconfig)}
        corefile = filled(file.corefile, places)
        for usual, here in PAGES.items():
            corefile = corefile.replace(usual, here)
        context = ServerContext(reactor, own_addresses=lambda: [OWN_ADDRESS])
        service = KdnsService(context, lambda: read_text(corefile, {}), lambda line: None)
        service.startService()
        try:
            await service.when_running()
            wrong = await self.ask_all(reactor, service, name)
        finally:
            await service.stopService()
            await upstream.stop()
            await api.stop()
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    async def ask_all(self, reactor: Any, service: KdnsService, name: str) -> list[str]:
        """Ask all cases, and say which were answered otherwise."""
        (opened,) = service.endpoints.values()
        datagrams, stream = _Datagrams(), _Stream()
        port = reactor.listenUDP(0, datagrams, "127.0.0.1", 65535)
        reactor.connectTCP("127.0.0.1", opened.port, _Connect(stream))
        await stream.ready
        wrong = []
        try:
            # This machine has no pod's address.
            here = [case for case in case_file(name).cases if "from" not in case.question]
            for ident, case in enumerate(here):
                client = stream if case.question["proto"] == "tcp" else datagrams
                message = query(case.question, ident)
                told = tell(await client.ask(message, opened.port), port.getHost().port, message)
                differences = compare(case.question, case.wanted, told, now=int(time()))
                if differences:
                    wrong.append(f"{name}/{case.id}: " + "; ".join(differences))
        finally:
            stream.transport.loseConnection()
            await stream.gone
            await port.stopListening()
        return wrong

    def test_over_https(self) -> Deferred[None]:
        """The same with an API server that speaks TLS and wants a token."""
        return Deferred.fromCoroutine(self.check("default", tls=True))


add_tests(GoldenOnLoopbackTests, CLUSTER, "is answered as wanted.")
