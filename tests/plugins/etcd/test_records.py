# -*- test-case-name: tests.plugins.etcd.test_records -*-
"""Keys and values as records, and the index of them."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.etcd.records import MOST_ENTRIES, BadRecord, Entry, Path, RecordIndex, of_one_group, parse
from kdns.wire.names import from_text, spelled_from_text


def path(text: str) -> Path:
    """A path as keys have it."""
    return tuple(part.encode() for part in text.split("/")) if text else ()


PATHS: list[Path] = [tuple(labels) for size in range(4) for labels in product((b"a", b"b"), repeat=size)]


def entry(key: str, value: str = '{"host": "10.0.0.1"}') -> Entry:
    """The record of a key."""
    return parse(path(key), value.encode())


class ParseTests(SynchronousTestCase):
    """kdns.plugins.etcd.records.parse."""

    def test_fields(self) -> None:
        """Each field is read; what is null or missing has its default."""
        found = entry(
            "test/s/www",
            '{"host": "Www.Example.com", "port": 80, "priority": 5, "weight": 7, "mail": true, "ttl": 60, "targetstrip": 2,'
            ' "group": "g", "text": null, "unknown": []}',
        )
        self.assertEqual(found.name, from_text("www.s.test"))
        self.assertEqual((found.address, found.target), (None, spelled_from_text("Www.Example.com")))
        self.assertEqual((found.port, found.priority, found.weight), (80, 5, 7))
        self.assertEqual((found.mail, found.ttl, found.strip, found.group), (True, 60, 2, "g"))
        bare = entry("a", "{}")
        self.assertEqual((bare.priority, bare.weight, bare.ttl, bare.alias, bare.texts), (10, 0, 0, None, []))

    def test_host(self) -> None:
        """A literal is an address, with IPv4 in IPv6 as IPv4; all else is a name, or a text if there is one."""
        self.assertEqual(entry("a", '{"host": "::ffff:10.0.0.1"}').address, bytes((10, 0, 0, 1)))
        self.assertEqual(entry("a", '{"host": "2001:db8::1"}').address, b" \x01\r\xb8" + bytes(11) + b"\x01")
        both = entry("a", '{"host": "x.y", "text": "t"}')
        self.assertEqual((both.alias, both.texts), (None, [b"t"]))
        self.assertEqual(entry("a", '{"host": "10.0.0.1", "text": "t"}').texts, [])
        self.assertEqual([len(text) for text in entry("a", '{"text": "' + "x" * 300 + '"}').texts], [255, 45])

    def test_bad(self) -> None:
        """What is no record says why."""
        for value in (
            "", "not json", "[]", '{"host": 5}', '{"port": 65536}', '{"priority": -1}', '{"ttl": 4294967296}', '{"host": "a..b"}',
            '{"host": "' + "x" * 64 + '"}', '{"host": "10.0.0.1"', '\xff', '{"text": "' + "x" * 60_001 + '"}',
        ):  # fmt: skip
            with self.assertRaises(BadRecord, msg=value):
                entry("a", value)
        for key in ("x" * 64, "/".join(["x" * 60] * 5)):
            with self.assertRaises(BadRecord):
                entry(key)

    def test_stripped(self) -> None:
        """Labels are cut from the left; a target that has too few of them stays."""
        found = entry("a", '{"targetstrip": 2}')
        self.assertEqual(found.stripped(from_text("a.b.c.d")), from_text("c.d"))
        self.assertEqual(found.stripped(from_text("a.b")), from_text("a.b"))

    @given(st.binary(max_size=200), st.lists(st.binary(max_size=70), max_size=5))
    def test_anything(self, value: bytes, labels: list[bytes]) -> None:
        """Bytes are a record, or no record."""
        try:
            found = parse(tuple(labels), value)
        except BadRecord:
            return
        self.assertLessEqual(len(found.name), 255)


class IndexTests(SynchronousTestCase):
    """kdns.plugins.etcd.records.RecordIndex."""

    def setUp(self) -> None:
        self.index = RecordIndex()
        for key in ("test/s/www", "test/s/deep/x", "test/s/deep/x/y", "test/s/deep/x/z", "test/s/deep/w/y", "test/t"):
            self.index.put(entry(key))

    def keys(self, found: list[Entry]) -> list[str]:
        """Their keys."""
        return ["/".join(part.decode() for part in one.path) for one in found]

    def test_below(self) -> None:
        """A name has what is below it, and its own record only where nothing is."""
        self.assertEqual(
            self.keys(self.index.below(path("test/s/deep/x")).entries), ["test/s/deep/x/y", "test/s/deep/x/z"]
        )
        self.assertEqual(self.keys(self.index.below(path("test/s/www")).entries), ["test/s/www"])
        self.assertEqual(len(self.index.below(()).entries), 6)
        self.assertFalse(self.index.below(path("test/s/nope")).exists)
        self.assertFalse(self.index.below(path("test/s/www/x")).exists)

    def test_exact(self) -> None:
        """A name exists with what is below it, and may have no record of its own."""
        self.assertEqual(self.keys(self.index.exact(path("test/s/deep/x")).entries), ["test/s/deep/x"])
        found = self.index.exact(path("test/s/deep"))
        self.assertEqual((found.exists, found.entries), (True, []))

    def test_wildcards(self) -> None:
        """A wildcard stands for one label; what is below the names that match comes, too."""
        self.assertEqual(
            self.keys(self.index.matching(path("test/s/deep/*/y")).entries), ["test/s/deep/w/y", "test/s/deep/x/y"]
        )
        found = self.keys(self.index.matching(path("test/any")).entries)
        self.assertEqual(len(found), 6)
        self.assertIn("test/s/deep/x", found)
        self.assertTrue(self.index.matching(path("test/s/*/nope")).exists)
        self.assertFalse(self.index.matching(path("test/nope/*")).exists)

    def test_removed(self) -> None:
        """With the last record below it a name is gone."""
        self.index.remove(path("test/s/deep/w/y"))
        self.assertFalse(self.index.below(path("test/s/deep/w")).exists)
        self.index.remove(path("test/s/deep/x"))
        self.assertTrue(self.index.below(path("test/s/deep/x")).exists)
        self.index.remove(path("test/s/nope"))
        self.index.remove(path("test/s"))
        self.assertEqual(self.index.records, 4)

    def test_broken(self) -> None:
        """A value that cannot be read leaves a name that exists, and says so."""
        self.index.put_broken(path("test/s/www"))
        found = self.index.below(path("test/s/www"))
        self.assertEqual((found.exists, found.broken, found.entries), (True, True, []))
        self.assertTrue(self.index.below(path("test/s")).broken)
        self.index.put(entry("test/s/www"))
        self.assertFalse(self.index.below(path("test/s/www")).broken)
        self.index.put_broken(path("test/s/www"))
        self.index.remove(path("test/s/www"))
        self.assertFalse(self.index.below(path("test/s/www")).exists)

    def test_stamps(self) -> None:
        """A change moves the stamps of its name and of all above, not those beside and below."""
        names = ("test/s/deep/x/y", "test/s/deep/x", "test/s", "", "test/s/deep/w", "test/s/deep/x/y/below")
        noted = {name: self.index.note(path(name)) for name in names}
        self.index.put(entry("test/s/deep/x/y", '{"host": "10.0.0.2"}'))
        moved = {name for name, (stamp, version) in noted.items() if stamp.version != version}
        self.assertEqual(moved, {"test/s/deep/x/y", "test/s/deep/x", "test/s", ""})

    def test_bounded(self) -> None:
        """However many records there are, a look-up takes a bounded number of them."""
        for number in range(2 * MOST_ENTRIES):
            self.index.put(entry(f"big/{number}/{number}"))
        self.assertEqual(len(self.index.below(path("big")).entries), MOST_ENTRIES)
        self.assertEqual(len(self.index.matching(path("big/*")).entries), MOST_ENTRIES)
        self.assertEqual(len(self.index.matching(path("big/*/7")).entries), 1)

    @given(st.lists(st.tuples(st.booleans(), st.sampled_from(PATHS)), max_size=20))
    def test_as_a_dict(self, changes: list[tuple[bool, Path]]) -> None:
        """After any changes the index says what a dict of keys says."""
        index, known = RecordIndex(), {}
        for put, key in changes:
            if put:
                index.put(parse(key, b"{}"))
                known[key] = True
            else:
                index.remove(key)
                known.pop(key, None)
        self.assertEqual(index.records, len(known))
        for key in {changed[:size] for _, changed in changes for size in range(4)}:
            below = sorted(one for one in known if one[: len(key)] == key and one != key)
            own = [key] if key in known else []
            found = index.below(key)
            self.assertEqual(sorted(one.path for one in found.entries), below or own)
            self.assertEqual(found.exists, bool(below or own))


class GroupTests(SynchronousTestCase):
    """kdns.plugins.etcd.records.of_one_group."""

    def chosen(self, *entries: tuple[str, str]) -> list[str]:
        """The keys that stay."""
        found = of_one_group([entry(key, f'{{"group": "{group}"}}') for key, group in entries])
        return ["/".join(part.decode() for part in one.path) for one in found]

    def test_groups(self) -> None:
        """The group of the shortest key counts; records without one stay, and disagreement keeps all."""
        self.assertEqual(self.chosen(("g/sub/x", "2"), ("g/x", "1"), ("g/y", "1"), ("g/z", "")), ["g/x", "g/y", "g/z"])
        self.assertEqual(self.chosen(("g/x", "1"), ("g/y", "2")), ["g/x", "g/y"])
        self.assertEqual(self.chosen(("g/x", ""), ("g/y", "")), ["g/x", "g/y"])
        self.assertEqual(self.chosen(("g/s/x", "1"), ("g/t/x", "2"), ("g/y", "")), ["g/s/x", "g/t/x", "g/y"])
