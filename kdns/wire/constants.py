"""Numbers of the DNS protocol that kdns uses by name (IANA "Domain Name System Parameters")."""

from __future__ import annotations

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DS, OPT = 1, 2, 5, 6, 12, 15, 16, 28, 33, 43, 41
HINFO, DNAME, NAPTR, RRSIG, DNSKEY, NSEC, NSEC3, NSEC3PARAM = 13, 39, 35, 46, 48, 47, 50, 51
SVCB, HTTPS, IXFR, AXFR, ANY, CAA = 64, 65, 251, 252, 255, 257

IN, CH, HS, NONE, ANY_CLASS = 1, 3, 4, 254, 255

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN, NOTAUTH, BADVERS = 0, 1, 2, 3, 4, 5, 6, 9, 16

QUERY, NOTIFY = 0, 4

# Header flags in the second 16-bit word (RFC 1035 section 4.1.1, RFC 4035 section 3.2).
QR, AA, TC, RD, RA, Z, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010
OPCODE_MASK = 0x7800
RCODE_MASK = 0x000F

DO = 0x8000
"""The DNSSEC OK bit in the flags of an OPT record (RFC 3225 section 3)."""

# EDNS option codes (RFC 6891 section 6.1.2).
NSID, CLIENT_SUBNET, EXPIRE, COOKIE, TCP_KEEPALIVE, PADDING, EDE = 3, 8, 9, 10, 11, 12, 15

# Extended DNS Error info codes (RFC 8914 section 4).
EDE_OTHER, EDE_STALE_ANSWER, EDE_NOT_READY, EDE_BLOCKED, EDE_PROHIBITED, EDE_FILTERED = 0, 3, 14, 15, 18, 17
EDE_STALE_NXDOMAIN, EDE_NO_REACHABLE_AUTHORITY, EDE_NETWORK_ERROR, EDE_NOT_SUPPORTED = 19, 22, 23, 21

_TYPES = {
    1: "A", 2: "NS", 3: "MD", 4: "MF", 5: "CNAME", 6: "SOA", 7: "MB", 8: "MG", 9: "MR", 10: "NULL", 12: "PTR", 13: "HINFO",
    14: "MINFO", 15: "MX", 16: "TXT", 17: "RP", 18: "AFSDB", 19: "X25", 20: "ISDN", 21: "RT", 23: "NSAP-PTR", 24: "SIG",
    25: "KEY", 26: "PX", 27: "GPOS", 28: "AAAA", 29: "LOC", 30: "NXT", 31: "EID", 32: "NIMLOC", 33: "SRV", 34: "ATMA",
    35: "NAPTR", 36: "KX", 37: "CERT", 39: "DNAME", 41: "OPT", 42: "APL", 43: "DS", 44: "SSHFP", 45: "IPSECKEY",
    46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 49: "DHCID", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 55: "HIP",
    56: "NINFO", 57: "RKEY", 58: "TALINK", 59: "CDS", 60: "CDNSKEY", 61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD", 64: "SVCB",
    65: "HTTPS", 99: "SPF", 100: "UINFO", 101: "UID", 102: "GID", 103: "UNSPEC", 104: "NID", 105: "L32", 106: "L64",
    107: "LP", 108: "EUI48", 109: "EUI64", 249: "TKEY", 250: "TSIG", 251: "IXFR", 252: "AXFR", 253: "MAILB", 254: "MAILA",
    255: "ANY", 256: "URI", 257: "CAA", 258: "AVC", 260: "AMTRELAY", 32768: "TA", 32769: "DLV",
}  # fmt: skip
_CLASSES = {1: "IN", 2: "CS", 3: "CH", 4: "HS", 254: "NONE", 255: "ANY"}
_RCODES = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET",
    8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE", 11: "DSOTYPENI", 16: "BADVERS", 17: "BADKEY", 18: "BADTIME", 19: "BADMODE",
    20: "BADNAME", 21: "BADALG", 22: "BADTRUNC", 23: "BADCOOKIE",
}  # fmt: skip
_TYPE_NUMBERS = {name: number for number, name in _TYPES.items()}
_CLASS_NUMBERS = {name: number for number, name in _CLASSES.items()}
_RCODE_NUMBERS = {name: number for number, name in _RCODES.items()}


def type_text(number: int) -> str:
    """Mnemonic of a record type, ``TYPE65280`` for one without (RFC 3597 section 5)."""
    return _TYPES.get(number) or f"TYPE{number}"


def class_text(number: int) -> str:
    """Mnemonic of a class, ``CLASS42`` for one without (RFC 3597 section 5)."""
    return _CLASSES.get(number) or f"CLASS{number}"


def rcode_text(number: int) -> str:
    """Mnemonic of a response code, ``RCODE42`` for one without."""
    return _RCODES.get(number) or f"RCODE{number}"


def type_number(text: str) -> int | None:
    """The record type of a mnemonic in any case, or of ``TYPEnnn``; None when it is neither."""
    return _number(text, _TYPE_NUMBERS, "TYPE")


def class_number(text: str) -> int | None:
    """The class of a mnemonic in any case, or of ``CLASSnnn``; None when it is neither."""
    return _number(text, _CLASS_NUMBERS, "CLASS")


def rcode_number(text: str) -> int | None:
    """The response code of a mnemonic in any case; None when it is not one."""
    return _RCODE_NUMBERS.get(text.upper())


def _number(text: str, numbers: dict[str, int], prefix: str) -> int | None:
    word = text.upper()
    if word in numbers:
        return numbers[word]
    digits = word.removeprefix(prefix)
    if digits != word and digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 0xFFFF:
        return int(digits)
    return None
