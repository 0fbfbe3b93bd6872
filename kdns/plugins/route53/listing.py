# -*- test-case-name: tests.plugins.route53.test_route53 -*-
"""The XML of Route 53's ListResourceRecordSets. No I/O; a page is read in short steps."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

from kdns.plugins.stores.zones import RecordSet

PIECE = 4096
"""Bytes that the parser takes at a time: some 100 microseconds."""

_OCTAL = re.compile(r"\\([0-3][0-7]{2})")


class BadXml(ValueError):
    """Bytes are no answer of Route 53."""


@dataclass(slots=True)
class Listing:
    """One page."""

    sets: list[RecordSet] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    """Names of alias record sets, which have no values of their own."""

    following: dict[str, str] = field(default_factory=dict)
    """The options that ask for the next page; empty at the end."""


def decimal_escapes(text: str) -> str:
    """Escapes of Route 53 are in octal, those of master files in decimal."""
    return _OCTAL.sub(lambda match: f"\\{int(match[1], 8):03d}", text) if "\\" in text else text


def parse_listing(body: bytes) -> Generator[None, None, Listing]:
    """
    Read a page; each step is short.

    :raises BadXml: *body* is none.
    """
    # What a document type declares may grow without bounds, and Route 53 sends none.
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise BadXml("an answer with a document type")
    found = Listing()
    state: dict[str, str] = {}
    try:
        parser: Any = XMLPullParser(("end",))  # its stubs join the kinds of all events
        for at in range(0, len(body), PIECE):
            parser.feed(body[at : at + PIECE])
            _take(parser, found, state)
            yield
        parser.close()
        _take(parser, found, state)
    except (ParseError, ValueError) as error:
        raise BadXml(f"an answer that is not Route 53's: {error}") from None
    if "IsTruncated" not in state:
        raise BadXml("an answer that is not Route 53's: no list of record sets")
    if state["IsTruncated"] == "true":
        words = {"NextRecordName": "name", "NextRecordType": "type", "NextRecordIdentifier": "identifier"}
        found.following = {option: state[tag] for tag, option in words.items() if state.get(tag)}
        if not found.following:
            raise BadXml("an answer that is not Route 53's: there is more, and no name to go on from")
    return found


def _take(parser: Any, found: Listing, state: dict[str, str]) -> None:
    for _, element in parser.read_events():
        tag = _tag(element)
        if tag == "ResourceRecordSet":
            _record_set(element, found)
            element.clear()
        elif tag in ("IsTruncated", "NextRecordName", "NextRecordType", "NextRecordIdentifier"):
            state[tag] = (element.text or "").strip()


def _record_set(element: Element, found: Listing) -> None:
    fields = {_tag(child): child for child in element}
    name = decimal_escapes(_text(fields.get("Name")))
    rtype = _text(fields.get("Type"))
    if "AliasTarget" in fields:
        found.aliases.append(name)
        return
    ttl = _text(fields.get("TTL"))
    records = fields.get("ResourceRecords")
    values = [
        _text(value) for row in (records if records is not None else ()) for value in row if _tag(value) == "Value"
    ]
    if not name or not rtype or not ttl.isdigit() or len(ttl) > 10:
        raise ValueError("a record set without name, type or TTL")
    if rtype in ("TXT", "SPF"):
        values = [decimal_escapes(value) for value in values]
    found.sets.append(RecordSet(name, rtype, int(ttl), values))


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: Element | None) -> str:
    return "" if element is None else (element.text or "").strip()


def error_text(body: bytes) -> str:
    """What an error's XML says; empty when it is none."""
    match = re.search(rb"<Code>([^<]{1,100})</Code>\s*<Message>([^<]{0,400})</Message>", body)
    return "" if match is None else f"{match[1].decode('utf-8', 'replace')}: {match[2].decode('utf-8', 'replace')}"
