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
from kdns.plugins.stores.rest import RestClient, StoreProblem, short
from kdns.plugins.stores.tokens import FORM, METADATA, METADATA_PATIENCE, Token, Tokens

SCOPE = "https://www.googleapis.com/auth/ndev.clouddns.readonly"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  # where tokens are asked for
ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"


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


class GoogleTokens(Tokens):
    """Tokens for one file of credentials."""

    vendor = "Google"

    def __init__(
        self, file: str, environment: Mapping[str, str], wall: Callable[[], float], metadata: str = METADATA
    ) -> None:
        """:param metadata: the URL of the metadata service."""
        super().__init__(wall)
        self._file = file
        self._metadata = metadata
        self._environment = environment

    async def ask(self, client: RestClient) -> Token:
        """See :meth:`kdns.plugins.stores.tokens.Tokens.ask`."""
        try:
            found = _DECODER.decode(await self._ask(client))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreProblem(short(str(error))) from None
        except BadKeyFile as error:
            raise StoreProblem(str(error)) from None
        return Token(found.access_token.rstrip("."), found.expires_in)  # the metadata service pads it

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
        return (await client.ask("POST", key.token_uri, FORM, urlencode(form).encode())).body
