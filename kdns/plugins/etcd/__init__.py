# -*- test-case-name: tests.plugins.etcd -*-
"""``etcd``: answer from the keys of an etcd in SkyDNS's layout."""

from __future__ import annotations

from dataclasses import replace

from kdns.cluster.credentials import CredentialsError
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import SetupError
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.etcd.config import EtcdConfig, parse
from kdns.plugins.etcd.resolver import EtcdLink
from kdns.plugins.etcd.store import EtcdStore
from kdns.plugins.stores.rest import TrustFiles


class EtcdDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "etcd"

    def parse(self, tokens: Dispenser, block: Block) -> EtcdConfig:
        """See :func:`kdns.plugins.etcd.config.parse`."""
        return parse(tokens, block)

    def build(self, config: EtcdConfig, builder: BlockBuilder) -> None:
        """Add the link. Blocks with the same source share its index, and a reload keeps it."""
        context, source = builder.context, config.source
        self._check(source.tls)
        store = builder.keep(("etcd", source), source, lambda: EtcdStore(source, context))
        builder.link(EtcdLink(config, store, context.clock))

    def _check(self, files: TrustFiles) -> None:
        """See that the certificates are there; later ones are read while kdns runs."""
        for part, reading in ((replace(files, authority=""), "could not load TLS cert"), (files, "error reading CA")):
            try:
                part.read()
            except CredentialsError as error:
                raise SetupError(f"{reading}: {error}", plugin=self.name, located=False) from None


directive = EtcdDirective()
