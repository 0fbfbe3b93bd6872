"""The golden cases of encrypted transports, over TLS in memory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.grpc import PATH, framed, message_of
from tests.conformance.cases import CASES, deviations
from tests.conformance.client import tell
from tests.conformance.world import MemoryWorld, placed
from tests.encrypted import Client, Http1Client, Http2Client, TlsClient, connect
from tests.quic_client import QuicPeer

SERVED = ("tls", "https", "grpc", "quic")
"""Transports that kdns serves."""

PORTS = {"tls": 24801, "https": 24802, "grpc": 24805, "quic": 24803}
SPOKEN = {"HTTP/1.1": (Http1Client, b"http/1.1"), "HTTP/2": (Http2Client, b"h2")}
WWW = bytes.fromhex("00000100000100000000000003777777076578616d706c65036f72670000010001")

PACKETS = {
    "grpc-empty-message": bytes(5),
    "grpc-compressed-flag": b"\x01" + bytes(4),
    "grpc-bad-protobuf": b"\0\0\0\0\x02\xff\xff",
    "grpc-unknown-field": framed(WWW)[:4] + bytes((len(WWW) + 4,)) + framed(WWW)[5:] + b"\x10\x01",
}
"""Bodies of which the file has the size alone; the others are the query for www.example.org."""

WHOAMI = "0000010000010000000000000377686f02616d01690000010001"

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

    # QUIC

    def over_quic(self, case: Any) -> list[str]:
        """Ask a case over QUIC, and see what comes on each stream and how the connection ends."""
        request, wanted = case["request"], self.wanted(case)
        peer = QuicPeer(self.reactor, ("127.0.0.1", PORTS["quic"]), request.get("alpn", "doq")).connect()
        self.addCleanup(peer.leave)
        self.reactor.advance(0.1)
        if peer.handshake is not None:
            for _ in range(request.get("streams", 1)):
                peer.send(bytes.fromhex(request["stream_hex"]), request["fin"])
        self.reactor.advance(0.5)
        if not request["fin"]:
            self.reactor.advance(4.0)
        port = peer.transport.getHost().port
        closed = None if peer.closed is None else {"code": peer.closed.error_code, "reason": peer.closed.reason_phrase}
        if closed is not None and peer.handshake is None:
            closed = {"failed": "ConnectionError"}
        found = [] if closed == wanted["connection_close"] else [f"close: got {closed}"]
        replies = {str(number): self.told(peer.reply(number) or b"", port) for number in peer.whole}
        if "replies" not in wanted:
            ended: Any = bool(replies)
            if peer.resets:
                ended = f"reset with 0x{peer.resets[0]:x}"
            found += [] if ended == wanted["fin"] else [f"fin: got {ended}"]
            return found + self.differences(wanted["reply"], replies.get("0"))
        if replies.keys() != wanted["replies"].keys():
            return [*found, f"replies: got {replies}"]
        for number, reply in replies.items():
            found += self.differences(wanted["replies"][number], reply)
        return found

    def test_quic(self) -> None:
        """Streams over QUIC."""
        cases = [case for case in self.cases if case["transport"] == "quic"]
        wrong = [f"{case['id']}: {'; '.join(found)}" for case in cases if (found := self.over_quic(case))]
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
        self.assertGreater(len(cases), 35)

    # gRPC

    def over_grpc(self, case: Any, port: int = PORTS["grpc"], tls: bool = True) -> list[str]:
        """Ask a case over gRPC."""
        request = case["request"]
        client: Any = self.connect(port, Http2Client(), TlsClient((b"h2",)) if tls else None)
        message = bytes.fromhex(request["msg_hex"]) if "msg_hex" in request else WWW
        body = PACKETS.get(case["id"], framed(message))
        headers = {"content-type": "application/grpc", "te": "trailers"}
        got = client.request("POST", request.get("path", PATH.decode()), body, headers)
        self.reactor.advance(0.5)
        if not got.whole:
            return ["no response"]
        wanted = self.wanted(case)
        found = [
            f"{name}: wanted {wanted[name]}, got {shown}"
            for name, shown in (("headers", {":status": str(got.status), **got.headers}), ("trailers", got.trailers))
            if wanted[name] != shown
        ]
        reply = self.told(message_of(got.body), client.transport.getHost().port) if got.body else None
        return found + self.differences(wanted["reply"], reply)

    def test_grpc(self) -> None:
        """Calls with TLS."""
        cases = [case for case in self.cases if case["transport"] == "grpc" and "no-tls" not in case["id"]]
        wrong = [f"{case['id']}: {'; '.join(found)}" for case in cases if (found := self.over_grpc(case))]
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
        self.assertGreater(len(cases), 25)

    def test_grpc_without_certificate(self) -> None:
        """Without ``tls`` the listener speaks HTTP/2 from the first byte on."""
        (case,) = [case for case in self.cases if case["id"] == "grpc-no-tls-directive-h2c"]
        self.assertEqual(self.over_grpc({**case, "request": {"msg_hex": WHOAMI}}, 24809, False), [])
