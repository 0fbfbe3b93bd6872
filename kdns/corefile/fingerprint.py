# -*- test-case-name: tests.corefile.test_fingerprint -*-
"""
One number for what a Corefile says, by which ``reload`` tells whether it changed.

It is taken from the parsed tree: imported text and environment values count, comments, blanks, quotes and the order of different
directives, which has no effect, do not. Neither do line numbers, which count for CoreDNS; so the number is not CoreDNS's number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from kdns.corefile.tree import ServerBlock


def fingerprint(blocks: Iterable[ServerBlock]) -> str:
    """The SHA-512 of what *blocks* say, in hexadecimal."""
    digest = hashlib.sha512()
    for piece in _pieces(blocks):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(blocks: Iterable[ServerBlock]) -> Iterator[bytes]:
    """All that has an effect: marks for what begins, and words, each with its length so that ``a b`` and ``ab`` differ."""
    for block in blocks:
        yield b"block "
        yield from map(_word, block.key_texts)
        for name in sorted(block.directives):
            yield b"directive "
            yield _word(name)
            for token in block.directives[name].tokens:
                if token.starts_line:
                    yield b"line "
                yield _word(token.text)


def _word(text: str) -> bytes:
    data = text.encode("utf-8", errors="surrogatepass")
    return b"%d:%s" % (len(data), data)
