# -*- test-case-name: tests.plugins.template.test_data -*-
"""What a template sees of a query: ``.Name``, ``.Group``, ``.Message`` and the rest, each computed when it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from ipaddress import IPv4Address, IPv6Address

from kdns.core.expression.environment import QuerySubject, Seen
from kdns.core.request import Request
from kdns.plugins.template.language import GoInt, Struct, TextMap, Value
from kdns.wire.constants import (
    AA,
    AD,
    ANY,
    CD,
    CLIENT_SUBNET,
    COOKIE,
    DO,
    NSID,
    QR,
    RA,
    RD,
    TC,
    Z,
    class_text,
    type_text,
)
from kdns.wire.names import to_text
from kdns.wire.query import Edns, options_of

_FLAGS = {
    "Response": QR,
    "Authoritative": AA,
    "Truncated": TC,
    "RecursionDesired": RD,
    "RecursionAvailable": RA,
    "Zero": Z,
    "AuthenticatedData": AD,
    "CheckingDisabled": CD,
}


class TemplateSubject(QuerySubject):
    """
    A query that a template of the Corefile is about, and how its expression matched.

    :ivar name: the name asked for, in lower case with its final dot.
    :ivar groups: the whole match, then each group.
    :ivar names: the numbers of named groups.
    """

    __slots__ = ("groups", "name", "names")

    def __init__(self, request: Request, declared: tuple[str, ...] = ()) -> None:
        super().__init__(request, declared)
        self.name = to_text(request.qname)
        self.groups: tuple[str, ...] = ()
        self.names: Mapping[str, int] = {}

    def group(self, key: str | int) -> str:
        """The text of a group by name or number; empty when there is none."""
        number = self.names.get(key) if isinstance(key, str) else key
        if number is None and isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 6:
            number = int(key)
        return self.groups[number] if number is not None and 0 <= number < len(self.groups) else ""


def template_data(
    subject: TemplateSubject, zone: str, type_asked: int, regexp: str, variables: Mapping[str, Value]
) -> Struct:
    """
    What templates are rendered with.

    :param zone: the zone that the name is in, as text.
    :param type_asked: the template's own type, shown for a query of type ANY.
    :param regexp: the expression that matched.
    """
    request = subject.request

    def looked(at: Seen, value: Callable[[], Value]) -> Callable[[], Value]:
        def read() -> Value:
            subject.look(at)
            return value()

        return read

    def question() -> Struct:
        return Struct(
            "*dns.Question",
            {
                "Name": looked(Seen.ELSE, lambda: to_text(request.spelled)),
                "Qtype": lambda: GoInt(request.qtype, "uint16"),
                "Qclass": lambda: GoInt(request.qclass, "uint16"),
            },
        )

    return Struct(
        "*template.templateData",
        {
            "Zone": lambda: zone,
            "Name": lambda: subject.name,
            "Regex": lambda: regexp,
            "Match": lambda: list(subject.groups),
            "Group": cache(lambda: _groups(subject)),
            "Class": lambda: class_shown(request),
            "Type": lambda: type_shown(request, type_asked),
            "Message": lambda: _message(request, looked, question),
            "Question": question,
            "Remote": looked(Seen.ELSE, lambda: request.client),
            "Var": lambda: dict(variables),
        },
        {"Meta": subject.metadata},
    )


def class_shown(request: Request) -> str:
    """``.Class``: empty for a class without a mnemonic."""
    return _mnemonic(class_text(request.qclass), "CLASS")


def type_shown(request: Request, type_asked: int) -> str:
    """``.Type``: that of the template for a query of type ANY; empty for a type without a mnemonic."""
    return _mnemonic(type_text(type_asked if request.qtype == ANY else request.qtype), "TYPE")


def _mnemonic(text: str, prefix: str) -> str:
    """A mnemonic; nothing for a type or class without one, as Go's maps have it."""
    return "" if text.startswith(prefix) and text[len(prefix) :].isdigit() else text


def _groups(subject: TemplateSubject) -> TextMap:
    groups = TextMap({str(number): text for number, text in enumerate(subject.groups)})
    groups.update({name: subject.groups[number] for name, number in subject.names.items()})
    return groups


def _message(
    request: Request,
    looked: Callable[[Seen, Callable[[], Value]], Callable[[], Value]],
    question: Callable[[], Struct],
) -> Struct:
    flags = request.flags
    edns = request.edns
    fields: dict[str, Callable[[], Value]] = {
        "Id": looked(Seen.ELSE, lambda: GoInt(request.ident, "uint16")),
        "Opcode": looked(Seen.MESSAGE, lambda: flags >> 11 & 15),
        "Rcode": looked(Seen.MESSAGE, lambda: flags & 15),
        "Compress": lambda: False,
        "Question": lambda: [question()],
        "Answer": list,
        "Ns": list,
        "Extra": looked(Seen.MESSAGE, lambda: [] if edns is None else [_opt(edns)]),
        "IsEdns0": looked(Seen.MESSAGE, lambda: None if edns is None else _opt(edns)),
    }
    for name, bit in _FLAGS.items():
        fields[name] = looked(Seen.MESSAGE, partial(_is_set, flags, bit))
    return Struct("*dns.Msg", fields)


def _is_set(flags: int, bit: int) -> bool:
    return bool(flags & bit)


def _opt(edns: Edns) -> Struct:
    return Struct(
        "*dns.OPT",
        {
            "UDPSize": lambda: GoInt(edns.size, "uint16"),
            "Do": lambda: bool(edns.flags & DO),
            "Version": lambda: GoInt(edns.version, "uint8"),
            "Option": lambda: [_option(code, data) for code, data in options_of(edns.options)],
        },
    )


def _option(code: int, data: bytes) -> Struct:
    if code in (NSID, COOKIE):
        text = data.hex()
    elif code == CLIENT_SUBNET and len(data) >= 4:
        text = _subnet_text(data)
    else:
        text = f"{code}:0x{data.hex()}"
    return Struct(
        "dns.EDNS0", {"Option": lambda: GoInt(code, "uint16"), "Code": lambda: GoInt(code, "uint16")}, text=text
    )


def _subnet_text(data: bytes) -> str:
    family, bits, scope = int.from_bytes(data[:2], "big"), data[2], data[3]
    address = data[4:]
    if family == 1 and len(address) <= 4:
        shown = str(IPv4Address(address.ljust(4, b"\0")))
    elif family == 2 and len(address) <= 16:
        shown = f"[{IPv6Address(address.ljust(16, chr(0).encode()))}]"
    else:
        shown = address.hex()
    return f"{shown}/{bits}/{scope}"
