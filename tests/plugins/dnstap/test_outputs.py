"""kdns connects to a reader, or readers connect to kdns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.degraded import Fault
from kdns.core.request import Transport
from kdns.corefile.errors import SetupError
from kdns.plugin.listening import CannotListen
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.dnstap.config import Endpoint, OutputConfig
from kdns.plugins.dnstap.frames import data_frame
from kdns.plugins.dnstap.messages import CLIENT_QUERY, client_message, dnstap
from kdns.plugins.dnstap.outputs import MOST_READERS, RETRY_SECONDS, Acceptor, Dialler, Unverified
from kdns.server.assembly import assemble, read_text
from kdns.testing.certificates import Authority
from kdns.testing.memory import MemoryReactor
from tests.encrypted import TlsClient
from tests.plugins.dnstap.reader import Readers

TCP = Endpoint("tcp", "127.0.0.1", 6000)
FRAME = data_frame(dnstap(b"", b"", client_message(CLIENT_QUERY, Transport.UDP, "10.0.0.1", 1, 1.5, b"", 0, b"")))


class OutputTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.context = ServerContext(
            self.reactor, clock=self.reactor.seconds, wall=self.reactor.seconds, kernel_sockets=False
        )
        self.readers = Readers()

    def stop(self, output: Resource) -> None:
        ended = output.stop()
        self.reactor.advance(2)
        if ended is not None:
            self.successResultOf(ended)

    def counted(self, what: str) -> float:
        family = self.context.registry.counter(f"kdns_dnstap_{what}_messages_total", "", ["endpoint"])
        return float(family.counter("tcp://127.0.0.1:6000").value)

    def faults(self) -> list[tuple[Fault, str]]:
        return [(state.kind, state.text) for state in self.context.degraded]

    def test_reader_comes_later(self) -> None:
        """Messages wait until somebody listens; until then the list of faults says so."""
        output = Dialler(OutputConfig(TCP), self.context)
        output.start()
        output.put(FRAME)
        self.reactor.advance(1)
        wanted = "no connection: dial tcp 127.0.0.1:6000: connect: connection refused"
        self.assertEqual(self.faults(), [(Fault.DNSTAP, wanted)])
        port = self.reactor.listenTCP(6000, self.readers, interface="127.0.0.1")
        self.reactor.advance(RETRY_SECONDS)
        (reader,) = self.readers.all
        self.assertEqual((len(reader.found), self.faults(), self.counted("sent")), (1, [], 1))
        output.put(FRAME)
        self.stop(output)
        self.assertEqual((len(reader.found), reader.controls, reader.gone), (2, [4, 2, 3], True))
        port.stopListening()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_reader_restarts(self) -> None:
        """A lost connection is made again within a second; messages in between are not lost."""
        port = self.reactor.listenTCP(6000, self.readers, interface="127.0.0.1")
        output = Dialler(OutputConfig(TCP), self.context)
        output.start()
        self.reactor.advance(1)
        self.readers.all[0].transport.loseConnection()
        self.reactor.settle()
        output.put(FRAME)
        self.assertEqual(len(self.faults()), 1)
        self.reactor.advance(2)
        self.assertEqual((len(self.readers.all[1].found), self.faults()), (1, []))
        self.stop(output)
        port.stopListening()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])

    def test_stopped_while_connecting(self) -> None:
        """Nothing is left of an output that never was connected; its messages count as dropped."""
        self.reactor.blackhole("127.0.0.1", 6000)
        output = Dialler(OutputConfig(TCP), self.context)
        output.start()
        output.put(FRAME)
        self.stop(output)
        self.assertEqual((self.reactor.leftovers(), self.counted("dropped")), ([], 1))

    def test_drops_are_logged(self) -> None:
        """Every ten seconds the log says how many messages were dropped."""
        output = Dialler(OutputConfig(TCP), self.context)
        output.start()
        for _ in range(10_003):
            output.put(FRAME)
        with capturedLogs() as events:
            self.reactor.advance(10)
        counts = [event["count"] for event in events if "Dropped" in event["log_format"]]
        self.assertEqual(counts, [3])
        self.stop(output)

    def test_listening(self) -> None:
        """Each reader gets every message from when it comes; without readers nobody wants any."""
        output = Acceptor(OutputConfig(TCP, True), self.context)
        output.start()
        self.assertFalse(output.wanted)
        output.put(FRAME)
        for number in (1, 2):
            self.reactor.connectTCP("127.0.0.1", 6000, self.readers)
            self.reactor.advance(1)
            output.put(FRAME)
            self.reactor.advance(1)
            self.assertEqual([len(reader.found) for reader in self.readers.all], [2, 1][2 - number :])
        self.assertTrue(output.wanted)
        self.stop(output)
        self.assertEqual([reader.controls for reader in self.readers.all], [[4, 2, 3]] * 2)
        self.assertEqual(self.reactor.leftovers(), [])

    def test_too_many_readers(self) -> None:
        """One reader too many is turned away."""
        output = Acceptor(OutputConfig(TCP, True), self.context)
        output.start()
        for _ in range(MOST_READERS + 1):
            self.reactor.connectTCP("127.0.0.1", 6000, self.readers)
        self.reactor.advance(1)
        self.assertEqual([reader.gone for reader in self.readers.all], [False] * MOST_READERS + [True])
        self.stop(output)

    def test_port_taken(self) -> None:
        """A port that is taken ends the start."""
        self.reactor.listenTCP(6000, self.readers, interface="127.0.0.1")
        error = self.assertRaises(CannotListen, Acceptor(OutputConfig(TCP, True), self.context).start)
        self.assertIn("plugin/dnstap: listen tcp 127.0.0.1:6000: bind: address already in use", str(error))


class TlsTests(SynchronousTestCase):
    """Encrypted streams, both ways."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.context = ServerContext(
            self.reactor, clock=self.reactor.seconds, wall=self.reactor.seconds, kernel_sockets=False
        )
        self.readers = Readers()
        self.authority = Authority()

    def dialled(self, tls: Any) -> int:
        """Messages that a reader with a certificate for 127.0.0.1 gets."""
        port = self.reactor.listenSSL(6000, self.readers, self.authority.server("127.0.0.1").server_options())
        output = Dialler(OutputConfig(Endpoint("tls", "127.0.0.1", 6000)), self.context, tls)
        output.start()
        output.put(FRAME)
        self.reactor.advance(2)
        ended = output.stop()
        self.reactor.advance(2)
        if ended is not None:
            self.successResultOf(ended)
        port.stopListening()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])
        return sum(len(reader.found) for reader in self.readers.all)

    def test_trusted(self) -> None:
        trusted: Any = self.authority.trust_root()
        self.assertEqual(self.dialled(optionsForClientTLS("127.0.0.1", trusted)), 1)

    def test_not_trusted(self) -> None:
        """A reader whose certificate is not of a known authority gets nothing."""
        self.assertEqual(self.dialled(optionsForClientTLS("127.0.0.1")), 0)

    def test_not_verified(self) -> None:
        """With skipverify any certificate will do."""
        self.assertEqual(self.dialled(Unverified()), 1)

    def test_listening(self) -> None:
        """Readers need a certificate where an authority is named; with skipverify they may have none."""
        folder = Path(self.mktemp())
        folder.mkdir()
        server, client = self.authority.server("127.0.0.1"), self.authority.client("reader")
        for name, pem in (
            ("cert", server.certificate_pem),
            ("key", server.key_pem),
            ("ca", self.authority.certificate_pem),
        ):
            (folder / name).write_bytes(pem)
        for option, identity, found in (
            ("", b"", 0),
            ("", client.certificate_pem + client.key_pem, 1),
            ("skipverify", b"", 1),
        ):
            text = f"dnstap listen tls://127.0.0.1:6000 {{\ntls {folder}/cert {folder}/key {folder}/ca\n{option}\n}}"
            configuration = assemble(read_text(f". {{\n{text}\nwhoami\n}}", {}), self.context)
            for resource in configuration.resources:
                resource.start()
            readers = Readers()
            client_tls: Any = TlsClient(identity=identity)
            self.reactor.connectSSL("127.0.0.1", 6000, readers, client_tls)
            self.reactor.advance(1)
            for resource in configuration.resources:
                if isinstance(resource, Acceptor):
                    resource.put(FRAME)
            self.reactor.advance(1)
            for resource in configuration.resources:
                resource.stop()
            self.reactor.advance(2)
            self.assertEqual(sum(len(reader.found) for reader in readers.all), found, (option, bool(identity)))
            self.assertEqual(self.reactor.leftovers(), [])


