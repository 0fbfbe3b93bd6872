# -*- test-case-name: tests.plugins.dnssec.test_signer -*-
"""
The program that makes signatures for *dnssec*: ``python -m kdns.plugins.dnssec.program``.

It is a process of its own. Threads were tried: each time the reactor comes back from a system call, it waits for the interpreter lock
while another thread computes, up to 5 milliseconds.

Frames on standard input and output are a length of four bytes and that many bytes of MessagePack. The first is a list of :class:`Key`,
answered with an empty list when the program is ready; each further one is a :class:`Task`, answered with a list of RRSIG rdata for each of
its works. The program ends with its input.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import BinaryIO

import msgspec
from dns.dnssecalgs import get_algorithm_cls

from kdns.zones.signing import Rrset, SigningKey, rrsig_rdata

NICENESS = 5
"""Answers come before signatures."""

ORIGINAL_TTL = 3600
"""Seconds. One number for all RRsets, as in CoreDNS: so a signature holds whatever is left of a TTL in a cache (RFC 4035 section 5.3.3)."""

LENGTH = 4


class Key(msgspec.Struct, frozen=True, array_like=True):
    """A DNSKEY's rdata, and its private key in PEM."""

    rdata: bytes
    pem: bytes


class Work(msgspec.Struct, frozen=True, array_like=True):
    """An RRset to sign."""

    rrset: Rrset
    signer: bytes
    keys: tuple[int, ...]
    """Which keys sign it, by their place in the list."""


class Task(msgspec.Struct, frozen=True, array_like=True):
    """What is signed together."""

    inception: int
    expiration: int
    works: tuple[Work, ...]


Made = list[list[bytes]]
"""Rdata of RRSIG records, for each work and key."""


def key_of(key: SigningKey) -> Key:
    return Key(key.rdata, key.private.to_pem())


def signing_key(key: Key) -> SigningKey:
    private = get_algorithm_cls(key.rdata[3]).from_pem(key.pem)
    return SigningKey(b"", 0, key.rdata, private)


def do(task: Task, keys: list[SigningKey]) -> Made:
    """Make the signatures of a task."""
    times = task.inception, task.expiration
    return [
        [rrsig_rdata(keys[number], work.signer, work.rrset, ORIGINAL_TTL, *times) for number in work.keys]
        for work in task.works
    ]


def frame(value: object) -> bytes:
    """A value as it is sent."""
    content = msgspec.msgpack.encode(value)
    return len(content).to_bytes(LENGTH, "big") + content


def frames(stream: BinaryIO) -> Iterator[bytes]:
    """The contents of frames until the stream ends."""
    while len(length := stream.read(LENGTH)) == LENGTH:
        yield stream.read(int.from_bytes(length, "big"))


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer frames until there are no more."""
    received = frames(source)
    keys = [signing_key(key) for key in msgspec.msgpack.decode(next(received, b"\x90"), type=list[Key])]
    sink.write(frame([]))
    sink.flush()
    decoder = msgspec.msgpack.Decoder(Task)
    for content in received:
        sink.write(frame(do(decoder.decode(content), keys)))
        sink.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the server, too
    os.nice(NICENESS)
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
