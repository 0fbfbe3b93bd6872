# -*- test-case-name: tests.wire.test_names -*-
"""
Domain names in wire form, the one form that names have inside kdns.

A name is the uncompressed bytes of RFC 1035 section 3.1, final zero byte included: ``b"\\x03web\\x04prod\\x00"``. Lower-casing such
a name is :meth:`bytes.lower`, because a length byte (0 to 63) never looks like a letter. Wire form keeps a dot inside a label apart
from a dot between labels, which dotted text does not. Text is converted at the edges with :func:`from_text` and :func:`to_text`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

MAX_NAME = 255
"""Bytes of a name in wire form, length bytes and the final zero included (RFC 1035 section 2.3.4)."""

MAX_LABEL = 63
"""Bytes of a label (RFC 1035 section 2.3.4)."""

MAX_POINTERS = 127
"""Compression pointers followed for one name: one for each label that a name can have."""

ROOT = b"\x00"

_ESCAPED = frozenset(b'.\\"();@$ ')


class BadName(ValueError):
    """A text or some bytes are not a domain name."""


class MalformedName(BadName):
    """Bytes of a message that are not a domain name: bad label type, pointer, length or end."""


def from_text(text: str | bytes) -> bytes:
    """
    Turn presentation text into lower-case wire form; ``""`` and ``"."`` are the root, a final dot may be left out.

    ``\\DDD`` is a byte in decimal, ``\\X`` the character X itself (RFC 1035 section 5.1). Text beyond ASCII is taken as UTF-8 bytes.

    :raises BadName: an empty label, a label over 63 bytes, a name over 255 bytes, or a broken escape.
    """
    return spelled_from_text(text).lower()


def spelled_from_text(text: str | bytes) -> bytes:
    """As :func:`from_text`, with the spelling of letters kept."""
    data = text.encode("utf-8") if isinstance(text, str) else text
    if data in (b"", b"."):
        return ROOT
    labels: list[bytes] = []
    if b"\\" not in data:
        labels = (data[:-1] if data.endswith(b".") else data).split(b".")
    else:
        labels = _unescaped_labels(data)
    return from_labels(labels)


def _unescaped_labels(data: bytes) -> list[bytes]:
    labels: list[bytes] = []
    label = bytearray()
    position, end = 0, len(data)
    while position < end:
        char = data[position]
        position += 1
        if char == 0x2E:
            labels.append(bytes(label))
            label.clear()
        elif char != 0x5C:
            label.append(char)
        elif position >= end:
            raise BadName(f"name ends in a backslash: {data!r}")
        elif data[position : position + 3].isdigit() and position + 3 <= end:
            value = int(data[position : position + 3])
            if value > 255:
                raise BadName(f"escape \\{value} is over 255: {data!r}")
            label.append(value)
            position += 3
        else:
            label.append(data[position])
            position += 1
    if label:
        labels.append(bytes(label))
    return labels


def from_labels(labels: Sequence[bytes]) -> bytes:
    """
    Join labels, leftmost first, into a name in wire form; the spelling is kept.

    :raises BadName: a label is empty or too long, or the name is.
    """
    parts: list[bytes] = []
    for label in labels:
        if not 0 < len(label) <= MAX_LABEL:
            raise BadName(f"label of {len(label)} bytes in {b'.'.join(labels)!r}")
        parts.append(bytes((len(label),)) + label)
    name = b"".join(parts) + ROOT
    if len(name) > MAX_NAME:
        raise BadName(f"name of {len(name)} bytes, at most {MAX_NAME} are possible")
    return name


def to_text(name: bytes) -> str:
    """Presentation form with the final dot; bytes that are not printable ASCII become ``\\DDD``."""
    if name == ROOT:
        return "."
    return "".join(_label_text(label) + "." for label in labels_of(name))


def _label_text(label: bytes) -> str:
    if label.isalnum():
        return label.decode("ascii")
    out = []
    for char in label:
        if char in _ESCAPED:
            out.append("\\" + chr(char))
        elif 0x21 <= char <= 0x7E:
            out.append(chr(char))
        else:
            out.append(f"\\{char:03d}")
    return "".join(out)


def labels_of(name: bytes) -> list[bytes]:
    """Labels of a name in wire form, leftmost first, the root's empty one left out."""
    labels = []
    position = 0
    while length := name[position]:
        labels.append(name[position + 1 : position + 1 + length])
        position += 1 + length
    return labels


