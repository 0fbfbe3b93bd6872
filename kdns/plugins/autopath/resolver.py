# -*- test-case-name: tests.plugins.autopath.test_resolver -*-
"""``autopath`` as a link of the chain: it asks the rest of the chain for each name of the client's search path."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, Reply, attempt
from kdns.core.explaining import Note
from kdns.core.failure import RcodeOnly
from kdns.core.request import Request
from kdns.core.validity import NOTHING, by_client
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.capabilities import KnowsSearchPaths
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.autopath.config import AutopathConfig, parse, search_domains
from kdns.plugins.autopath.walk import Walk, names_of
from kdns.wire.names import longest_zone, to_text

log = Logger(namespace="plugin/autopath")

PATH_SECONDS = 5.0
"""How long an answer made with a client's path is repeated at most: the plugin is asked again whether it is still certain of that path."""

OWN_RESOLV_CONF = "/etc/resolv.conf"
"""Its search domains end the path of a client that a plugin knows, as a node's domains end that of its pods."""


class AutopathLink(Link):
    """
    The link of one ``autopath``.

    :param own: search domains of the server itself.
    """

    name = "autopath"
    varies = NOTHING

    def __init__(self, config: AutopathConfig, builder: BlockBuilder, own: tuple[bytes, ...]) -> None:
        self._config = config
        self._zones = frozenset(zone.name for zone in config.zones)
        self._own = own
        self._clock = builder.context.clock
        self._plugin: KnowsSearchPaths | None = None
        self._success = builder.context.registry.counter(
            "coredns_autopath_success_total", "Walks along a search path that came to a reply.", ["server"]
        )

    def placed(self, behind: Sequence[Link]) -> None:
        """Find the plugin that knows the paths; without it there are none."""
        for link in behind:
            if self._config.plugin and link.name == self._config.plugin and isinstance(link, KnowsSearchPaths):
                self._plugin = link
                self.varies = by_client(link.path_group, data=True)

    def answer(self, request: Request, next: Next) -> Reply:
        """See :class:`kdns.core.chain.Link`."""
        if longest_zone(request.qname, self._zones) is None:
            return next(request)
        names = names_of(request, self._path(request))
        if not names:
            return next(request)
        until = self._clock() + PATH_SECONDS if self._plugin is not None else inf
        return self._walked(Walk(request, names, self._success.counter(request.server.label), until), next)

    def _path(self, request: Request) -> tuple[bytes, ...]:
        if not self._config.plugin:
            return self._config.path
        if self._plugin is None:
            return ()
        path = self._plugin.search_path(request)
        return (*path, *self._own) if path else ()

    def _walked(self, walk: Walk, next: Next) -> Reply:
        while True:
            asked = walk.request()
            reply = attempt(next, asked)
            if isinstance(reply, Deferred):
                return reply.addBoth(self._came, walk, asked, next)
            answer = self._settled(walk, asked, reply)
            if answer is not None:
                return answer

    def _came(self, result: Answer | Failure, walk: Walk, asked: Request, next: Next) -> Reply:
        answer = self._settled(walk, asked, result)
        return self._walked(walk, next) if answer is None else answer

    def _settled(self, walk: Walk, asked: Request, result: Answer | Failure) -> Answer | None:
        """What a name led to; a failure that is more than a response code ends the walk."""
        if isinstance(result, Answer):
            return walk.came(result, asked)
        if isinstance(result.value, RcodeOnly):
            return walk.failed(result.value)
        result.raiseException()
        return None

    def explain(self, request: Request) -> list[Note]:
        """Which path would be walked."""
        path = self._path(request) if longest_zone(request.qname, self._zones) is not None else ()
        if not path:
            return [Note(f"no search path is known of {request.client} for this name")]
        names = names_of(request, path)
        if not names:
            return [Note(f"the name is not below {to_text(path[0])}, where the search path of {request.client} begins")]
        return [Note(f"one of the names {', '.join(map(to_text, names))}")]


class AutopathDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "autopath"

    def parse(self, tokens: Dispenser, block: Block) -> AutopathConfig:
        """See :func:`kdns.plugins.autopath.config.parse`."""
        return parse(tokens, block)

    def build(self, config: AutopathConfig, builder: BlockBuilder) -> None:
        """Add the link."""
        own: tuple[bytes, ...] = ()
        if config.plugin:
            try:
                own = search_domains(OWN_RESOLV_CONF)
            except OSError as error:
                log.warn(
                    "{path}: {error}; search paths end without its domains", path=OWN_RESOLV_CONF, error=str(error)
                )
        builder.link(AutopathLink(config, builder, own))


directive = AutopathDirective()
