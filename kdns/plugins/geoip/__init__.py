# -*- test-case-name: tests.plugins.geoip -*-
"""``geoip DATABASE { edns-subnet }``: describe queries by where their clients are, as labels of metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kdns.core.chain import then
from kdns.core.explaining import Note
from kdns.core.request import Request
from kdns.corefile.errors import SetupError
from kdns.corefile.values import quote
from kdns.plugin import Answer, Block, BlockBuilder, Dispenser, Link, Next, Reply, by_client
from kdns.plugin.capabilities import Describes
from kdns.plugins.geoip.labels import Labels, subnet_address
from kdns.wire.constants import CLIENT_SUBNET, COOKIE
from kdns.wire.query import options_of

if TYPE_CHECKING:
    from kdns.plugins.geoip.database import Database


@dataclass(frozen=True, slots=True)
class GeoipConfig:
    path: str
    edns_subnet: bool = False
    """Whether the address in a client subnet option counts in place of the client's own."""


class SubnetLookup:
    """The labels of the address in a client subnet option, and whether any of them was read."""

    __slots__ = ("labels", "read")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.read = False


class SubnetLabel:
    """The value of one label in metadata."""

    __slots__ = ("_index", "lookup")

    def __init__(self, lookup: SubnetLookup, index: int) -> None:
        self.lookup = lookup
        self._index = index

    def __call__(self) -> str:
        self.lookup.read = True
        return self.lookup.labels[self._index]


class GeoipLink(Link, Describes):
    """
    Describes queries, and keeps finished replies apart by what clients' addresses are described as.

    What a client subnet option says needs no such care: the option is part of the question.
    """

    name = "geoip"
    described = ("geoip/",)

    def __init__(self, database: Database, edns_subnet: bool) -> None:
        self._database = database
        self._edns_subnet = edns_subnet
        self.varies = by_client(database.group, data=True)

    def _subnet(self, request: Request) -> bytes | None:
        """The data of the client subnet option that counts."""
        if not self._edns_subnet or request.edns is None or not request.edns.options:
            return None
        return next((data for code, data in options_of(request.edns.options) if code == CLIENT_SUBNET), None)

    def _labels(self, request: Request) -> Labels:
        option = self._subnet(request)
        if option is None:
            return self._database.group(request.client)[1]
        address = subnet_address(option)
        return self._database.schema.values(None) if address is None else self._database.labels(address)

    def collect(self, request: Request) -> None:
        """Put the labels into the request's metadata."""
        metadata = request.metadata
        assert metadata is not None, "sources are asked for queries with metadata"
        names, labels = self._database.schema.names, self._labels(request)
        if self._subnet(request) is None:
            metadata.update(zip(names, labels, strict=True))
        else:
            lookup = SubnetLookup(labels)
            metadata.update({name: SubnetLabel(lookup, index) for index, name in enumerate(names)})

    def answer(self, request: Request, next: Next) -> Reply:
        option = self._subnet(request)
        reply = next(request)
        return reply if option is None else then(reply, self._scoped, request, option)

    def _scoped(self, answer: Answer, request: Request, option: bytes) -> Answer:
        """
        An answer that was made for the client's subnet says so.

        RFC 7871 section 7.2.1: without the option in the reply, a resolver gives the answer to clients of all subnets.
        """
        label = (request.metadata or {}).get(self._database.schema.names[0])
        if answer.silent or not isinstance(label, SubnetLabel) or not label.lookup.read:
            return answer
        assert request.edns is not None, "it had an option"
        options = answer.options
        once = False
        if (
            options is None
        ):  # with options of its own, the answer has to repeat the cookie itself, and so it is for this query alone
            options = tuple(option for option in options_of(request.edns.options) if option[0] == COOKIE)
            once = bool(options)
        if any(code == CLIENT_SUBNET for code, _ in options):
            return answer
        scoped = (CLIENT_SUBNET, option[:3] + option[2:3] + option[4:])
        answer = replace(answer, options=(*options, scoped))
        return answer.once() if once else answer

    def explain(self, request: Request) -> list[Note]:
        found = zip(self._database.schema.names, self._labels(request), strict=True)
        shown = ", ".join(f"{name} {value}" for name, value in found if value not in ("", "0", "false"))
        about = request.client if self._subnet(request) is None else "the client's subnet"
        return [Note(f"{about}: {shown}" if shown else f"{about} is not in {self._database.path}")]


class GeoipDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "geoip"

    def parse(self, tokens: Dispenser, block: Block) -> GeoipConfig:
        """``geoip DATABASE { edns-subnet }``, once in a server block."""
        config = GeoipConfig("")
        for number in tokens.invocations():
            if number:
                raise tokens.error("configuring multiple databases is not supported")
            path = tokens.word()
            edns_subnet = False
            for option in tokens.block():
                if option != "edns-subnet":
                    raise tokens.error(f"unknown property {quote(option)}")
                edns_subnet = True
            config = GeoipConfig(path, edns_subnet)
        return config

    def build(self, config: GeoipConfig, builder: BlockBuilder) -> None:
        """
        Add the link. Nothing is done where no metadata is collected.

        :raises SetupError: the file cannot be used.
        """
        try:
            from kdns.plugins.geoip.database import Database, schema_of_file
        except ImportError as error:
            text = "the Python package maxminddb is not installed"
            raise SetupError(text, plugin="geoip", hint="pip install 'kdns[geoip]'") from error
        try:
            schema = schema_of_file(config.path)
        except ValueError as error:
            raise SetupError(str(error), plugin="geoip") from error
        described = builder.collect_metadata is not None
        context = builder.context
        key = ("geoip", config.path, described)
        database = builder.keep(key, schema, lambda: Database(config.path, schema, described, context))
        if described:
            link = GeoipLink(database, config.edns_subnet)
            builder.link(link)
            builder.metadata_from(link.collect)


directive = GeoipDirective()
