"""Text for operators."""

from __future__ import annotations

import errno

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.text import bracketed, checkout_path, printable, reason_of


class TextTests(SynchronousTestCase):
    """What an operator reads."""

    def test_escapes(self) -> None:
        """Escape sequences, line breaks, direction marks and lone surrogates are shown, not obeyed."""
        self.assertEqual(
            printable("a\x1b[2Jb\n\x9b\u202e\udc80\U000e0001"), "a\\x1b[2Jb\\n\\u009b\\u202e\\udc80\\U000e0001"
        )
        self.assertEqual(printable("zürich 東京"), "zürich 東京")

    @given(st.text())
    def test_always_printable(self, text: str) -> None:
        """Whatever comes, what is shown is printable."""
        self.assertTrue(printable(text).isprintable())

    def test_reason(self) -> None:
        """The system's reason, or the error's own text where it has none."""
        self.assertEqual(
            reason_of(FileNotFoundError(errno.ENOENT, "No such file or directory")), "no such file or directory"
        )
        self.assertEqual(reason_of(OSError("Only a text")), "only a text")

    def test_paths(self) -> None:
        """A path is told where it leads somewhere."""
        self.assertEqual(
            [checkout_path(path) for path in ("docs/operations.md", "docs/no-such-page.md")], ["docs/operations.md", ""]
        )

    def test_brackets(self) -> None:
        """IPv6 addresses have brackets in front of a port."""
        self.assertEqual(
            [bracketed(host) for host in ("::1", "127.0.0.1", "a.test", "")], ["[::1]", "127.0.0.1", "a.test", ""]
        )
