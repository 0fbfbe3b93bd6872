# -*- test-case-name: tests.plugins.azure.test_azure -*-
"""
Tokens of Azure: of a client with its secret, of a pod with a federated identity (workload identity), or of the machine's managed identity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote, urlencode

import msgspec

from kdns.cluster.credentials import CredentialsError, read_file
from kdns.plugins.azure.config import Access
from kdns.plugins.stores.rest import Refusal, RestClient, StoreProblem, short

METADATA = "http://169.254.169.254"
METADATA_PATIENCE = 2.0
RENEW_BEFORE = 300.0
"""Seconds before its end at which another token is asked for."""

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class _Token(msgspec.Struct):
    access_token: str
    expires_in: int | str = 3600


class _Failed(msgspec.Struct):
    error: str = ""
    error_description: str = ""


_DECODER = msgspec.json.Decoder(_Token)


class Tokens:
    """Tokens for one access, kept while they hold."""

    def __init__(
        self, access: Access, environment: Mapping[str, str], wall: Callable[[], float], metadata: str = METADATA
    ) -> None:
        """:param metadata: the URL of the machine's metadata service."""
        self._access = access
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
            found = await self._ask(client)
            self._token = found.access_token
            self._ends = self._wall() + float(found.expires_in)
        return self._token

    def refused(self) -> None:
        """Azure does not take it: ask for another."""
        self._token = ""

    async def _ask(self, client: RestClient) -> _Token:
        access, get = self._access, self._environment.get
        try:
            if access.client and access.secret:
                return await self._of_client(client, access.tenant, access.client, {"client_secret": access.secret})
            path = get("AZURE_FEDERATED_TOKEN_FILE", "")
            if path:
                try:
                    assertion = read_file(path).decode("ascii").strip()
                except (CredentialsError, UnicodeDecodeError) as error:
                    raise StoreProblem(f"federated identity: {error}") from None
                proof = {"client_assertion_type": ASSERTION, "client_assertion": assertion}
                tenant = access.tenant or get("AZURE_TENANT_ID", "")
                return await self._of_client(client, tenant, access.client or get("AZURE_CLIENT_ID", ""), proof)
            options = {"api-version": "2018-02-01", "resource": f"{access.cloud.api}/"}
            if access.client:
                options["client_id"] = access.client
            url = f"{self._metadata}/metadata/identity/oauth2/token?{urlencode(options)}"
            return _decoded((await client.ask("GET", url, {"Metadata": "true"}, b"", METADATA_PATIENCE)).body)
        except Refusal as refusal:
            raise StoreProblem(f"a token of Azure: {_why(refusal)}") from None
        except StoreProblem as problem:
            raise StoreProblem(f"a token of Azure: {problem}") from None

    async def _of_client(self, client: RestClient, tenant: str, identity: str, proof: Mapping[str, str]) -> _Token:
        cloud = self._access.cloud
        login = self._environment.get("AZURE_AUTHORITY_HOST", "").rstrip("/") or cloud.login
        form = {
            "grant_type": "client_credentials",
            "client_id": identity,
            "scope": f"{cloud.api}/.default",
            **proof,
        }
        url = f"{login}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        return _decoded((await client.ask("POST", url, _FORM, urlencode(form).encode())).body)


def _decoded(body: bytes) -> _Token:
    try:
        found = _DECODER.decode(body)
        float(found.expires_in)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise StoreProblem(short(str(error))) from None
    if not found.access_token.isascii() or not found.access_token.isprintable():
        raise StoreProblem("a token that holds other characters than tokens do")
    return found


def _why(refusal: Refusal) -> str:
    try:
        found = msgspec.json.decode(refusal.body, type=_Failed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return str(refusal)
    return short(found.error_description or found.error) or str(refusal)
