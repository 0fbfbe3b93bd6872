# -*- test-case-name: tests.plugins.geoip.test_labels -*-
"""
From a record of a MaxMind database to labels of metadata: a core module of *geoip*.

A database is trusted no more than any other file: a value that is not of the expected kind reads as missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple, TypeAlias

Labels: TypeAlias = tuple[str, ...]

Address: TypeAlias = IPv4Address | IPv6Address


class Schema(NamedTuple):
    """What databases of one kind know of an address."""

    names: tuple[str, ...]
    """The labels of metadata."""

    values: Callable[[Any], Labels]
    """Their values in a record; None is the record of an unknown address."""


def _at(record: Any, *path: str) -> Any:
    for step in path:
        if not isinstance(record, dict):
            return None
        record = record.get(step)
    return record


def _text(record: Any, *path: str) -> str:
    found = _at(record, *path)
    return found if isinstance(found, str) else ""


def _coordinate(record: Any, name: str) -> str:
    """The shortest decimal number, without an exponent; empty when there is none."""
    found = _at(record, "location", name)
    if not isinstance(found, int | float) or isinstance(found, bool):
        return ""
    return format(Decimal(repr(float(found))), "f").removesuffix(".0")


def _subdivisions(record: Any) -> str:
    found = _at(record, "subdivisions")
    return ",".join(_text(one, "iso_code") for one in found[:2]) if isinstance(found, list) else ""


def _city(record: Any) -> Labels:
    return (
        _text(record, "city", "names", "en"),
        _text(record, "country", "names", "en"),
        _text(record, "country", "iso_code"),
        "true" if _at(record, "country", "is_in_european_union") is True else "false",
        _text(record, "continent", "names", "en"),
        _text(record, "continent", "code"),
        _subdivisions(record),
        _coordinate(record, "latitude"),
        _coordinate(record, "longitude"),
        _text(record, "location", "time_zone"),
        _text(record, "postal", "code"),
    )


def _asn(record: Any) -> Labels:
    number = _at(record, "autonomous_system_number")
    return (str(number) if isinstance(number, int) else "0", _text(record, "autonomous_system_organization"))


CITY = Schema(
    (
        "geoip/city/name",
        "geoip/country/name",
        "geoip/country/code",
        "geoip/country/is_in_european_union",
        "geoip/continent/name",
        "geoip/continent/code",
        "geoip/subdivisions/code",
        "geoip/latitude",
        "geoip/longitude",
        "geoip/timezone",
        "geoip/postalcode",
    ),
    _city,
)

ASN = Schema(("geoip/asn/number", "geoip/asn/org"), _asn)

_CITY_TYPE = re.compile(r"\b(City|Country|Enterprise)\b")
_ASN_TYPE = re.compile(r"\b(ASN|ISP)\b")
_OTHER_TYPE = re.compile(r"\b(Anonymous|Connection|Domain|Static)\b")
_VENDORS = ("GeoLite2-", "GeoIP2-", "GeoIP-", "DBIP-")


def schema_of(database_type: str) -> Schema:
    """
    The schema of a database by its type, such as ``GeoLite2-City``.

    :raises ValueError: it has nothing that becomes a label.
    """
    if database_type.startswith(_VENDORS):
        # DBIP-Location-ISP (compat=Enterprise) has both; CoreDNS takes it for a database of cities.
        if _CITY_TYPE.search(database_type):
            return CITY
        if _ASN_TYPE.search(database_type):
            return ASN
        if _OTHER_TYPE.search(database_type):
            raise ValueError("database does not provide any supported schema (city, asn)")
    raise ValueError(
        f'failed to open database file: geoip2: reader does not support the "{database_type}" database type'
    )


def subnet_address(option: bytes) -> Address | None:
    """
    The address in a client subnet option (RFC 7871 section 6); None when it says nothing of the client.

    The prefix is filled up with zeros, so a /24 is looked up as its first address.

    :param option: the data of the option.
    """
    family, prefix, address = int.from_bytes(option[:2], "big"), option[2:3], option[4:]
    if prefix in (b"", b"\0"):
        return None
    if family == 1 and len(address) <= 4:
        return IPv4Address(address.ljust(4, b"\0"))
    if family == 2 and len(address) <= 16:
        found = IPv6Address(address.ljust(16, b"\0"))
        return found.ipv4_mapped or found
    return None
