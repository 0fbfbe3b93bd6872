# -*- test-case-name: tests.plugins.hosts -*-
"""``hosts``: answer from a hosts file, or from lines of that kind in the Corefile."""

from __future__ import annotations

import os

from twisted.logger import Logger

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply, then
from kdns.core.explaining import Note
from kdns.core.failure import RcodeOnly
from kdns.core.request import Request
from kdns.core.validity import NOTHING, Validity
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import SetupError
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.hosts.config import HostsConfig, parse
from kdns.plugins.hosts.service import HostsFile, reload_timestamp
from kdns.plugins.hosts.table import find
from kdns.wire.constants import AA, AAAA, PTR, A
from kdns.wire.names import ROOT, address_of_reverse, longest_zone, to_text
from kdns.wire.records import Record, a_or_aaaa, ptr

log = Logger(namespace="plugin/hosts")


class HostsLink(Link):
    """A link that answers from its tables."""

    name = "hosts"
    varies = NOTHING

    def __init__(self, config: HostsConfig, file: HostsFile) -> None:
        self._config = config
        self._file = file
        self._zones = frozenset(config.zones)
        self._fallthrough = frozenset(config.fallthrough)

    def answer(self, request: Request, next: Next) -> Reply:
        """
        See :class:`kdns.core.chain.Link`.

        Reverse names are answered whether they are in the zones or not, and go on when nothing is known of them.

        :raises RcodeOnly: the name is not known and must not go on: SERVFAIL, since without an SOA there is no NXDOMAIN.
        """
        qname, qtype = request.qname, request.qtype
        if qtype == PTR:
            address = address_of_reverse(qname)
            names = () if address is None else self._names(address)
            if not names:
                return self._passed(request, next)
            return self._made(request, [ptr(qname, self._config.ttl, name) for name in names])
        if ROOT not in self._zones and longest_zone(qname, self._zones) is None:
            return next(request)
        known = find(self._file.tables, qname)
        if known is not None:
            size = {A: 4, AAAA: 16}.get(qtype, 0)
            records = [a_or_aaaa(qname, self._config.ttl, packed) for packed in known if len(packed) == size]
            if size or not self._config.fallthrough_unsupported or not self._falls_through(qname):
                return self._made(request, records)
        elif not self._falls_through(qname):
            raise RcodeOnly(f"no host {to_text(qname)}")
        return self._passed(request, next)

    def explain(self, request: Request) -> list[Note]:
        """What the tables know of the name; see :mod:`kdns.core.explaining`."""
        if request.qtype == PTR and (address := address_of_reverse(request.qname)) is not None:
            names = self._names(address)
            return [Note(f"the address has {len(names)} names in {self._config.path} and the Corefile")]
        if ROOT not in self._zones and longest_zone(request.qname, self._zones) is None:
            return [Note(f"not for this name: its zones are {', '.join(map(to_text, sorted(self._zones)))}")]
        known = find(self._file.tables, request.qname)
        if known is not None:
            return [Note(f"the name has {len(known)} addresses in {self._config.path} and the Corefile")]
        onward = self._falls_through(request.qname)
        text = f"the name is neither in {self._config.path} nor in the Corefile"
        return [
            Note(
                f"{text}; the next plugin is asked (fallthrough)" if onward else f"{text}, and there is no fallthrough",
                not onward,
            )
        ]

    def _names(self, address: bytes) -> list[bytes]:
        return list(dict.fromkeys(name for table in self._file.tables for name in table.names(address)))

    def _falls_through(self, qname: bytes) -> bool:
        return bool(self._fallthrough) and longest_zone(qname, self._fallthrough) is not None

    def _made(self, request: Request, records: list[Record]) -> Answer:
        holds = Validity(True, stamps=self._file.noted(request.qname))
        return Answer(flags=AA, body=Sections(tuple(records)), validity=holds, source=self.name)

    def _passed(self, request: Request, next: Next) -> Reply:
        """The next plugin's answer is valid only while the name is unknown here."""
        noted = self._file.noted(request.qname)
        return then(next(request), lambda answer: answer.with_validity(answer.validity.narrowed(stamps=noted)))


class HostsDirective:
    name = "hosts"

    def parse(self, tokens: Dispenser, block: Block) -> HostsConfig:
        return parse(tokens, block)

    def build(self, config: HostsConfig, builder: BlockBuilder) -> None:
        """
        Add the link and the file.

        :raises SetupError: the file is there and cannot be looked at.
        """
        try:
            if os.path.isdir(config.path):
                log.warn('Hosts file "{path}" is a directory', path=config.path)
            os.stat(config.path)
        except FileNotFoundError:
            log.warn("File does not exist: {path}", path=config.path)
        except OSError as error:
            text = f"unable to access hosts file '{config.path}': {error.strerror}"
            raise SetupError(text, plugin=self.name, located=False) from error
        reload_timestamp(builder.context.registry)
        file = builder.keep(("hosts", builder.number), config, lambda: HostsFile(config, builder.context))
        builder.link(HostsLink(config, file))


directive = HostsDirective()