def label_count(name: bytes) -> int:
    """How many labels a name has; the root has none."""
    count = position = 0
    while length := name[position]:
        position += 1 + length
        count += 1
    return count


def suffixes(name: bytes) -> Iterator[bytes]:
    """The name itself, then each parent, down to the root."""
    position = 0
    while length := name[position]:
        yield name[position:]
        position += 1 + length
    yield ROOT


def parent(name: bytes) -> bytes:
    """The name without its leftmost label; the root is its own parent."""
    return name[1 + name[0] :] if name[0] else name


def is_subdomain(name: bytes, zone: bytes) -> bool:
    """Whether *name* is *zone* or below it; both in the same case."""
    if not name.endswith(zone):
        return False
    # The match must begin at a label boundary: a label may hold bytes that look like a zone.
    position, start = 0, len(name) - len(zone)
    while position < start:
        position += 1 + name[position]
    return position == start


def longest_zone(name: bytes, zones: frozenset[bytes] | Mapping[bytes, object]) -> bytes | None:
    """The longest of *zones* that *name* is in, or None; *name* is lower-case."""
    position = 0
    while length := name[position]:
        if name[position:] in zones:
            return name[position:]
        position += 1 + length
    return ROOT if ROOT in zones else None


def skip_name(message: bytes, offset: int) -> int:
    """
    Offset just behind a name of *message* that may end in a compression pointer; the pointer is not followed.

    :raises MalformedName: it runs over the end, or a label type is unknown.
    """
    try:
        while True:
            length = message[offset]
            if length < 0x40:
                offset += 1 + length
                if not length:
                    break
            elif length >= 0xC0:
                offset += 2
                break
            else:
                raise MalformedName(f"label type {length >> 6} at offset {offset}")
    except IndexError:
        raise MalformedName("name runs over the end of the message") from None
    if offset > len(message):
        raise MalformedName("name runs over the end of the message")
    return offset


def read_name(message: bytes, offset: int) -> tuple[bytes, int]:
    """
    Read a possibly compressed name, in its own spelling.

    :return: the name in wire form, and the offset just behind it in *message*.
    :raises MalformedName: over 255 bytes or 127 pointers, a pointer that does not point backward (RFC 1035 section 4.1.4) or to a name that
        ends before it, an unknown label type, or bytes missing.
    """
    # Labels up to a pointer or the end are one run, copied with one slice.
    runs: list[bytes] = []
    start = lowest = offset
    bound = len(message)
    size = 0
    behind = -1
    try:
        while True:
            length = message[offset]
            if length < 0x40:
                offset += 1 + length
                if size + offset - start > MAX_NAME:
                    raise MalformedName(f"name over {MAX_NAME} bytes")
                if length:
                    continue
                if offset > bound:
                    raise MalformedName("name runs over what points to it")
                runs.append(message[start:offset])
                break
            if length < 0xC0:
                raise MalformedName(f"label type {length >> 6} at offset {offset}")
            target = (length & 0x3F) << 8 | message[offset + 1]
            if behind < 0:
                behind = offset + 2
            # Each pointer leads further back than the one before, so there is no loop. A long chain of them still takes time.
            if target >= lowest:
                raise MalformedName("compression pointer does not point backward")
            if offset > bound:
                raise MalformedName("name runs over what points to it")
            if len(runs) >= MAX_POINTERS:
                raise MalformedName(f"name with over {MAX_POINTERS} pointers")
            runs.append(message[start:offset])
            size += offset - start
            bound = offset
            start = offset = lowest = target
    except IndexError:
        raise MalformedName("name runs over the end of the message") from None
    if behind < 0:
        return runs[0], offset
    return b"".join(runs), behind


