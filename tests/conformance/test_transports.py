"""The golden cases of encrypted transports, over TLS in memory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.cases import CASES, deviations
from tests.conformance.client import tell
from tests.conformance.world import MemoryWorld, placed
from tests.encrypted import Client, Http1Client, Http2Client, TlsClient, connect

SERVED = ("tls", "https")
"""Transports that kdns serves."""

PORTS = {"tls": 24801, "https": 24802}
SPOKEN = {"HTTP/1.1": (Http1Client, b"http/1.1"), "HTTP/2": (Http2Client, b"h2")}
WWW = bytes.fromhex("00000100000100000000000003777777076578616d706c65036f72670000010001")

_BLOCK = re.compile(r"^(\w+)://.*?^}\n", re.MULTILINE | re.DOTALL)


class TransportTests(SynchronousTestCase):
    """One server; each case is asked on a connection of its own."""

    maxDiff = None

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        document: Any = json.loads((CASES / "transports.json").read_text(encoding="utf-8"))
        self.cases = [case for case in document["cases"] if case["transport"] in SERVED]
        corefile = "".join(found[0] for found in _BLOCK.finditer(document["corefile"]) if found[1] in SERVED)
        self.world = MemoryWorld(placed(corefile, document["files"], folder))
        self.reactor = self.world.reactor
        self.world.start()
        self.clients: list[Client] = []

    def tearDown(self) -> None:
        for client in self.clients:
            if not client.closed:
                client.transport.abortConnection()
        self.reactor.settle()
        self.assertEqual(self.world.stop(), [])

    def connect(self, port: int, client: Client, tls: TlsClient | None) -> Client:
        """Connect a client."""
        self.clients.append(client)
        return connect(self.reactor, port, client, tls)

    def wanted(self, case: Any) -> Any:
        """What kdns shall do."""
        deviation = deviations().get(("transports", case["id"]))
        return case["expect"] if deviation is None else deviation.kdns

    def told(self, message: bytes, port: int) -> dict[str, Any]:
        """A reply in the words of the file."""
        told = tell(message, port)
        found = {**told.expect, "bytes": len(message)}
        if "opcode" in found:
            found["question"] = list(told.question)
        return found

    def differences(self, wanted: Any, got: Any) -> list[str]:
        """What is not as wanted; long records are cut in the file."""
        if wanted is None or got is None:
            return [] if wanted == got else [f"reply: wanted {wanted}, got {got}"]
        found = []
        for key, value in wanted.items():
            if key == "question" and "opcode" not in wanted:
                continue
            if key in ("answer", "authority", "additional"):
                cut = [text.removesuffix("...") for text in value]
                if len(cut) == len(got[key]) and all(
                    b.startswith(a) for a, b in zip(sorted(cut), sorted(got[key]), strict=True)
                ):
                    continue
            if value != got.get(key):
                found.append(f"{key}: wanted {value}, got {got.get(key)}")
        return found

    # TLS

    def over_tls(self, case: Any) -> list[str]:
        """Ask a case over TLS."""
        client = self.connect(PORTS["tls"], Client(), TlsClient())
        client.send_messages(bytes.fromhex(case["request"]["hex"]))
        self.reactor.advance(0.5)
        wanted = self.wanted(case)
        replies = client.messages
        found = self.differences(
            wanted["reply"], self.told(replies[0], client.transport.getHost().port) if replies else None
        )
        if "then" in wanted:
            then = "closes the connection" if client.closed else self.then(client)
            found += [] if then == wanted["then"] else [f"then it {then}"]
        return found

    def then(self, client: Client) -> str:
        """What happens to the next query."""
        client.send_messages(WWW)
        self.reactor.advance(0.5)
        return "answers the next query" if client.messages else "says nothing"

    def test_tls(self) -> None:
        """Queries over TLS."""
        cases = [case for case in self.cases if case["transport"] == "tls" and "hex" in case["request"]]
        cases = [
            case for case in cases if not case["id"].startswith(("tls-alpn", "tls-no-tls", "tls-client", "tls-plain"))
        ]
        wrong = [f"{case['id']}: {'; '.join(found)}" for case in cases if (found := self.over_tls(case))]
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
        self.assertGreater(len(cases), 25)

    def test_alpn(self) -> None:
        """A client that offers ``dot`` gets it (CoreDNS: nothing), and one that offers something else is served without."""
        for offered, agreed in ((b"dot", b"dot"), (b"h2", None)):
            client = self.connect(PORTS["tls"], Client(), TlsClient((offered,)))
            client.send_messages(WWW)
            self.reactor.advance(0.1)
            self.assertEqual(len(client.messages), 1)
            self.assertEqual(client.transport.negotiatedProtocol, agreed)

    def test_old_version(self) -> None:
        """TLS 1.1 is refused."""
        client = self.connect(PORTS["tls"], Client(), TlsClient(most=SSL.TLS1_1_VERSION))
        self.reactor.advance(0.1)
        self.assertTrue(client.closed)
        self.assertIsInstance(client.reason, SSL.Error)

    def test_plain_to_encrypted(self) -> None:
        """A query that is not encrypted gets no reply, and the connection ends."""
        client = self.connect(PORTS["tls"], Client(), None)
        client.send_messages(WWW)
        self.reactor.advance(0.1)
        self.assertEqual(client.messages, [])
        self.assertTrue(client.closed)

    def test_three_in_one_write(self) -> None:
        """Queries in one piece are all answered."""
        client = self.connect(PORTS["tls"], Client(), TlsClient())
        client.send_messages(*(ident.to_bytes(2, "big") + WWW[2:] for ident in (1, 2, 3)))
        self.reactor.advance(0.1)
        self.assertEqual([int.from_bytes(message[:2], "big") for message in client.messages], [1, 2, 3])

    def test_silent(self) -> None:
        """A client that says nothing is let go after 3 seconds, whether or not it shakes hands."""
        for tls in (TlsClient(), None):
            client = self.connect(PORTS["tls"], Client(), tls)
            self.reactor.advance(2.9)
            self.assertFalse(client.closed)
            self.reactor.advance(0.2)
            self.assertTrue(client.closed)
            self.assertEqual(client.octets, b"")

    def test_without_certificate(self) -> None:
        """Without ``tls`` the listener is plain."""
        client = self.connect(24806, Client(), None)
        client.send_messages(WWW)
        self.reactor.advance(0.1)
        self.assertEqual(len(client.messages), 1)

    def test_client_certificate(self) -> None:
        """A client must show a certificate of the authority."""
        folder = CASES / "mat"
        good = b"".join((folder / name).read_bytes() for name in ("client.pem", "client.key"))
        for identity, replies in ((b"", 0), (good, 1)):
            client = self.connect(24808, Client(), TlsClient(identity=identity))
            client.send_messages(WWW)
            self.reactor.advance(0.1)
            self.assertEqual(len(client.messages), replies)
            self.assertIs(client.closed, not replies)

    # HTTPS

    def over_https(self, case: Any) -> list[str]:
        """Ask a case over HTTPS."""
        wanted, request = self.wanted(case), case["request"]
        kind, name = SPOKEN[wanted["http"]]
        client: Any = self.connect(PORTS["https"], kind(), TlsClient((name,)))
        body = bytes.fromhex(request["hex"]) if "hex" in request else None
        if "body_octets" in request:
            body = WWW.ljust(request["body_octets"], b"\0")[: request["body_octets"]]
        got = client.request(request["method"], request["path"], body, request.get("headers"))
        self.reactor.advance(0.5)
        if not got.whole:
            return ["no response"]
        date = got.headers.pop("date", None)
        got.headers.pop("connection", None)
        found = [] if date else ["no date"]
        if got.status != wanted["status"]:
            found.append(f"status: wanted {wanted['status']}, got {got.status}")
        if got.headers != wanted["headers"]:
            found.append(f"headers: wanted {wanted['headers']}, got {got.headers}")
        if "body" in wanted:
            return found + ([] if got.body.decode() == wanted["body"] else [f"body: {got.body!r}"])
        return found + self.differences(wanted["reply"], self.told(got.body, client.transport.getHost().port))

    def test_https(self) -> None:
        """Requests over HTTP/1.1 and HTTP/2."""
        cases = [case for case in self.cases if case["transport"] == "https" and "path" in case["request"]]
        wrong = [f"{case['id']}: {'; '.join(found)}" for case in cases if (found := self.over_https(case))]
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
        self.assertGreater(len(cases), 100)

    def test_https_without_certificate(self) -> None:
        """Without ``tls`` the listener speaks plain HTTP/1.1."""
        client: Any = self.connect(24807, Http1Client(), None)
        got = client.request("POST", "/dns-query", WWW)
        self.reactor.advance(0.1)
        self.assertEqual((got.status, got.headers["cache-control"]), (200, "max-age=0"))
