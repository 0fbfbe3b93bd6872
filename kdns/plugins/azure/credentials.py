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
from kdns.plugins.stores.rest import RestClient, StoreProblem, short
from kdns.plugins.stores.tokens import FORM, METADATA, METADATA_PATIENCE, Token, Tokens

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class _Token(msgspec.Struct):
    access_token: str
    expires_in: int | str = 3600


_DECODER = msgspec.json.Decoder(_Token)


class AzureTokens(Tokens):
    """Tokens for one access."""

    vendor = "Azure"

    def __init__(
        self, access: Access, environment: Mapping[str, str], wall: Callable[[], float], metadata: str = METADATA
    ) -> None:
        """:param metadata: the URL of the machine's metadata service."""
        super().__init__(wall)
        self._access = access
        self._metadata = metadata
        self._environment = environment

    async def ask(self, client: RestClient) -> Token:
        """See :meth:`kdns.plugins.stores.tokens.Tokens.ask`."""
        access, get = self._access, self._environment.get
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

    async def _of_client(self, client: RestClient, tenant: str, identity: str, proof: Mapping[str, str]) -> Token:
        cloud = self._access.cloud
        login = self._environment.get("AZURE_AUTHORITY_HOST", "").rstrip("/") or cloud.login
        form = {
            "grant_type": "client_credentials",
            "client_id": identity,
            "scope": f"{cloud.api}/.default",
            **proof,
        }
        url = f"{login}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        return _decoded((await client.ask("POST", url, FORM, urlencode(form).encode())).body)


def _decoded(body: bytes) -> Token:
    try:
        found = _DECODER.decode(body)
        return Token(found.access_token, float(found.expires_in))
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise StoreProblem(short(str(error))) from None
