# -*- test-case-name: tests.plugins.sign.test_service -*-
"""
The program that signs a zone file: ``python -m kdns.plugins.sign.program``, with a :class:`Task` as JSON on standard input.

It is a process of its own, because a large zone takes minutes of a processor. It prints a :class:`Done` as JSON. What goes wrong is one
line on standard error, and status 1.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import msgspec

from kdns.core.config_files import open_config_file
from kdns.core.text import reason_of
from kdns.plugins.dnssec.keys import BadKey, read_key
from kdns.wire.presentation import record_line
from kdns.wire.records import Record
from kdns.zones.master import MasterReader
from kdns.zones.zone import BadZone, Zone, ZoneBuilder
from kdns.zones.zone_signing import Times, sign_zone

NICENESS = 10
"""Answers come first: the program runs when nothing else wants the processor."""


class Task(msgspec.Struct, frozen=True):
    """What to sign."""

    path: str
    origin: bytes
    key_paths: tuple[str, ...]
    to: str
    """The file to write."""

    serial: int
    inception: int
    expiration: int


class Done(msgspec.Struct, frozen=True):
    """What was signed."""

    records: int
    seconds: float


class CannotSign(Exception):
    """The zone cannot be signed; the text says why."""


def sign_file(task: Task, clock: Callable[[], float] = time.monotonic) -> Done:
    """
    Write the signed zone beside its place, and rename it when it is whole: whoever reads meanwhile finds the old one.

    :raises CannotSign: nothing is left behind then.
    """
    started = clock()
    try:
        keys = [read_key(path) for path in task.key_paths]
        zone = _zone(task)
        times = Times(task.serial, task.inception, task.expiration)
        count = _write(task.to, sign_zone(zone, keys, times))
    except (BadKey, BadZone) as error:
        raise CannotSign(str(error)) from error
    except OSError as error:
        raise CannotSign(f"{error.filename or task.to}: {reason_of(error)}") from error
    return Done(count, clock() - started)


def _zone(task: Task) -> Zone:
    builder = ZoneBuilder(task.origin)
    for _ in MasterReader(open_config_file, task.path, task.origin, builder.add).read():
        pass
    for _ in builder.finish():
        pass
    return builder.zone


def _write(path: str, records: Iterator[Record]) -> int:
    """Write a zone file; how many records it has."""
    descriptor, temporary = tempfile.mkstemp(prefix="signed-", dir=os.path.dirname(path) or ".")
    count = 0
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            for record in records:
                file.write(_line(record))
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return count


def _line(record: Record) -> str:
    """A line of a master file."""
    owner, ttl, rclass, rtype, rdata = record_line(record)
    if rdata.startswith("\\#"):  # of a type that only dnspython knows a better form of
        try:
            rtype_number = dns.rdatatype.RdataType.make(record.rtype)
            read = dns.rdata.from_wire(dns.rdataclass.IN, rtype_number, record.rdata, 0, len(record.rdata))
            rdata = read.to_text(origin=dns.name.root, relativize=False)
        except (dns.exception.DNSException, ValueError):
            pass
    return f"{owner}\t{ttl}\t{rclass}\t{rtype}\t{rdata}\n"


def main() -> int:
    """Sign, and say how it went."""
    os.nice(NICENESS)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # the unfinished file is removed then
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        done = sign_file(task)
    except CannotSign as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
