# -*- test-case-name: tests.plugins.stores.test_rest -*-
"""Requests to a store, and every way in which they fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from kdns.cluster.credentials import CredentialsError
from kdns.plugins.stores.rest import Refusal, RestClient, StoreProblem, TrustFiles, server_of, short, url_of, where_of
from kdns.testing.certificates import Authority
from tests.apiserver.rest import ApiRequest
from tests.apiserver.tls import ServerContext as Tls
from tests.plugins.stores.http import HttpCase, Made


class RestTests(HttpCase):
    """kdns.plugins.stores.rest.RestClient."""

    made: Made = (200, b"body")

    def answer(self, request: ApiRequest) -> Made:
        """What the test wants."""
        return self.made

    def problem(self, url: str, client: RestClient | None = None) -> str:
        """The text of a request's failure."""
        with self.assertRaises(StoreProblem) as caught:
            self.came((client or self.client).ask("GET", url), 40.0)
        return str(caught.exception)

    def test_asked(self) -> None:
        """Method, headers and body arrive; body and headers come back."""
        self.server.headers = (("X-Thing", "7"),)
        reply = self.came(self.client.ask("POST", f"{self.url}/a?b=c", {"X-Own": "o"}, b"sent"))
        self.assertEqual((reply.body, reply.header("x-thing"), reply.header("none")), (b"body", "7", ""))
        (request,) = self.server.requests
        self.assertEqual((request.method, request.path, dict(request.query)), ("POST", "/a", {"b": "c"}))
        self.assertEqual((request.body, request.headers["x-own"]), (b"sent", "o"))
        self.assertTrue(request.headers["user-agent"].startswith("kdns/"))

    def test_refused(self) -> None:
        """Another status than 200 is a refusal, with the body on one line, and with what Retry-After says."""
        self.made = (503, b"come\r\nback\x1b[31m " + b"x" * 1000)
        self.server.headers = (("Retry-After", "7"),)
        with self.assertRaises(Refusal) as caught:
            self.came(self.client.ask("GET", self.url))
        refusal = caught.exception
        self.assertEqual((refusal.status, refusal.retry_after), (503, 7.0))
        self.assertIn("status 503: come back\\x1b[31m xxx", str(refusal))
        self.assertLess(len(str(refusal)), 300)

    def test_silent(self) -> None:
        """No answer in time."""
        self.made = (0, b"")
        self.assertIn("no answer in 10 seconds", self.problem(self.url))

    def test_unreachable(self) -> None:
        """Nobody listens; the path of a URL is never shown, since it may hold secrets."""
        text = self.problem("http://127.0.0.1:1/secret?token=secret")
        self.assertIn("http://127.0.0.1:1: ", text)
        self.assertNotIn("secret", text)

    def test_no_url(self) -> None:
        """What the environment or another answer calls a URL, and is none."""
        for url in ("nonsense", "ftp://h/", "http://127.0.0.1:99999/", "http://127.0.0.1:1/ b\n", "http://h/\xe9"):
            self.assertTrue(self.problem(url), url)

    def test_too_long(self) -> None:
        """A body over the limit."""
        self.made = (200, b"x" * 1001)
        with self.assertRaises(StoreProblem) as caught:
            self.came(self.client.ask("GET", self.url, limit=1000))
        self.assertIn("more than 1000 bytes", str(caught.exception))

    def test_cancelled(self) -> None:
        """A request that is given up is a cancellation, not a failure of the store."""
        self.made = (0, b"")
        asking = Deferred.fromCoroutine(self.client.ask("GET", self.url))
        self.reactor.advance(1)
        asking.cancel()
        self.failureResultOf(asking, CancelledError)

    def test_few_at_once(self) -> None:
        """Only so many requests are under way."""
        self.made = (0, b"")
        asking = [Deferred.fromCoroutine(self.client.ask("GET", self.url)) for _ in range(20)]
        self.reactor.advance(1)
        self.assertEqual(len(self.server.requests), 8)
        self.advance(40)
        for one in asking:
            self.failureResultOf(one, StoreProblem)

    def test_renewed(self) -> None:
        """Certificates are read again; a file that is gone changes nothing."""
        authority = Authority()
        self.server.stop()
        self.reactor.settle()
        tls: Any = Tls(authority)
        port = self.reactor.listenSSL(4433, self.server._factory, tls, interface="127.0.0.1")
        path = Path(self.mktemp())
        path.write_bytes(Authority().certificate_pem)
        client = RestClient(self.reactor, TrustFiles(authority=str(path)))
        self.stopping.append(client)
        self.assertIn("no trusted authority has signed", self.problem("https://127.0.0.1:4433/", client))
        path.write_bytes(authority.certificate_pem)
        self.advance(61)
        self.assertEqual(self.came(client.ask("GET", "https://127.0.0.1:4433/")).body, b"body")
        path.unlink()
        self.advance(61)
        self.assertEqual(self.came(client.ask("GET", "https://127.0.0.1:4433/")).body, b"body")
        port.stopListening()

    def test_no_certificates(self) -> None:
        """Files that are not there, or no certificates."""
        with self.assertRaises(CredentialsError):
            TrustFiles("/nope", "/nope").read()
        path = Path(self.mktemp())
        path.write_text("nothing")
        client = RestClient(self.reactor, TrustFiles(authority=str(path)))
        self.stopping.append(client)
        self.assertIn("no PEM certificate", self.problem("https://127.0.0.1:4433/", client))


class TextTests(HttpCase):
    """URLs and texts."""

    def test_urls(self) -> None:
        """What a URL means, and what is none."""
        self.assertEqual(server_of("https://h/x").port, 443)
        self.assertEqual(server_of("http://[::1]:7").host, "::1")
        self.assertEqual(server_of("unix:///run/n.sock").prefix, "/run/n.sock")
        for url in ("h", "ftp://h", "http://", "http://h:x", "http://h\xe9", "unix:"):
            with self.assertRaises(ValueError, msg=url):
                server_of(url)
        self.assertEqual(url_of("http://h/", "/v1?a"), "http://h/v1?a")
        self.assertEqual(url_of("unix:///s", "/v1?a"), "unix:///s?/v1?a")
        self.assertEqual(where_of("http://u:p@h:1/x?y"), "http://h:1")
        self.assertEqual(where_of("unix:///s?/v1"), "unix:///s")

    def test_short(self) -> None:
        """Text of others is made safe to show."""
        self.assertEqual(short(b"\xff a\n b\x07"), "\\ufffd a b\\a".replace("\\ufffd", "�"))
