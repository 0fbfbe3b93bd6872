# -*- test-case-name: tests.plugins.clouddns.test_clouddns -*-
"""
Tokens of Google: of a service account's key, of a user, or of the machine's or pod's own service account.

Without a file in the Corefile they are application default credentials: the file that the environment names, then the one of gcloud, then
the metadata service.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kdns.cluster.credentials import CredentialsError, read_file
from kdns.plugins.stores.rest import Refusal, RestClient, StoreProblem, short

SCOPE = "https://www.googleapis.com/auth/ndev.clouddns.readonly"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  # where tokens are asked for
METADATA = "http://169.254.169.254"
"""Its name, metadata.google.internal, might be looked up through this very server."""

METADATA_PATIENCE = 2.0
RENEW_BEFORE = 300.0
"""Seconds before its end at which another token is asked for."""

ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class BadKeyFile(ValueError):
    """A file holds no credentials that kdns can use."""


class Key(msgspec.Struct):
    """The content of a file of credentials."""

    type: str = ""
    client_email: str = ""
    private_key: str = ""
    private_key_id: str = ""
    token_uri: str = TOKEN_URI
    client_id: str = ""
    client_secret: str = ""
    refresh_token: str = ""


class _Token(msgspec.Struct):
    access_token: str
    expires_in: int = 3600


class _Failed(msgspec.Struct):
    error: str = ""
    error_description: str = ""


_DECODER = msgspec.json.Decoder(_Token)


def read_key(path: str) -> Key:
    """
    Read a file of credentials.

    :raises BadKeyFile: it is none, or of a kind that kdns does not have.
    """
    try:
        key = msgspec.json.decode(read_file(path), type=Key)
    except CredentialsError as error:
        raise BadKeyFile(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadKeyFile(f"no JSON of credentials: {short(str(error))}") from None
    if key.type == "service_account":
        _signer(key)
    elif key.type == "authorized_user":
        if not key.refresh_token:
            raise BadKeyFile("it has no refresh token")
    elif key.type in ("external_account", "impersonated_service_account"):
        raise BadKeyFile(f"kdns does not exchange credentials of type {key.type}; use a service account")
    else:
        raise BadKeyFile(f"unknown type {short(key.type)!r}")
    return key


def _signer(key: Key) -> RSAPrivateKey:
    try:
        found = load_pem_private_key(key.private_key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKeyFile("its private key cannot be used") from None
    if not isinstance(found, RSAPrivateKey) or not key.client_email:
        raise BadKeyFile("its private key is no RSA key, or it has no client_email")
    return found


def assertion(key: Key, now: float) -> str:
    """What a service account proves itself with: a signed token for an hour (RFC 7523)."""
    header = {"alg": "RS256", "typ": "JWT", "kid": key.private_key_id}
    claims = {"iss": key.client_email, "scope": SCOPE, "aud": key.token_uri, "iat": int(now), "exp": int(now) + 3600}
    signed = b".".join([_coded(msgspec.json.encode(part)) for part in (header, claims)])
    return (signed + b"." + _coded(_signer(key).sign(signed, PKCS1v15(), SHA256()))).decode()


def _coded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


class Tokens:
    """Tokens for one file of credentials, kept while they hold."""

    def __init__(
        self, file: str, environment: Mapping[str, str], wall: Callable[[], float], metadata: str = METADATA
    ) -> None:
        """:param metadata: the URL of the metadata service."""
        self._file = file
        self._metadata = metadata
        self._environment = environment
        self._wall = wall
        self._token = ""
        self._ends = 0.0

    async def current(self, client: RestClient) -> str:
        """
        A token that holds for some minutes at least.

        :raises StoreProblem: there is none.
        """
        if not self._token or self._wall() >= self._ends - RENEW_BEFORE:
            try:
                body = await self._ask(client)
            except Refusal as refusal:
                raise StoreProblem(f"a token of Google: {_why(refusal)}") from None
            except (StoreProblem, BadKeyFile) as problem:
                raise StoreProblem(f"a token of Google: {problem}") from None
            try:
                found = _DECODER.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise StoreProblem(f"a token of Google: {short(str(error))}") from None
            token = found.access_token.rstrip(".")  # the metadata service pads it
            if not token.isascii() or not token.isprintable():
                raise StoreProblem("a token of Google: it holds other characters than tokens do")
            self._token = token
            self._ends = self._wall() + found.expires_in
        return self._token

    def refused(self) -> None:
        """Google does not take it: ask for another."""
        self._token = ""

    def _path(self) -> str:
        """The file of credentials; empty for the metadata service."""
        get = self._environment.get
        named = self._file or get("GOOGLE_APPLICATION_CREDENTIALS", "")
        if named:
            return named
        home = get("CLOUDSDK_CONFIG", "") or os.path.join(get("HOME", ""), ".config", "gcloud")
        path = os.path.join(home, "application_default_credentials.json")
        return path if os.path.exists(path) else ""

    async def _ask(self, client: RestClient) -> bytes:
        path = self._path()
        if not path:
            host = self._environment.get("GCE_METADATA_HOST", "")
            base = f"http://{host}" if host else self._metadata
            url = f"{base}/computeMetadata/v1/instance/service-accounts/default/token?{urlencode({'scopes': SCOPE})}"
            return (await client.ask("GET", url, {"Metadata-Flavor": "Google"}, b"", METADATA_PATIENCE)).body
        key = read_key(path)
        form: dict[str, Any]
        if key.type == "service_account":
            form = {"grant_type": ASSERTION, "assertion": assertion(key, self._wall())}
        else:
            form = {
                "grant_type": "refresh_token",
                "client_id": key.client_id,
                "client_secret": key.client_secret,
                "refresh_token": key.refresh_token,
            }
        return (await client.ask("POST", key.token_uri, _FORM, urlencode(form).encode())).body


def _why(refusal: Refusal) -> str:
    try:
        found = msgspec.json.decode(refusal.body, type=_Failed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return str(refusal)
    return short(found.error_description or found.error) or str(refusal)
