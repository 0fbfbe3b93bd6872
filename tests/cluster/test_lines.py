"""Tests of cutting a stream into lines."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.lines import LineSplitter, Overlong


def lines_of(splitter: LineSplitter) -> list[bytes | Overlong]:
    """All lines that are ready."""
    found = []
    while (line := splitter.take()) is not None:
        found.append(line)
    return found


class LineSplitterTests(SynchronousTestCase):
    """Lines, however the stream is cut."""

    def test_lines(self) -> None:
        """Complete lines are handed out in order; what has no end yet waits for it."""
        splitter = LineSplitter()
        splitter.feed(b"one\ntwo\nthr")
        self.assertEqual(lines_of(splitter), [b"one", b"two"])
        self.assertEqual(splitter.unfinished, 3)
        splitter.feed(b"ee\n")
        self.assertEqual(lines_of(splitter), [b"three"])
        self.assertEqual((splitter.buffered, splitter.unfinished), (0, 0))

    def test_empty_lines(self) -> None:
        """Empty lines and those of blanks are left out."""
        splitter = LineSplitter()
        splitter.feed(b"\n\r\na\n\n \nb\n")
        self.assertEqual(lines_of(splitter), [b"a", b"b"])

    @given(st.lists(st.binary(min_size=1, max_size=12).filter(lambda b: b"\n" not in b and b.strip())), st.data())
    def test_any_cut(self, wanted: list[bytes], data: st.DataObject) -> None:
        """Where the pieces end makes no difference, and nothing stays behind."""
        stream = b"".join(line + b"\n" for line in wanted)
        splitter = LineSplitter(limit=8)
        found = []
        while stream:
            size = data.draw(st.integers(1, len(stream)))
            splitter.feed(stream[:size])
            stream = stream[size:]
            self.assertLessEqual(splitter.buffered, sum(map(len, wanted)))
            if data.draw(st.booleans()):
                found += lines_of(splitter)
        found += lines_of(splitter)
        plain = [line.octets if isinstance(line, Overlong) else line for line in found]
        self.assertEqual(plain, [line if len(line) <= 8 else len(line) for line in wanted])
        heads = [(line.head, whole) for line, whole in zip(found, wanted, strict=True) if isinstance(line, Overlong)]
        self.assertTrue(all(head and whole.startswith(head) for head, whole in heads), heads)
        self.assertEqual(splitter.buffered, 0)

    def test_overlong(self) -> None:
        """Of a line over the limit the head is kept and nothing else, however long it goes on; the next line is whole."""
        splitter = LineSplitter(limit=1000)
        for _ in range(5000):
            splitter.feed(b"x" * 100)
            self.assertLessEqual(splitter.buffered, 1100)
        self.assertEqual(splitter.unfinished, 500_000)
        splitter.feed(b"y\nnext\n")
        self.assertEqual(lines_of(splitter), [Overlong(500_001, b"x" * 1024), b"next"])

    def test_buffered(self) -> None:
        """The octets held are counted, so that a reader can stop the stream."""
        splitter = LineSplitter()
        splitter.feed(b"abc\ndefg\nhi")
        self.assertEqual((len(splitter), splitter.buffered), (2, 9))
        splitter.take()
        self.assertEqual(splitter.buffered, 6)
