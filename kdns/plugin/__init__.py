"""
Everything a plugin needs, in one stable module.

A plugin is a :class:`Directive`, found by its name in a Corefile. It parses its words into a frozen value and builds itself into a server
block; mostly it adds a :class:`Link`, the part that answers queries. ``docs/writing-a-plugin.md`` is the tutorial, and
:mod:`kdns.testing.plugin` the test kit.

===========================  =====================================================================================================
directive, block             :class:`Directive`, :class:`Dispenser`, :class:`Block`, :class:`BlockBuilder`, :class:`ServerContext`
query and answer             :class:`Request`, :class:`Answer`, :class:`Sections`, :func:`records`, :data:`NO_REPLY`
chain                        :class:`Link`, :data:`Next`, :data:`Reply`, :func:`then`
how long an answer holds     :class:`Validity`, :data:`ONCE`, :data:`ALWAYS`, :data:`FROM_UPSTREAM`, :class:`Stamp`
what a link varies by        :class:`Varies`, :data:`EVERY_QUERY`, :data:`NOTHING`, :func:`by_client`, :func:`by_data`
failures                     :class:`ResolutionFailed`, :class:`RcodeOnly`, :class:`Refused`
life                         :class:`Resource`, :class:`Unavailable`
watching and explaining      :class:`Observer`, :class:`Exchange`, :class:`Repeat`, :class:`Counter`, :class:`Note`
===========================  =====================================================================================================

Names are bytes in wire form and lower case (:func:`from_text`, :func:`to_text`, :func:`longest_zone`); records are made by the functions of
:mod:`kdns.wire.records`.
"""

from kdns.core.answer import NO_REPLY, Answer, Body, Kind, Sections, records
from kdns.core.chain import Link, Next, Reply, then
from kdns.core.explaining import Note
from kdns.core.failure import RcodeOnly, Refused, ResolutionFailed
from kdns.core.metrics import Counter
from kdns.core.observe import Exchange, Observer, Repeat
from kdns.core.request import Request, Transport
from kdns.core.stamps import Stamp, StampBook
from kdns.core.validity import (
    ALWAYS,
    EVERY_QUERY,
    FROM_UPSTREAM,
    NOTHING,
    ONCE,
    Validity,
    Varies,
    by_client,
    by_data,
)
from kdns.corefile import Dispenser
from kdns.plugin.seam import Block, BlockBuilder, Directive, Resource, ServerContext, Unavailable
from kdns.wire.names import from_text, is_subdomain, longest_zone, to_text
from kdns.wire.records import Record

__all__ = [
    "ALWAYS",
    "EVERY_QUERY",
    "FROM_UPSTREAM",
    "NOTHING",
    "NO_REPLY",
    "ONCE",
    "Answer",
    "Block",
    "BlockBuilder",
    "Body",
    "Counter",
    "Directive",
    "Dispenser",
    "Exchange",
    "Kind",
    "Link",
    "Next",
    "Note",
    "Observer",
    "RcodeOnly",
    "Record",
    "Refused",
    "Repeat",
    "Reply",
    "Request",
    "ResolutionFailed",
    "Resource",
    "Sections",
    "ServerContext",
    "Stamp",
    "StampBook",
    "Transport",
    "Unavailable",
    "Validity",
    "Varies",
    "by_client",
    "by_data",
    "from_text",
    "is_subdomain",
    "longest_zone",
    "records",
    "then",
    "to_text",
]
