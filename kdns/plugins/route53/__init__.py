# -*- test-case-name: tests.plugins.route53.test_route53 -*-
"""``route53``: answer from hosted zones of Amazon Route 53."""

from __future__ import annotations

from collections.abc import AsyncIterator

from kdns.core.degraded import Fault
from kdns.core.slices import in_slices
from kdns.core.timing import pause
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder, ServerContext
from kdns.plugins.route53.config import Access, HostedZoneConfig, Route53Config, parse
from kdns.plugins.route53.credentials import CredentialChain
from kdns.plugins.route53.listing import BadXml, error_text, parse_listing
from kdns.plugins.route53.signing import REGION, Credentials, query_string, signed_headers
from kdns.plugins.stores.rest import Refusal, RestClient, StoreProblem, short, where_of
from kdns.plugins.stores.zones import HostedZone, Page, link_hosted

ENDPOINTS = {
    "cn-": ("https://route53.amazonaws.com.cn", "cn-northwest-1"),
    "us-gov-": ("https://route53.us-gov.amazonaws.com", "us-gov-west-1"),
    "": ("https://route53.amazonaws.com", REGION),
}
"""Endpoint and region of signatures, by how the names of a partition's regions begin."""

MOST_SETS = 300
"""Record sets of a page; Route 53 allows no more."""

PAGE_PAUSE = 0.25
"""Seconds between two pages: an account may ask five times a second in all."""


class Route53Zone:
    """A hosted zone: see :class:`kdns.plugins.stores.zones.Provider`."""

    def __init__(self, identifier: str, access: Access, context: ServerContext) -> None:
        self.name = identifier
        self._access = access
        self._context = context
        environment = context.environ
        region = environment.get("AWS_REGION", "") or environment.get("AWS_DEFAULT_REGION", "")
        endpoint, self._region = next(found for begin, found in ENDPOINTS.items() if region.startswith(begin))
        self._base = access.endpoint or environment.get("AWS_ENDPOINT_URL_ROUTE_53", "") or endpoint
        static = Credentials(access.key_id, access.secret) if access.key_id else None
        self._credentials = CredentialChain(context.environ, context.wall, static, access.profile, access.file)

    async def pages(self, client: RestClient) -> AsyncIterator[Page]:
        """See :class:`kdns.plugins.stores.zones.Provider`."""
        options = {"maxitems": str(MOST_SETS)}
        while True:
            body = await self._ask(client, options)
            try:
                found = await in_slices(self._context.reactor, parse_listing(body))
            except BadXml as error:
                raise StoreProblem(f"{where_of(self._base)}: {short(str(error))}") from None
            yield Page(found.sets, body)
            if not found.following:
                return
            options = {"maxitems": str(MOST_SETS), **found.following}
            await pause(self._context.reactor, PAGE_PAUSE)

    async def _ask(self, client: RestClient, options: dict[str, str]) -> bytes:
        url = f"{self._base.rstrip('/')}/2013-04-01/hostedzone/{self.name}/rrset?{query_string(options)}"
        credentials = await self._credentials.current(client)
        headers = signed_headers("GET", url, credentials, self._context.wall(), region=self._region)
        try:
            return (await client.ask("GET", url, headers)).body
        except Refusal as refusal:
            if refusal.status == 403:
                self._credentials.refused()
            text = short(error_text(refusal.body)) or f"status {refusal.status}"
            raise StoreProblem(f"{where_of(url)}: {text}") from None


class Route53Directive:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "route53"

    def parse(self, tokens: Dispenser, block: Block) -> Route53Config:
        """See :func:`kdns.plugins.route53.config.parse`."""
        return parse(tokens, block)

    def build(self, config: Route53Config, builder: BlockBuilder) -> None:
        """See :func:`kdns.plugins.stores.zones.link_hosted`."""
        context = builder.context

        def made(zone: HostedZoneConfig) -> HostedZone:
            provider = Route53Zone(zone.identifier, zone.access, context)
            return HostedZone(self.name, Fault.ROUTE53, zone.origin, provider, zone.access.refresh, context)

        link_hosted(builder, self.name, config.zones, config.fallthrough, lambda zone: zone.identifier, made)


directive = Route53Directive()
