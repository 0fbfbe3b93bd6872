# -*- test-case-name: tests.plugins.azure.test_azure -*-
"""``azure``: answer from zones of Azure DNS and Azure Private DNS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec

from kdns.core.degraded import Fault
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder, ServerContext
from kdns.plugins.azure.config import AzureConfig, HostedZoneConfig, parse
from kdns.plugins.azure.credentials import AzureTokens
from kdns.plugins.azure.listing import BadAnswer, parse_listing
from kdns.plugins.stores.rest import Refusal, RestClient, StoreProblem, short, where_of
from kdns.plugins.stores.tokens import METADATA
from kdns.plugins.stores.zones import HostedZone, Page, link_hosted

REFRESH = 60.0
"""Seconds between two readings of a zone."""

PUBLIC_VERSION, PRIVATE_VERSION = "2018-05-01", "2020-06-01"
"""Of the API."""

PAGE = 250
"""Record sets of a page."""


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Failed(msgspec.Struct):
    error: _Error


class AzureZone:
    """A hosted zone: see :class:`kdns.plugins.stores.zones.Provider`."""

    def __init__(
        self, config: HostedZoneConfig, context: ServerContext, api: str = "", metadata: str = METADATA
    ) -> None:
        """:param api, metadata: URLs in place of Azure's."""
        self.name = f"{config.group}:{config.zone}"
        self._config = config
        self._tokens = AzureTokens(config.access, context.environ, context.wall, metadata)
        self._api = api or config.access.cloud.api

    async def pages(self, client: RestClient) -> AsyncIterator[Page]:
        """See :class:`kdns.plugins.stores.zones.Provider`."""
        config = self._config
        kind = "privateDnsZones" if config.private else "dnsZones"
        what = "ALL" if config.private else "recordsets"
        version = PRIVATE_VERSION if config.private else PUBLIC_VERSION
        group = quote(config.group, safe="")
        url = (
            f"{self._api}/subscriptions/{quote(config.access.subscription, safe='')}/resourceGroups/{group}"
            f"/providers/Microsoft.Network/{kind}/{quote(config.zone, safe='')}/{what}?api-version={version}&$top={PAGE}"
        )
        while url:
            body = await self._ask(client, url)
            try:
                sets, url = parse_listing(body, config.zone)
            except BadAnswer as error:
                raise StoreProblem(f"{where_of(self._api)}: {short(str(error))}") from None
            yield Page(sets, body)
            if url and where_of(url) != where_of(self._api):
                raise StoreProblem(
                    f"{where_of(self._api)}: the next page is said to be elsewhere"
                )  # the token stays here

    async def _ask(self, client: RestClient, url: str) -> bytes:
        token = await self._tokens.current(client)
        try:
            return (await client.ask("GET", url, {"Authorization": f"Bearer {token}"})).body
        except Refusal as refusal:
            if refusal.status == 401:
                self._tokens.refused()
            raise StoreProblem(f"{where_of(url)}: {_why(refusal)}") from None


def _why(refusal: Refusal) -> str:
    try:
        error = msgspec.json.decode(refusal.body, type=_Failed).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"status {refusal.status}"
    return short(f"{error.code}: {error.message}")


class AzureDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "azure"

    def parse(self, tokens: Dispenser, block: Block) -> AzureConfig:
        """See :func:`kdns.plugins.azure.config.parse`."""
        return parse(tokens, block)

    def build(self, config: AzureConfig, builder: BlockBuilder) -> None:
        """See :func:`kdns.plugins.stores.zones.link_hosted`."""
        context = builder.context

        def made(zone: HostedZoneConfig) -> HostedZone:
            return HostedZone(self.name, Fault.AZURE, zone.origin, AzureZone(zone, context), REFRESH, context)

        link_hosted(builder, self.name, config.zones, config.fallthrough, lambda zone: (zone.group, zone.zone), made)


directive = AzureDirective()