class BuildTests(SynchronousTestCase):
    """From a Corefile."""

    def setUp(self) -> None:
        self.context = ServerContext(MemoryReactor(), kernel_sockets=False)

    def built(self, *words: str) -> Any:
        text = "\n".join(f"dnstap {word}" for word in words)
        return assemble(read_text(f". {{\n{text}\nwhoami\n}}\nb.test {{\n{text}\nwhoami\n}}\n", {}), self.context)

    def test_shared(self) -> None:
        """Server blocks with the same endpoint share its connection, and a reload keeps it."""
        first = self.built("tcp://127.0.0.1:6000", "tcp://127.0.0.1:6001 full")
        self.assertEqual(len(first.resources), 2)
        text = ". {\ndnstap tcp://127.0.0.1:6000 full {\nidentity me\n}\nwhoami\n}\n"
        again = assemble(read_text(text, {}), self.context, first.kept)
        self.assertIs(again.resources[0], first.resources[0])

    def test_refused(self) -> None:
        """A TLS listener needs a certificate, and worker processes cannot share a listener."""
        error = self.assertRaises(SetupError, self.built, "listen tls://127.0.0.1:6000")
        self.assertIn("TLS listener requires cert and key files", str(error))
        self.context.processes = 2
        error = self.assertRaises(SetupError, self.built, "listen tcp://127.0.0.1:6000")
        self.assertIn("worker processes", str(error))
