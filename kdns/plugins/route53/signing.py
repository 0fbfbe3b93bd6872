# -*- test-case-name: tests.plugins.route53.test_signing -*-
"""Signatures of requests to AWS (Signature Version 4). No I/O."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE, REGION = "route53", "us-east-1"
"""Route 53 is a global service, whose requests are signed for this region."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    """Of temporary credentials."""

    expires: float | None = None
    """Unix seconds; None for ever."""


def query_string(options: Mapping[str, str]) -> str:
    """Options in the form that is signed."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in options.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def signed_headers(
    method: str,
    url: str,
    credentials: Credentials,
    now: float,
    body: bytes = b"",
    service: str = SERVICE,
    region: str = REGION,
) -> dict[str, str]:
    """
    The headers that sign a request.

    :param url: its query as :func:`query_string` makes it.
    :param now: Unix seconds.
    """
    parts = urlsplit(url)
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-date": stamp}
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        [
            method,
            quote(parts.path or "/", safe="/-_.~"),
            parts.query,
            *(f"{name}:{headers[name]}" for name in sorted(headers)),
            "",
            names,
            sha256(body).hexdigest(),
        ]
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([ALGORITHM, stamp, scope, sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    del headers["host"]  # the HTTP client writes it itself
    headers["Authorization"] = (
        f"{ALGORITHM} Credential={credentials.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers
