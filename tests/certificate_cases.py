"""Certificates of servers with usual and unusual alternative names, and for which of two wanted names each is good."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

NAME = "dns.example.com"
ADDRESS = "10.0.0.1"


class Case(NamedTuple):
    """One certificate."""

    text: str
    names: x509.ExtensionType | None
    """Its alternative names; None: it has none."""

    for_name: bool = False
    """Whether it is for :data:`NAME`."""

    for_address: bool = False
    """Whether it is for :data:`ADDRESS`."""

    common_name: str = "server"


def _names(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(names)


def _octets(octets: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, octets)


def _ip(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(text))


_dns = x509.DNSName

CASES = (
    Case("the name", _names(_dns(NAME)), for_name=True),
    Case("the address", _names(_ip(ADDRESS)), for_address=True),
    Case("both", _names(_dns(NAME), _ip(ADDRESS)), for_name=True, for_address=True),
    Case("in capitals", _names(_dns("DNS.Example.COM")), for_name=True),
    Case("a wildcard for the first label", _names(_dns("*.example.com")), for_name=True),
    Case("no alternative name", None),
    Case("no alternative name, but a common name", None, common_name=NAME),
    Case("no alternative name, but an address as common name", None, common_name=ADDRESS),
    Case("another name", _names(_dns("other.example.com"))),
    Case("another name, but a fitting common name", _names(_dns("other.example.com")), common_name=NAME),
    Case("another address", _names(_ip("10.0.0.2"))),
    Case("the address as a DNS name", _names(_dns(ADDRESS))),
    Case("the address as a DNS name and as an address", _names(_dns(ADDRESS), _ip(ADDRESS)), for_address=True),
    Case("a wildcard for a top-level domain", _names(_dns("*.test"))),
    Case("a wildcard for a top-level domain and another name", _names(_dns("*.test"), _dns("other.example.com"))),
    Case("a wildcard for a top-level domain and the name", _names(_dns("*.test"), _dns(NAME)), for_name=True),
    Case("a wildcard that would need two labels", _names(_dns("*.com"))),
    Case("a wildcard in the second label", _names(_dns("dns.*.com"))),
    Case("a part of a label as wildcard", _names(_dns("d*.example.com"))),
    Case("two wildcards", _names(_dns("*.*.com"))),
    Case("an empty DNS name", _names(_dns(""))),
    Case("the name and a zero octet behind it", _octets(b"\x30\x18\x82\x16dns.example.com\0.a.test")),
    Case("the name with a dot before it", _names(_dns(".dns.example.com"))),
    Case(
        "a URI and an e-mail address", _names(x509.UniformResourceIdentifier(f"https://{NAME}"), x509.RFC822Name(NAME))
    ),
    Case("a URI without a scheme", _names(x509.UniformResourceIdentifier(NAME))),
    Case("an empty list of names", _octets(b"\x30\x00")),
    Case("octets that are no list of names", _octets(b"\xff\xff\xff")),
    Case("an address of three octets", _octets(b"\x30\x05\x87\x03\x0a\x00\x00")),
)
"""At least twenty, each tried over every transport with TLS."""
