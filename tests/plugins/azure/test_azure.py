# -*- test-case-name: tests.plugins.azure.test_azure -*-
"""Zones of an Azure over a network in memory, written from the public documentation of its REST API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.degraded import Fault
from kdns.plugins.azure import AzureZone, directive
from kdns.plugins.azure.config import CLOUDS, Access, AzureConfig, HostedZoneConfig
from kdns.plugins.azure.listing import BadAnswer, parse_listing
from kdns.plugins.stores.zones import HostedZone
from kdns.testing.plugin import PluginBench
from kdns.wire.names import from_text, to_text
from tests.apiserver.rest import ApiRequest
from tests.plugins.stores.http import HttpCase, Made

ORG = from_text("example.org")
PUBLIC = "/subscriptions/sub/resourceGroups/group/providers/Microsoft.Network/dnsZones/example.org/recordsets"
PRIVATE = "/subscriptions/sub/resourceGroups/group/providers/Microsoft.Network/privateDnsZones/example.org/ALL"


def row(name: str, rtype: str, ttl: int = 300, private: bool = False, **fields: Any) -> dict[str, Any]:
    """A record set as the API has it."""
    kind = f"Microsoft.Network/{'privateDnsZones' if private else 'dnszones'}/{rtype}"
    properties = {
        "ttl" if private else "TTL": ttl,
        "fqdn": f"{name}.example.org.",
        "provisioningState": "Succeeded",
        **fields,
    }
    return {"id": f"/x/{name}", "name": name, "type": kind, "etag": "e", "properties": properties}


SOA = {
    "host": "ns1-01.azure-dns.com.", "email": "azuredns-hostmaster.microsoft.com", "serialNumber": 1, "refreshTime": 3600,
    "retryTime": 300, "expireTime": 2419200, "minimumTTL": 60,
}  # fmt: skip
CLIENT = Access("tenant", "client", "right", "sub")
ROWS = [
    row("@", "SOA", 3600, SOARecord=SOA),
    row("@", "NS", 172800, NSRecords=[{"nsdname": "ns1-01.azure-dns.com."}]),
    row("www", "A", ARecords=[{"ipv4Address": "192.0.2.1"}, {"ipv4Address": "192.0.2.2"}]),
    row("alias", "A", targetResource={"id": "/subscriptions/x"}, ARecords=[]),
    row("six", "AAAA", AAAARecords=[{"ipv6Address": "2001:db8::1"}]),
    row("cn", "CNAME", CNAMERecord={"cname": "www.example.org"}),
    row("mail", "MX", MXRecords=[{"preference": 10, "exchange": "mx.example.org"}]),
    row("_web._tcp", "SRV", SRVRecords=[{"priority": 1, "weight": 2, "port": 80, "target": "www.example.org"}]),
    row("text", "TXT", TXTRecords=[{"value": ['a "b"', "c\\d"]}]),
    row("p", "PTR", PTRRecords=[{"ptrdname": "www.example.org"}]),
    row("@", "CAA", caaRecords=[{"flags": 0, "tag": "issue", "value": "ca.example"}]),
    row("*", "A", ARecords=[{"ipv4Address": "192.0.2.9"}]),
]


class AzureCase(HttpCase):
    """An Azure: log-in, metadata and zones."""

    def setUp(self) -> None:
        self.secret = "right"
        self.pages = [ROWS[:5], ROWS[5:]]
        self.elsewhere = ""
        super().setUp()
        self.environment["AZURE_AUTHORITY_HOST"] = self.url

    def answer(self, request: ApiRequest) -> Made:
        """What Azure says."""
        if request.path == "/tenant/oauth2/v2.0/token":
            form = {name: value[0] for name, value in parse_qs(request.body.decode()).items()}
            proof = form.get("client_secret") or form.get("client_assertion")
            if (form["client_id"], proof, form["grant_type"]) != ("client", self.secret, "client_credentials"):
                text = {
                    "error": "invalid_client",
                    "error_description": "AADSTS7000215: Invalid client secret provided.",
                }
                return 401, json.dumps(text).encode()
            return 200, b'{"token_type": "Bearer", "expires_in": 3599, "access_token": "token"}'
        if request.path == "/metadata/identity/oauth2/token":
            if (
                request.headers.get("metadata") != "true"
                or request.query["resource"] != "https://management.azure.com/"
            ):
                return 400, b'{"error": "invalid_request"}'
            return 200, b'{"access_token": "token", "expires_in": "86399", "token_type": "Bearer"}'
        if request.headers.get("authorization") != "Bearer token":
            return 401, b'{"error": {"code": "AuthenticationFailed", "message": "Authentication failed."}}'
        if request.path not in (PUBLIC, PRIVATE):
            return 404, b'{"error": {"code": "ResourceNotFound", "message": "The Resource was not found."}}'
        number = int(request.query.get("$skipToken", 0))
        body: dict[str, Any] = {"value": self.pages[number]}
        if number + 1 < len(self.pages):
            base = self.elsewhere or self.url
            body["nextLink"] = f"{base}{request.path}?api-version=x&$skipToken={number + 1}"
        return 200, json.dumps(body).encode()

    def zone(self, access: Access = CLIENT, private: bool = False) -> HostedZone:
        """A started zone."""
        config = HostedZoneConfig(ORG, "group", "example.org", private, access)
        provider = AzureZone(config, self.context, self.url, self.url)
        made = HostedZone("azure", Fault.AZURE, ORG, provider, 60.0, self.context)
        self.stopping.append(made)
        made.start()
        self.advance(5)
        return made

    def records(self, zone: HostedZone) -> list[str]:
        """All of its records."""
        assert zone.served.zone is not None, self.wrong()
        return [
            f"{to_text(one.owner)} {one.ttl} {one.rtype} {one.rdata.hex()}" for one in zone.served.zone.all_records()
        ]


class ZoneTests(AzureCase):
    """kdns.plugins.azure.AzureZone."""

    def test_read(self) -> None:
        """All pages and types; alias sets are left out."""
        found = self.records(self.zone())
        self.assertEqual(self.wrong(), [])
        self.assertEqual(len(found), 12)
        www = from_text("www.example.org").hex()
        for wanted in (
            "www.example.org. 300 1 c0000202",
            "*.example.org. 300 1 c0000209",
            f"cn.example.org. 300 5 {www}",
            f"_web._tcp.example.org. 300 33 000100020050{www}",
            "text.example.org. 300 16 05612022622203635c64",
            "example.org. 300 257 0005697373756563612e6578616d706c65",
        ):
            self.assertIn(wanted, found)

    def test_private(self) -> None:
        """A private zone, whose fields are written otherwise, by the identity of the machine."""
        self.pages = [
            [
                row("@", "SOA", 3600, True, soaRecord={**SOA, "minimumTtl": 10}),
                row("www", "A", 10, True, aRecords=[{"ipv4Address": "10.0.0.1"}], isAutoRegistered=True),
                row("t", "TXT", 10, True, txtRecords=[{"value": ["x"]}]),
            ]
        ]
        found = self.records(self.zone(Access(subscription="sub"), private=True))
        self.assertIn("www.example.org. 10 1 0a000001", found)
        self.assertEqual(len(found), 3)

    def test_federated(self) -> None:
        """A pod's token stands in for the secret."""
        path = Path(self.mktemp()).absolute()
        path.write_text("right\n")
        self.environment |= {
            "AZURE_FEDERATED_TOKEN_FILE": str(path),
            "AZURE_TENANT_ID": "tenant",
            "AZURE_CLIENT_ID": "client",
        }
        self.assertEqual(len(self.records(self.zone(Access(subscription="sub")))), 12)

    def test_refused(self) -> None:
        """Why there is no token is told, without the secret; the zone comes when it is mended."""
        self.secret = "changed"
        zone = self.zone()
        (text,) = self.wrong()
        self.assertEqual(text, "a token of Azure: AADSTS7000215: Invalid client secret provided.")
        self.secret = "right"
        self.advance(60)
        self.assertIsNotNone(zone.served.zone)

    def test_not_found(self) -> None:
        """Why there is no zone."""
        self.zone(Access("tenant", "client", "right", "nope"))
        self.assertIn("ResourceNotFound: The Resource was not found.", self.wrong()[0])

    def test_kept(self) -> None:
        """A refresh that fails in the middle leaves the last version."""
        zone = self.zone()
        self.elsewhere = "http://127.0.0.1:1"
        self.advance(70)
        self.assertEqual(len(self.records(zone)), 12)
        self.assertIn("the next page is said to be elsewhere", self.wrong()[0])


