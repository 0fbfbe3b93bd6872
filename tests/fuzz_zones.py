"""
Fuzz targets for zone data: master files, and messages of a transfer.

A text is a zone or a clean error, and so is what a primary sends. No step of the work may take long: steps are what the reactor's turns are
made of.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from kdns.wire.constants import QR
from kdns.wire.names import from_text
from kdns.zones.incoming import IncomingTransfer, State, TransferFailed
from kdns.zones.lookup import look_up
from kdns.zones.master import MasterReader
from kdns.zones.outgoing import Reply, full, messages
from kdns.zones.zone import BadZone, Zone, ZoneBuilder

ORIGIN = from_text("example.org")
MOST_SECONDS = 0.1
"""Processor time of one step. What is promised is 5 ms a turn; this machine may be twenty times as busy as that."""

HEAD = b"$TTL 300\n@ SOA ns admin 5 7200 1800 86400 60\n@ NS ns\nns A 192.0.2.53\n"

FILES = (
    HEAD
    + b'www IN 1h A 10.0.0.1 ; c\n  TXT "a;b" ( "c"\n d ) \\"e\n*.w CNAME www\nsub NS ns.sub\nd DNAME a.example.net.\n',
    HEAD + b"$GENERATE 1-9/2 h${0,3,x} A 10.0.0.$\n$ORIGIN x\n$TTL 1h30m\nt TYPE65280 \\# 3 0a 0b0c\n$INCLUDE db\n",
    HEAD
    + b'h HTTPS 1 . alpn="h3,h2" port=1\nn NAPTR 1 2 "u" "" "!a!b!" .\nl LOC 52 22 23.000 N 4 53 32.000 E -2.00m\n',
    HEAD
    + b"@ NSEC3PARAM 1 0 3 aabb\n2t7b4g4vsa5smi47k61mv5bv1a22bojr NSEC3 1 1 3 aabb 2t7b4g4vsa5smi47k61mv5bv1a22bojs A\n@ NSEC w A\n",
)


def advanced(steps: Iterator[None]) -> None:
    """Do work to its end; each step must be short."""
    while True:
        before = time.process_time()
        try:
            next(steps)
        except StopIteration:
            return
        finally:
            seconds = time.process_time() - before
            assert seconds < MOST_SECONDS, f"a step took {seconds:.3f} s"


def run_zone(octets: bytes) -> None:
    """Read octets as a master file, ask the zone, and transfer it."""
    builder = ZoneBuilder(ORIGIN)

    def opened(path: str) -> BinaryIO:
        return BytesIO(octets)

    try:
        advanced(MasterReader(opened, "db", ORIGIN, builder.add).read())
        advanced(builder.finish())
    except BadZone as error:
        assert str(error)
        return
    ask(builder.zone)
    transfer = IncomingTransfer(ORIGIN, 7)
    for message in messages(Reply(7, QR, ORIGIN + b"\x00\xfc\x00\x01", b""), ORIGIN, full(builder.zone)):
        advanced(transfer.feed(message))
    advanced(transfer.finish())
    assert transfer.zone is not None and transfer.zone.records == builder.zone.records


def ask(zone: Zone) -> None:
    """Ask for every name of a zone, and for one that is not there below each."""
    for count, record in enumerate(zone.all_records()):
        owner = record.owner.lower()
        for name in (owner, b"\x01x" + owner):
            if len(name) < 256 and name.endswith(ORIGIN):
                look_up(zone, name, record.rtype, True)
        if count > 50:
            return


def _messages() -> tuple[bytes, ...]:
    found: list[bytes] = []
    for text in (FILES[0], FILES[2], FILES[3]):
        builder = ZoneBuilder(ORIGIN)

        def opened(path: str, text: bytes = text) -> BinaryIO:
            return BytesIO(text)

        for _ in MasterReader(opened, "db", ORIGIN, builder.add).read():
            pass
        for _ in builder.finish():
            pass
        found += messages(Reply(7, QR, ORIGIN + b"\x00\xfc\x00\x01", b""), ORIGIN, full(builder.zone))
    return tuple(found)


MESSAGES = _messages()


def run_transfer(octets: bytes) -> None:
    """Take octets as what a primary sends, for a whole zone."""
    transfer = IncomingTransfer(ORIGIN, 7)
    try:
        advanced(transfer.feed(octets))
        if transfer.state is not State.DONE:
            return
        advanced(transfer.finish())
        assert transfer.zone is not None
        ask(transfer.zone)
    except TransferFailed as error:
        assert str(error)
