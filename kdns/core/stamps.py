# -*- test-case-name: tests.core.test_stamps -*-
"""
Stamps: how an answer made from data notices that the data changed.

A :class:`Stamp` is a cell with a version. Who makes an answer notes the stamps of what it looked at, with their versions; who changes the
data bumps the stamp, and every answer that holds the old version is dead at once, without anybody searching for it. :class:`StampBook`
hands out the stamps of things that have a key, absent things too: that a service does *not* exist is a fact answers depend on.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias
from weakref import ref

MOVES = [0]
"""
How often any stamp of the process moved: a list of that one number.

Who found that stamps stand may take them to stand as long as the number is the same, without looking at them again; to look at a handful
of cells in far places of the memory for each query is most of what a hit in the answer table would cost.
"""


class Stamp:
    """A cell with a version; compare the version that was noted with the one it has now."""

    __slots__ = ("__weakref__", "version")

    def __init__(self) -> None:
        self.version = 0

    def bump(self) -> None:
        """What the stamp stands for changed: answers that noted the version until now are dead."""
        self.version += 1
        MOVES[0] += 1

    def ref(self) -> StampRef:
        """The stamp with its version of now."""
        return (self, self.version)


StampRef: TypeAlias = tuple[Stamp, int]
"""A stamp and the version it had when somebody looked."""


def stand(noted: tuple[StampRef, ...]) -> bool:
    """Whether none of the stamps moved since they were noted."""
    for stamp, version in noted:  # noqa: SIM110  # a generator costs several times as much, and replies wait for this
        if stamp.version != version:
            return False
    return True


class _KeyedRef(ref[Stamp]):
    __slots__ = ("key",)

    key: Hashable


class StampBook:
    """
    Stamps by key, made when first asked for and forgotten when no answer refers to them any more.

    The book is bounded by the answers that are held elsewhere, so questions for names that do not exist leave nothing behind.
    """

    # As a WeakValueDictionary would do it, in half the time: a stamp is made for each name that is asked for the first time.
    __slots__ = ("_forget", "_refs")

    def __init__(self) -> None:
        refs: dict[Hashable, _KeyedRef] = {}

        def forget(gone: _KeyedRef) -> None:
            # Another stamp may have taken the place of the one that is gone.
            if refs.get(gone.key) is gone:
                del refs[gone.key]

        self._refs = refs
        self._forget = forget

    def __len__(self) -> int:
        return len(self._refs)

    def note(self, key: Hashable) -> StampRef:
        """The stamp of *key* and its version of now; keep the pair as long as what was made from it."""
        known = self._refs.get(key)
        if known is not None:
            stamp = known()
            if stamp is not None:
                return (stamp, stamp.version)
        stamp = Stamp()
        made = self._refs[key] = _KeyedRef(stamp, self._forget)
        made.key = key
        return (stamp, 0)

    def bump(self, key: Hashable) -> None:
        """*key* changed, appeared or went; nothing happens when no answer depends on it."""
        known = self._refs.get(key)
        stamp = None if known is None else known()
        if stamp is not None:
            stamp.bump()
