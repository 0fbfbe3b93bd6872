# -*- test-case-name: tests.plugins.azure.test_azure -*-
"""The JSON of Azure DNS and Azure Private DNS. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from kdns.plugins.stores.zones import RecordSet


class BadAnswer(ValueError):
    """Bytes are no answer of Azure."""


class _A(msgspec.Struct):
    ipv4Address: str


class _Aaaa(msgspec.Struct):
    ipv6Address: str


class _Mx(msgspec.Struct):
    preference: int
    exchange: str


class _Ns(msgspec.Struct):
    nsdname: str


class _Ptr(msgspec.Struct):
    ptrdname: str


class _Srv(msgspec.Struct):
    priority: int
    weight: int
    port: int
    target: str


class _Txt(msgspec.Struct):
    value: list[str]


class _Caa(msgspec.Struct):
    flags: int
    tag: str
    value: str


class _Cname(msgspec.Struct):
    cname: str


class _Soa(msgspec.Struct):
    host: str
    email: str
    serialNumber: int = 1
    refreshTime: int = 3600
    retryTime: int = 300
    expireTime: int = 2419200
    minimumTTL: int | None = None
    minimumTtl: int | None = None


class _Properties(msgspec.Struct):
    """Names differ in letter case between the two services and their versions."""

    TTL: int | None = None
    ttl: int | None = None
    ARecords: list[_A] | None = None
    aRecords: list[_A] | None = None
    AAAARecords: list[_Aaaa] | None = None
    aaaaRecords: list[_Aaaa] | None = None
    MXRecords: list[_Mx] | None = None
    mxRecords: list[_Mx] | None = None
    NSRecords: list[_Ns] | None = None
    PTRRecords: list[_Ptr] | None = None
    ptrRecords: list[_Ptr] | None = None
    SRVRecords: list[_Srv] | None = None
    srvRecords: list[_Srv] | None = None
    TXTRecords: list[_Txt] | None = None
    txtRecords: list[_Txt] | None = None
    caaRecords: list[_Caa] | None = None
    CNAMERecord: _Cname | None = None
    cnameRecord: _Cname | None = None
    SOARecord: _Soa | None = None
    soaRecord: _Soa | None = None


class _Set(msgspec.Struct):
    name: str
    type: str
    properties: _Properties


class _List(msgspec.Struct):
    value: list[_Set]
    nextLink: str | None = None


_DECODER = msgspec.json.Decoder(_List)


def parse_listing(body: bytes, zone: str) -> tuple[list[RecordSet], str]:
    """
    Read a page.

    :param zone: its name, without a final dot.
    :return: its record sets, and the URL of the next page or an empty text.
    :raises BadAnswer: *body* is no page.
    """
    try:
        found = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"an answer that is not Azure's: {error}") from None
    sets = []
    for one in found.value:
        rtype = one.type.rpartition("/")[2].upper()
        owner = f"{zone}." if one.name == "@" else f"{one.name}.{zone}."
        values = list(_values(rtype, one.properties))
        if values:  # an alias set has none of its own
            ttl = one.properties.TTL if one.properties.TTL is not None else one.properties.ttl or 0
            sets.append(RecordSet(owner, rtype, ttl, values))
    return sets, found.nextLink or ""


def quoted(text: str) -> str:
    """A character string as master files have it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _values(rtype: str, has: _Properties) -> Iterator[str]:
    match rtype:
        case "A":
            yield from (one.ipv4Address for one in has.ARecords or has.aRecords or ())
        case "AAAA":
            yield from (one.ipv6Address for one in has.AAAARecords or has.aaaaRecords or ())
        case "MX":
            yield from (f"{one.preference} {one.exchange}" for one in has.MXRecords or has.mxRecords or ())
        case "NS":
            yield from (one.nsdname for one in has.NSRecords or ())
        case "PTR":
            yield from (one.ptrdname for one in has.PTRRecords or has.ptrRecords or ())
        case "SRV":
            for srv in has.SRVRecords or has.srvRecords or ():
                yield f"{srv.priority} {srv.weight} {srv.port} {srv.target}"
        case "TXT":
            yield from (" ".join(map(quoted, one.value)) for one in has.TXTRecords or has.txtRecords or ())
        case "CAA":
            yield from (f"{one.flags} {one.tag} {quoted(one.value)}" for one in has.caaRecords or ())
        case "CNAME":
            alias = has.CNAMERecord or has.cnameRecord
            if alias is not None:
                yield alias.cname
        case "SOA":
            soa = has.SOARecord or has.soaRecord
            if soa is not None:
                minimum = soa.minimumTTL if soa.minimumTTL is not None else soa.minimumTtl
                numbers = (
                    soa.serialNumber,
                    soa.refreshTime,
                    soa.retryTime,
                    soa.expireTime,
                    300 if minimum is None else minimum,
                )
                yield f"{soa.host} {soa.email} {' '.join(map(str, numbers))}"
