"""A network in memory: a Twisted reactor whose sockets and whose time belong to the test."""

from kdns.testing.memory.network import Network
from kdns.testing.memory.paths import Datagram, Path, Rule, in_turn, late, lost, shuffled, twice
from kdns.testing.memory.reactor import MemoryReactor, NeverSettles

__all__ = [
    "Datagram",
    "MemoryReactor",
    "Network",
    "NeverSettles",
    "Path",
    "Rule",
    "in_turn",
    "late",
    "lost",
    "shuffled",
    "twice",
]