class ListingTests(SynchronousTestCase):
    """kdns.plugins.azure.listing."""

    @given(
        st.binary(max_size=200) | st.sampled_from([json.dumps({"value": ROWS}).encode()]).map(lambda body: body[:-9])
    )
    def test_anything(self, body: bytes) -> None:
        """Bytes are a page or are refused."""
        try:
            parse_listing(body, "example.org")
        except BadAnswer:
            pass

    def test_unknown_types(self) -> None:
        """Types that are not known have no values."""
        body = json.dumps({"value": [row("x", "NAPTR", naptrRecords=[{}])]}).encode()
        self.assertEqual(parse_listing(body, "example.org"), ([], ""))


class ConfigTests(SynchronousTestCase):
    """kdns.plugins.azure.config."""

    def setUp(self) -> None:
        self.bench = PluginBench.__new__(PluginBench)
        self.bench._directive, self.bench._zone, self.bench._behind = directive, ".", ()

    def test_parsed(self) -> None:
        """Options hold for all uses; access for the zones of its line."""
        found = self.bench.parse(
            "azure g:a.test. h:A.test {\n tenant t\n client c\n secret S\n subscription s\n access private\n}\n"
            "azure g:b.test {\n environment AzureChinaCloud\n fallthrough b.test\n}"
        )
        access = Access("t", "c", "S", "s", CLOUDS["AZURECHINACLOUD"])
        a, b = from_text("a.test"), from_text("b.test")
        zones = (
            HostedZoneConfig(a, "g", "a.test", True, access),
            HostedZoneConfig(a, "h", "a.test", True, access),
            HostedZoneConfig(b, "g", "b.test", False, access),
        )
        self.assertEqual(found, AzureConfig(zones, (b,)))
        self.assertNotIn("'S'", repr(found))

    def test_refused(self) -> None:
        """What is refused, with CoreDNS's words."""
        begin = "plugin/azure: Corefile:{} - Error during parsing: "
        for text, line, error in (
            ("azure a.test", 2, 'invalid resource group/zone: "a.test"'),
            ("azure g/../x:a.test", 2, 'invalid resource group/zone: "g/../x:a.test"'),
            ("azure g:a.test g:a.test.", 2, 'conflicting zone: "g:a.test."'),
            ("azure g:a.test {\n environment x\n}", 3, 'cannot set azure environment: "x"'),
            ("azure g:a.test {\n access x\n}", 3, "invalid access value: can be public/private, found: x"),
            ("azure g:a.test {\n frob\n}", 3, 'unknown property: "frob"'),
        ):
            self.assertEqual(self.bench.error(text).partition("\n")[0], begin.format(line) + error)
        self.assertIn("subscription is missing", self.bench.error("azure g:a.test {\n tenant t\n}"))
