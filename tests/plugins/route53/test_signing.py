# -*- test-case-name: tests.plugins.route53.test_signing -*-
"""Signatures: the examples that AWS has published for Signature Version 4."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.route53.signing import Credentials, query_string, signed_headers

CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()


class SigningTests(SynchronousTestCase):
    """kdns.plugins.route53.signing."""

    def signature(self, method: str, url: str, credentials: Credentials = CREDENTIALS) -> str:
        """The signature of a request to the service of the examples."""
        headers = signed_headers(method, url, credentials, NOW, service="service")
        self.assertEqual(headers["x-amz-date"], "20150830T123600Z")
        begin = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="
        self.assertTrue(headers["Authorization"].startswith(begin))
        return headers["Authorization"].rpartition("Signature=")[2]

    def test_vanilla(self) -> None:
        """get-vanilla, and get-vanilla-query-order-key-case, whose query is put in order."""
        found = self.signature("GET", "https://example.amazonaws.com/")
        self.assertEqual(found, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")
        query = query_string({"Param2": "value2", "Param1": "value1"})
        found = self.signature("GET", f"https://example.amazonaws.com/?{query}")
        self.assertEqual(found, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500")

    def test_post(self) -> None:
        """post-vanilla."""
        found = self.signature("POST", "https://example.amazonaws.com/")
        self.assertEqual(found, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b")

    def test_token(self) -> None:
        """The token of temporary credentials is sent and signed."""
        headers = signed_headers("GET", "https://example.amazonaws.com/", Credentials("AKIDEXAMPLE", "s", "t"), NOW)
        self.assertEqual(headers["x-amz-security-token"], "t")
        self.assertIn("SignedHeaders=host;x-amz-date;x-amz-security-token,", headers["Authorization"])

    def test_query(self) -> None:
        """What a query cannot hold is escaped as AWS wants it."""
        self.assertEqual(query_string({"name": "\\052.a b.org/", "a": "~-._"}), "a=~-._&name=%5C052.a%20b.org%2F")

    def test_secret_not_shown(self) -> None:
        """Secrets are in no text."""
        self.assertNotIn("wJalr", repr(CREDENTIALS))
