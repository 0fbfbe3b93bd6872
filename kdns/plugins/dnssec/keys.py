# -*- test-case-name: tests.plugins.dnssec.test_keys -*-
"""
Read keys as BIND's ``dnssec-keygen`` writes them: ``BASE.key``, a DNSKEY record, and ``BASE.private``, the private key.

What the dates in these files say is ignored, as in CoreDNS: a key is used from the start until it is taken out of the Corefile.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from io import BytesIO
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from dns.dnssecalgs import get_algorithm_cls

from kdns.core.config_files import read_config_file
from kdns.core.text import reason_of
from kdns.corefile.values import quote
from kdns.wire.constants import DNSKEY
from kdns.wire.names import ROOT
from kdns.zones.master import MasterReader
from kdns.zones.signing import SigningKey
from kdns.zones.zone import BadZone

MOST = 1 << 16
"""Bytes of a file."""

TTL = 3600
"""Seconds of a DNSKEY record whose file says none."""

RSA = frozenset((5, 7, 8, 10))
CURVES = {13: ec.SECP256R1, 14: ec.SECP384R1}
ED25519 = 15

RSA_FIELDS = (
    "Prime1",
    "Prime2",
    "PrivateExponent",
    "Exponent1",
    "Exponent2",
    "Coefficient",
    "PublicExponent",
    "Modulus",
)


class BadKey(ValueError):
    """A key cannot be used; the text says why."""


class NotDnskey(BadKey):
    """The first record of a key file is another one, or there is none; *rtype* is None then."""

    def __init__(self, rtype: int | None) -> None:
        super().__init__("no public key found")
        self.rtype = rtype


def base_of(path: str) -> str:
    """The path that both files of a key have in common."""
    return path.removesuffix(".key").removesuffix(".private")


def read_key(base: str) -> SigningKey:
    """
    Read a key pair.

    :param base: the path without suffix.
    :raises BadKey: it cannot be used.
    """
    owner, ttl, rdata = read_public(f"{base}.key")
    fields = _fields(f"{base}.private")
    return SigningKey(owner, ttl, rdata, _private(f"{base}.private", fields, rdata))


def read_public(path: str) -> tuple[bytes, int, bytes]:
    """
    Owner, TTL and rdata of the DNSKEY record in a file.

    :raises BadKey: there is none.
    """
    found: list[tuple[bytes, int, int, bytes]] = []

    def add(owner: bytes, rtype: int, ttl: int, rdata: bytes, spelled: bytes | None) -> None:
        found.append((owner, rtype, ttl, rdata))

    content = _read(path)
    try:
        for _ in MasterReader(lambda path: BytesIO(content), path, ROOT, add, ttl=TTL).read():
            pass
    except BadZone as error:
        raise BadKey(str(error)) from error
    if not found or found[0][1] != DNSKEY:
        raise NotDnskey(found[0][1] if found else None)
    owner, _, ttl, rdata = found[0]
    return owner, ttl, rdata


def _read(path: str) -> bytes:
    try:
        return read_config_file(path, MOST)
    except OSError as error:
        raise BadKey(f"open {path}: {reason_of(error)}") from error


def _fields(path: str) -> dict[str, str]:
    """The lines ``Name: value`` of a private key."""
    fields: dict[str, str] = {}
    for number, line in enumerate(_read(path).decode("utf-8", "replace").splitlines(), 1):
        name, colon, value = line.partition(":")
        if not colon:
            if line.strip():
                raise BadKey(f"{path}: dns: no private key seen: {quote(line)} at line: {number}:{len(line)}")
            continue
        fields[name.strip()] = value.strip()
    if not fields:
        raise BadKey(f"{path}: no private key found")
    if fields.get("Private-key-format") not in ("v1.2", "v1.3"):
        raise BadKey(f"{path}: dns: bad private key: its format is not v1.2 or v1.3")
    return fields


def _private(path: str, fields: dict[str, str], dnskey: bytes) -> Any:
    """The private key of some fields, which must belong to the rdata of a DNSKEY."""
    algorithm = dnskey[3] if len(dnskey) > 4 else 0
    if algorithm not in RSA and algorithm not in CURVES and algorithm != ED25519:
        raise BadKey("dns: bad algorithm")
    try:
        if int(fields.get("Algorithm", "").partition(" ")[0] or 0) != algorithm:
            raise BadKey(f"{path}: dns: bad private key: its algorithm is not that of the public key")
        if algorithm in RSA:
            p, q, d, dmp1, dmq1, iqmp, e, n = (_number(fields, name) for name in RSA_FIELDS)
            key: Any = rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, rsa.RSAPublicNumbers(e, n)).private_key()
        elif algorithm == ED25519:
            key = ed25519.Ed25519PrivateKey.from_private_bytes(_bytes(fields, "PrivateKey"))
        else:
            key = ec.derive_private_key(_number(fields, "PrivateKey"), CURVES[algorithm]())
        private: Any = get_algorithm_cls(algorithm)(key)
        public = private.public_key().encode_key_bytes()
        private.sign(b"")  # some RSA keys are too short for the hash of their algorithm
    except (ValueError, TypeError) as error:
        if isinstance(error, BadKey):
            raise
        raise BadKey(f"{path}: dns: bad private key: {error}") from error
    if public != dnskey[4:]:
        raise BadKey(f"{path}: dns: bad private key: it does not belong to the public key")
    return private


def _bytes(fields: dict[str, str], name: str) -> bytes:
    text = fields.get(name)
    if text is None:
        raise ValueError(f"there is no {name}")
    try:
        return b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError(f"{name} is not base64") from None


def _number(fields: dict[str, str], name: str) -> int:
    return int.from_bytes(_bytes(fields, name), "big")
