"""Profiles as text and as messages of protocol buffers."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.pprof.profile import Place, Profile, Unit, as_pprof, as_text

MAIN = Place("main", "a.py", 3)
WORK = Place("work", "a.py", 10)
PROFILE = Profile(
    (Unit("samples", "count"), Unit("cpu", "nanoseconds")),
    {(WORK, MAIN): (3, 300), (MAIN,): (1, 100)},
    began=1_700_000_000.0,
    seconds=2.0,
    period=100,
)


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: number and value, as they stand."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            size = varint()
            yield tag >> 3, message[at : at + size]
            at += size


class ProfileTests(SynchronousTestCase):
    """Two functions, one of which calls the other."""

    def test_text(self) -> None:
        """Each function has its own value, and that of what it calls."""
        lines = as_text(PROFILE).splitlines()
        self.assertEqual(lines[0], "cpu in nanoseconds: 400")
        self.assertEqual(lines[2].split(), ["300", "75.0%", "300", "75.0%", "work", "a.py"])
        self.assertEqual(lines[3].split(), ["100", "25.0%", "400", "100.0%", "main", "a.py"])

    def test_nothing(self) -> None:
        """A process that did nothing has an empty table."""
        empty = Profile(PROFILE.units, {}, 0.0)
        self.assertEqual(len(as_text(empty).splitlines()), 2)
        self.assertTrue(as_pprof(empty))

    def test_message(self) -> None:
        """The message says the same in numbers and a table of strings."""
        found: dict[int, list[Any]] = {}
        for number, value in fields(gzip.decompress(as_pprof(PROFILE))):
            found.setdefault(number, []).append(value)
        strings = [value.decode() for value in found[6]]
        self.assertEqual(strings[0], "")
        units = [[strings[value] for _, value in fields(unit)] for unit in found[1]]
        self.assertEqual(units, [["samples", "count"], ["cpu", "nanoseconds"]])
        samples = [dict(fields(sample)) for sample in found[2]]
        self.assertEqual(samples, [{1: b"\x01\x02", 2: b"\x03\xac\x02"}, {1: b"\x02", 2: b"\x01\x64"}])
        functions = [dict(fields(function)) for function in found[5]]
        self.assertEqual(
            [(one[1], strings[one[2]], strings[one[4]]) for one in functions],
            [(1, "work", "a.py"), (2, "main", "a.py")],
        )
        lines = [dict(fields(dict(fields(location))[4])) for location in found[4]]
        self.assertEqual(lines, [{1: 1, 2: 10}, {1: 2, 2: 3}])
        self.assertEqual((found[9], found[10], found[12]), ([1_700_000_000_000_000_000], [2_000_000_000], [100]))
