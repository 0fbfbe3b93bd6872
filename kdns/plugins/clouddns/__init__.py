# -*- test-case-name: tests.plugins.clouddns.test_clouddns -*-
"""``clouddns``: answer from managed zones of Google Cloud DNS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote, urlencode

from kdns.core.degraded import Fault
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import SetupError
from kdns.corefile.values import quote as quoted
from kdns.plugin.seam import Block, BlockBuilder, ServerContext
from kdns.plugins.clouddns.config import CloudDnsConfig, HostedZoneConfig, parse
from kdns.plugins.clouddns.credentials import BadKeyFile, GoogleTokens, read_key
from kdns.plugins.clouddns.listing import BadAnswer, error_text, parse_listing
from kdns.plugins.stores.rest import Refusal, RestClient, StoreProblem, short, where_of
from kdns.plugins.stores.tokens import METADATA
from kdns.plugins.stores.zones import HostedZone, Page, link_hosted

REFRESH = 60.0
"""Seconds between two readings of a zone."""

API = "https://dns.googleapis.com"
PAGE = 500
"""Record sets of a page."""


class CloudDnsZone:
    """A managed zone: see :class:`kdns.plugins.stores.zones.Provider`."""

    def __init__(
        self, config: HostedZoneConfig, context: ServerContext, api: str = API, metadata: str = METADATA
    ) -> None:
        """:param api, metadata: URLs in place of Google's."""
        self.name = f"{config.project}:{config.zone}"
        self._config = config
        self._tokens = GoogleTokens(config.file, context.environ, context.wall, metadata)
        self._api = api

    async def pages(self, client: RestClient) -> AsyncIterator[Page]:
        """See :class:`kdns.plugins.stores.zones.Provider`."""
        config = self._config
        path = f"/dns/v1/projects/{quote(config.project, safe=':')}/managedZones/{quote(config.zone, safe='')}/rrsets"
        options = {"maxResults": str(PAGE)}
        while True:
            body = await self._ask(client, f"{self._api}{path}?{urlencode(options)}")
            try:
                sets, following = parse_listing(body)
            except BadAnswer as error:
                raise StoreProblem(f"{where_of(self._api)}: {short(str(error))}") from None
            yield Page(sets, body)
            if not following:
                return
            options["pageToken"] = following

    async def _ask(self, client: RestClient, url: str) -> bytes:
        token = await self._tokens.current(client)
        try:
            return (await client.ask("GET", url, {"Authorization": f"Bearer {token}"})).body
        except Refusal as refusal:
            if refusal.status == 401:
                self._tokens.refused()
            text = short(error_text(refusal.body)) or f"status {refusal.status}"
            raise StoreProblem(f"{where_of(url)}: {text}") from None


class CloudDnsDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "clouddns"

    def parse(self, tokens: Dispenser, block: Block) -> CloudDnsConfig:
        """See :func:`kdns.plugins.clouddns.config.parse`."""
        return parse(tokens, block)

    def build(self, config: CloudDnsConfig, builder: BlockBuilder) -> None:
        """See :func:`kdns.plugins.stores.zones.link_hosted`."""
        context = builder.context
        for file in {zone.file for zone in config.zones if zone.file}:
            try:
                read_key(file)
            except BadKeyFile as error:
                text = f"invalid credentials file {quoted(file)}: {error}"
                raise SetupError(text, plugin=self.name, located=False) from None

        def made(zone: HostedZoneConfig) -> HostedZone:
            return HostedZone(self.name, Fault.CLOUDDNS, zone.origin, CloudDnsZone(zone, context), REFRESH, context)

        link_hosted(builder, self.name, config.zones, config.fallthrough, lambda zone: (zone.project, zone.zone), made)


directive = CloudDnsDirective()
