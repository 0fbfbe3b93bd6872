# -*- test-case-name: tests.plugins.clouddns.test_clouddns -*-
"""Managed zones of a Google Cloud DNS over a network in memory, written from the public documentation of its REST API."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.degraded import Fault
from kdns.corefile.errors import SetupError
from kdns.plugins.clouddns import CloudDnsZone, directive
from kdns.plugins.clouddns.config import CloudDnsConfig, HostedZoneConfig
from kdns.plugins.clouddns.credentials import SCOPE
from kdns.plugins.clouddns.listing import BadAnswer, parse_listing
from kdns.plugins.stores.zones import HostedZone
from kdns.testing.plugin import PluginBench
from kdns.wire.names import from_text, to_text
from tests.apiserver.rest import ApiRequest
from tests.plugins.stores.http import HttpCase, Made

ORG = from_text("example.org")
PATH = "/dns/v1/projects/proj/managedZones/zone/rrsets"
KEY = rsa.generate_private_key(65537, 2048)


def pem(key: Any) -> str:
    """A private key as files have it."""
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def row(name: str, rtype: str, *values: str, ttl: int = 300) -> dict[str, Any]:
    """A record set as the API has it."""
    return {"kind": "dns#resourceRecordSet", "name": name, "type": rtype, "ttl": ttl, "rrdatas": list(values)}


ROWS = [
    row(
        "example.org.", "SOA", "ns-cloud-a1.googledomains.com. cloud-dns-hostmaster.google.com. 1 21600 3600 259200 300"
    ),
    row("example.org.", "NS", "ns-cloud-a1.googledomains.com."),
    row("www.example.org.", "A", "192.0.2.1", "192.0.2.2"),
    {"name": "geo.example.org.", "type": "A", "ttl": 5, "routingPolicy": {"geo": {"items": []}}},
    row("text.example.org.", "TXT", '"a b" "c"'),
    row("bad.example.org.", "A", "nonsense"),
    row("last.example.org.", "CNAME", "www.example.org."),
]


class CloudDnsCase(HttpCase):
    """A Google: tokens, metadata and zones."""

    def setUp(self) -> None:
        self.page = 3
        super().setUp()
        self.environment["HOME"] = "/nonexistent"

    def answer(self, request: ApiRequest) -> Made:
        """What Google says."""
        if request.path == "/token":
            return self._token({name: value[0] for name, value in parse_qs(request.body.decode()).items()})
        if request.path == "/computeMetadata/v1/instance/service-accounts/default/token":
            if request.headers.get("metadata-flavor") != "Google":
                return 403, b""
            return 200, b'{"access_token": "token.....", "expires_in": 3599, "token_type": "Bearer"}'
        if request.headers.get("authorization") != "Bearer token":
            return 401, b'{"error": {"code": 401, "message": "Request had invalid authentication credentials."}}'
        if request.path != PATH:
            return (
                404,
                b'{"error": {"code": 404, "message": "The \'parameters.managedZone\' resource does not exist."}}',
            )
        begin = int(request.query.get("pageToken", 0))
        body: dict[str, Any] = {"kind": "dns#resourceRecordSetsListResponse", "rrsets": ROWS[begin : begin + self.page]}
        if begin + self.page < len(ROWS):
            body["nextPageToken"] = str(begin + self.page)
        return 200, json.dumps(body).encode()

    def _token(self, form: dict[str, str]) -> Made:
        good = b'{"access_token": "token", "expires_in": 3599, "token_type": "Bearer"}'
        if form["grant_type"] == "refresh_token":
            right = (form["client_id"], form["client_secret"], form["refresh_token"]) == ("c", "s", "r")
            return (200, good) if right else (400, b'{"error": "invalid_grant", "error_description": "Bad Request"}')
        self.assertEqual(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer")
        signed, _, signature = form["assertion"].rpartition(".")
        KEY.public_key().verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
        header, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        now = int(self.reactor.seconds())
        self.assertEqual((header["alg"], header["kid"]), ("RS256", "key-id"))
        self.assertEqual((claims["iss"], claims["scope"], claims["aud"]), ("dns@proj", SCOPE, f"{self.url}/token"))
        self.assertTrue(now - 5 <= claims["iat"] <= now and claims["exp"] == claims["iat"] + 3600)
        return 200, good

    def file(self, **fields: str) -> str:
        """A file of credentials."""
        path = Path(self.mktemp()).absolute()
        path.write_text(json.dumps({"token_uri": f"{self.url}/token", **fields}))
        return str(path)

    def account(self) -> str:
        """The key of a service account."""
        return self.file(type="service_account", client_email="dns@proj", private_key=pem(KEY), private_key_id="key-id")

    def zone(self, file: str = "", zone: str = "zone") -> HostedZone:
        """A started zone."""
        provider = CloudDnsZone(HostedZoneConfig(ORG, "proj", zone, file), self.context, self.url, self.url)
        made = HostedZone("clouddns", Fault.CLOUDDNS, ORG, provider, 60.0, self.context)
        self.stopping.append(made)
        made.start()
        self.advance(5)
        return made


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


class ZoneTests(CloudDnsCase):
    """kdns.plugins.clouddns.CloudDnsZone."""

    def test_read(self) -> None:
        """All pages by the key of a service account; a record set that cannot be read takes no other along."""
        zone = self.zone(self.account()).served.zone
        assert zone is not None, self.wrong()
        found = [f"{to_text(one.owner)} {one.ttl} {one.rtype} {one.rdata.hex()}" for one in zone.all_records()]
        self.assertEqual(len(found), 6)
        self.assertIn("text.example.org. 300 16 036120620163", found)
        self.assertIn(f"last.example.org. 300 5 {from_text('www.example.org').hex()}", found)
        self.assertIn("1 record set is left out: bad.example.org. A", self.wrong()[0])

    def test_user(self) -> None:
        """The credentials of a user, by the environment; a token is kept, and asked for again before it ends."""
        self.environment["GOOGLE_APPLICATION_CREDENTIALS"] = self.file(
            type="authorized_user", client_id="c", client_secret="s", refresh_token="r"
        )
        self.assertIsNotNone(self.zone().served.zone)
        self.advance(600)
        self.assertEqual([one.path for one in self.server.requests].count("/token"), 1)
        self.advance(3000)
        self.assertEqual([one.path for one in self.server.requests].count("/token"), 2)

    def test_metadata(self) -> None:
        """Without any file the machine's service account."""
        self.assertIsNotNone(self.zone().served.zone)

    def test_refused(self) -> None:
        """Why there is no token, and why there is no zone."""
        self.zone(self.file(type="authorized_user", client_id="c", client_secret="s", refresh_token="old"))
        self.assertEqual(self.wrong(), ["a token of Google: Bad Request"])
        self.zone(self.account(), "nope")
        self.assertIn("resource does not exist", self.wrong()[1])


