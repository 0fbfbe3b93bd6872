"""
A Route 53 for tests: ListResourceRecordSets in pages, AssumeRoleWithWebIdentity, and the metadata of an instance and a container.

Written from the public documentation of the APIs. A request must be signed by a key that is known.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from kdns.plugins.route53.signing import Credentials, query_string, signed_headers
from tests.apiserver.rest import ApiRequest
from tests.plugins.stores.http import Made

NAMESPACE = "https://route53.amazonaws.com/doc/2013-04-01/"

Row = tuple[str, str, int, list[str]]
"""Name, type, TTL and values; no values are an alias."""


class FakeRoute53:
    """
    :ivar zones: record sets by the hosted zone's identifier.
    :ivar keys: secret keys and session tokens by access key.
    :ivar page: record sets of a page, whatever is asked for.
    """

    def __init__(self) -> None:
        self.zones: dict[str, list[Row]] = {}
        self.keys = {"AKID": ("secret", "")}
        self.page = 2
        self.throttled = False
        self.clock = 0.0

    def answer(self, request: ApiRequest) -> Made:
        """What the API says."""
        match = re.fullmatch(r"/2013-04-01/hostedzone/(\w+)/rrset", request.path)
        if match is not None:
            return self._records(request, match[1])
        if request.method == "POST" and b"Action=AssumeRoleWithWebIdentity" in request.body:
            return self._assume(request)
        if request.path == "/latest/api/token":
            return (200, b"metadata-token") if request.method == "PUT" else (405, b"")
        if request.path.startswith("/latest/meta-data/iam/security-credentials/"):
            if request.headers.get("x-aws-ec2-metadata-token") != "metadata-token":
                return 401, b""
            return (200, b"a-role") if request.path.endswith("/") else (200, self.issued("INSTANCE"))
        if request.path == "/container":
            return (200, self.issued("CONTAINER")) if request.headers.get("authorization") == "pod" else (401, b"")
        return 404, b""

    def issued(self, key: str, seconds: int = 3600) -> bytes:
        """Temporary credentials as the metadata services issue them."""
        self.keys[key] = ("issued", "session")
        from datetime import UTC, datetime

        ends = datetime.fromtimestamp(self.clock + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = f'{{"AccessKeyId": "{key}", "SecretAccessKey": "issued", "Token": "session", "Expiration": "{ends}", "Code": "Success"}}'
        return text.encode()

    def _assume(self, request: ApiRequest) -> Made:
        if b"WebIdentityToken=pod-token" not in request.body or b"RoleArn=arn%3Aaws" not in request.body:
            return 403, self._error("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        self.keys["WEB"] = ("issued", "session")
        return 200, (
            b"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>WEB</AccessKeyId>"
            b"<SecretAccessKey>issued</SecretAccessKey><SessionToken>session</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration>"
            b"</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )

    def _error(self, code: str, text: str) -> bytes:
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error>"
        return f'<ErrorResponse xmlns="{NAMESPACE}">{error}</ErrorResponse>'.encode()

    def _records(self, request: ApiRequest, zone: str) -> Made:
        if not self._signed(request):
            return 403, self._error("SignatureDoesNotMatch", "The request signature we calculated does not match")
        if self.throttled:
            return 400, self._error("Throttling", "Rate exceeded")
        if zone not in self.zones:
            return 404, self._error("NoSuchHostedZone", f"No hosted zone found with ID: {zone}")
        rows = self.zones[zone]
        key = (request.query.get("name", ""), request.query.get("type", ""))
        begin = next((at for at, row in enumerate(rows) if row[:2] == key), 0)
        following = rows[begin + self.page : begin + self.page + 1]
        parts = [f'<?xml version="1.0"?>\n<ListResourceRecordSetsResponse xmlns="{NAMESPACE}"><ResourceRecordSets>']
        for name, rtype, ttl, values in rows[begin : begin + self.page]:
            parts.append(f"<ResourceRecordSet><Name>{escape(name)}</Name><Type>{rtype}</Type>")
            if values:
                records = "".join(
                    f"<ResourceRecord><Value>{escape(value)}</Value></ResourceRecord>" for value in values
                )
                parts.append(f"<TTL>{ttl}</TTL><ResourceRecords>{records}</ResourceRecords>")
            else:
                parts.append(
                    "<AliasTarget><HostedZoneId>Z2</HostedZoneId><DNSName>elb.example.</DNSName></AliasTarget>"
                )
            parts.append("</ResourceRecordSet>")
        parts.append(f"</ResourceRecordSets><IsTruncated>{'true' if following else 'false'}</IsTruncated>")
        for name, rtype, _, _ in following:
            parts.append(f"<NextRecordName>{escape(name)}</NextRecordName><NextRecordType>{rtype}</NextRecordType>")
        parts.append("<MaxItems>300</MaxItems></ListResourceRecordSetsResponse>")
        return 200, "".join(parts).encode()

    def _signed(self, request: ApiRequest) -> bool:
        """Whether the signature is that of a known key, for this very request."""
        match = re.search(r"Credential=(\w+)/", request.headers.get("authorization", ""))
        if match is None or match[1] not in self.keys:
            return False
        secret, token = self.keys[match[1]]
        url = f"http://{request.headers['host']}{request.path}?{query_string(dict(request.query))}"
        wanted = signed_headers(request.method, url, Credentials(match[1], secret, token), self.clock)
        return wanted["Authorization"] == request.headers["authorization"]