NameFacts: TypeAlias = tuple[int, int, int, int]
"""
Of a name that begins at some place of a message: its bytes uncompressed, how many pointers are followed, the offset of the first of them
(without any: just behind the name), and where that leads (without any: -1).
"""


def measure_name(message: bytes, offset: int, known: dict[int, NameFacts]) -> tuple[int, int]:
    """
    Measure a possibly compressed name without making it.

    Each label of a message is walked over once, however many names lead there: thousands of names that share 127 labels would take tenths
    of a second with :func:`read_name`.

    :param known: by offset; an empty dict for the first name of a message, and the same dict for all others.
    :return: bytes of the name, and the offset just behind it in *message*.
    :raises MalformedName: exactly where :func:`read_name` raises it.
    """
    try:
        if message[offset] >= 0xC0:  # nothing but a pointer, as nearly all are
            target = (message[offset] & 0x3F) << 8 | message[offset + 1]
            facts = known.get(target)
            if facts is not None and target < offset and facts[2] <= offset and facts[1] < MAX_POINTERS:
                return facts[0], offset + 2
        size, _, end, target = _measured(message, offset, len(message), MAX_POINTERS, known)
    except IndexError:
        raise MalformedName("name runs over the end of the message") from None
    return size, end if target < 0 else end + 2


def _measured(message: bytes, begin: int, bound: int, depth: int, known: dict[int, NameFacts]) -> NameFacts:
    """
    Walk over a name up to what is known already.

    :param bound: where the pointer stands that leads here.
    :param depth: how many pointers may still be followed.
    """
    labels: list[int] = []
    offset = begin
    while (rest := known.get(offset)) is None:
        length = message[offset]
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | message[offset + 1]
            if target >= begin:
                raise MalformedName("compression pointer does not point backward")
            if offset > bound:
                raise MalformedName("name runs over what points to it")
            if not depth:
                raise MalformedName(f"name with over {MAX_POINTERS} pointers")
            size, pointers, _, _ = _measured(message, target, offset, depth - 1, known)
            rest = (size, pointers + 1, offset, target)
            break
        if length >= 0x40:
            raise MalformedName(f"label type {length >> 6} at offset {offset}")
        if not length:
            rest = (1, 0, offset + 1, -1)
            break
        labels.append(offset)
        offset += 1 + length
        if offset - begin > MAX_NAME:
            raise MalformedName(f"name over {MAX_NAME} bytes")
    size, pointers, end, target = rest
    if target >= begin:
        raise MalformedName("compression pointer does not point backward")
    if end > bound:
        raise MalformedName("name runs over what points to it")
    if size + offset - begin > MAX_NAME:
        raise MalformedName(f"name over {MAX_NAME} bytes")
    if pointers > MAX_POINTERS:
        raise MalformedName(f"name with over {MAX_POINTERS} pointers")
    for at in labels:
        known[at] = (size + offset - at, pointers, end, target)
    return (size + offset - begin, pointers, end, target)


def reverse_name(address: bytes) -> bytes:
    """The ``in-addr.arpa`` or ``ip6.arpa`` name of a packed address of 4 or 16 bytes (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
    if len(address) == 4:
        return from_labels([str(byte).encode() for byte in reversed(address)] + [b"in-addr", b"arpa"])
    return from_labels([bytes((nibble,)) for nibble in reversed(address.hex().encode())] + [b"ip6", b"arpa"])


def address_of_reverse(name: bytes) -> bytes | None:
    """The packed address that a lower-case reverse name stands for; None for any other name."""
    labels = labels_of(name)
    if len(labels) == 6 and labels[4:] == [b"in-addr", b"arpa"]:
        packed = bytearray()
        for label in reversed(labels[:4]):
            if not label.isdigit() or (len(label) > 1 and label[0] == 0x30) or len(label) > 3 or int(label) > 255:
                return None
            packed.append(int(label))
        return bytes(packed)
    if len(labels) == 34 and labels[32:] == [b"ip6", b"arpa"]:
        digits = b"".join(reversed(labels[:32]))
        if len(digits) != 32 or any(digit not in b"0123456789abcdef" for digit in digits):
            return None
        return bytes.fromhex(digits.decode("ascii"))
    return None
