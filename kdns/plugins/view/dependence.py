# -*- test-case-name: tests.plugins.view.test_dependence -*-
"""
What, besides the question, the value of an expression can depend on: a core module of *view*.

It is read off the functions that the expression calls, whether they are reached or not. An expression that asks for the client's address
only to compare it with networks makes a group of clients for each set of these networks; one that uses the address in any other way makes
a group of each address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_network

from kdns.core.expression.builtins import BUILTINS, PREDICATES
from kdns.core.expression.parser import Node, parse
from kdns.core.networks import Network, NetworkSet
from kdns.core.validity import EVERY_QUERY, Group, Varies

QUESTION = frozenset({"type", "name", "class", "do", "opcode", "size", "incidr"})
"""Functions of the bytes that a key of the answer table has."""

LISTENER = frozenset({"proto", "bufsize", "server_port"})
"""Functions of the listener and its transport besides; a client over TCP has all the room there is."""

SERVER = "server_ip"
"""The same only where the listener has one address."""

CLIENT = "client_ip"


METADATA = "metadata"
"""The value of a label; it depends on whatever the plugin looked at that made it."""


def varies_of(expressions: Iterable[str], bound: bool, declared: tuple[str, ...] = ()) -> Varies:
    """
    What the values of some expressions depend on.

    :param bound: whether each listener has an address of its own (*bind*).
    :param declared: how labels begin whose plugins declare themselves what these depend on.
    """
    trees = [parse(text) for text in expressions]
    compared = [call for tree in trees for call in _calls(tree) if _is_comparison(call)]
    inside = {id(call.parts[0]) for call in compared}
    networks = [network for call in compared for network in _network(call)]
    client = transport = False
    for call in (call for tree in trees for call in _calls(tree)):
        name = str(call.value)
        if name in QUESTION or name in BUILTINS or name in PREDICATES:
            continue
        if name == METADATA and _label(call).startswith(declared):
            continue
        if name in LISTENER or (name == SERVER and bound):
            transport = True
        elif name == CLIENT:
            client = client or id(call) not in inside
        else:
            return EVERY_QUERY
    group: Group | None = str if client else _by_networks(networks) if networks else None
    return Varies(client=group, transport=transport)


def _calls(node: Node | None) -> Iterator[Node]:
    if node is None:
        return
    if node.kind == "call":
        yield node
    for part in node.parts:
        yield from _calls(part)


def _label(call: Node) -> str:
    """The label that a call of ``metadata`` names; empty where it is computed."""
    literal = call.parts[0] if len(call.parts) == 1 else None
    return str(literal.value) if literal is not None and literal.kind == "literal" else ""


def _is_comparison(call: Node) -> bool:
    """Whether it is ``incidr(client_ip(), 'NETWORK')``."""
    if call.value != "incidr" or len(call.parts) != 2:
        return False
    address, network = call.parts
    assert address is not None and network is not None
    return address.kind == "call" and address.value == CLIENT and network.kind == "literal"


def _network(call: Node) -> list[Network]:
    """The network of a comparison; none where it is no network, so that every client comes to the same error."""
    literal = call.parts[1]
    assert literal is not None
    try:
        return [ip_network(str(literal.value), strict=False)]
    except ValueError:
        return []


def _by_networks(networks: Sequence[Network]) -> Group:
    sets = [NetworkSet([network]) for network in dict.fromkeys(networks)]

    def group(client: str) -> int:
        return sum(1 << at for at, one in enumerate(sets) if client in one)

    return group