class ListingTests(SynchronousTestCase):
    """kdns.plugins.clouddns.listing."""

    @given(st.binary(max_size=200))
    def test_anything(self, body: bytes) -> None:
        """Bytes are a page or are refused."""
        try:
            parse_listing(body)
        except BadAnswer:
            pass

    def test_empty(self) -> None:
        """A zone without record sets."""
        self.assertEqual(parse_listing(b"{}"), ([], ""))


class ConfigTests(CloudDnsCase):
    """kdns.plugins.clouddns.config."""

    def setUp(self) -> None:
        super().setUp()
        self.bench = PluginBench.__new__(PluginBench)
        self.bench._directive, self.bench._zone, self.bench._behind = directive, ".", ()

    def test_parsed(self) -> None:
        """Credentials hold for the zones of their line."""
        path = self.account()
        found = self.bench.parse(
            f"clouddns A.test.:p:z a.test:example.com:p2:z {{\n credentials {path}\n upstream\n}}\nclouddns b.test:p:z {{\n fallthrough\n}}"
        )
        a, b = from_text("a.test"), from_text("b.test")
        zones = (
            HostedZoneConfig(a, "p", "z", path),
            HostedZoneConfig(a, "example.com:p2", "z", path),
            HostedZoneConfig(b, "p", "z"),
        )
        self.assertEqual(found, CloudDnsConfig(zones, (b"\x00",)))

    def test_refused(self) -> None:
        """What is refused."""
        begin = "plugin/clouddns: Corefile:{} - Error during parsing: "
        curve = pem(ec.generate_private_key(ec.SECP256R1()))
        for fields, error in (
            ({}, "unknown type ''"),
            (
                {"type": "external_account"},
                "kdns does not exchange credentials of type external_account; use a service account",
            ),
            ({"type": "authorized_user"}, "it has no refresh token"),
            ({"type": "service_account", "private_key": "x"}, "its private key cannot be used"),
            (
                {"type": "service_account", "private_key": curve},
                "its private key is no RSA key, or it has no client_email",
            ),
        ):
            path = self.file(**fields)
            with self.assertRaises(SetupError) as caught:
                PluginBench(directive, f"clouddns a.test:p:z {{\n credentials {path}\n}}")
            self.assertEqual(str(caught.exception), f'plugin/clouddns: invalid credentials file "{path}": {error}')
        for text, line, error in (
            ("clouddns a.test:p", 2, 'invalid zone "a.test:p"'),
            ("clouddns a.test:p:z a.test.:p:z", 2, 'conflict zone "a.test.:p:z"'),
            ("clouddns a.test:p:z {\n frob\n}", 3, 'unknown property "frob"'),
        ):
            self.assertEqual(self.bench.error(text).partition("\n")[0], begin.format(line) + error)
