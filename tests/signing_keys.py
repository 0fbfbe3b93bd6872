# -*- test-case-name: tests.plugins.dnssec -*-
"""Key pairs for tests, written as BIND's ``dnssec-keygen`` writes them, and the check of signatures by dnspython."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.message
import dns.name
import dns.node
import dns.rdatatype
import dns.rrset
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from dns.dnssecalgs import get_algorithm_cls

CURVES = {13: ec.SECP256R1(), 14: ec.SECP384R1()}
RSA_BITS = 1024


def _text(number: int) -> str:
    return b64encode(number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")).decode()


def _fields(key: Any) -> dict[str, str]:
    if isinstance(key, rsa.RSAPrivateKey):
        private = key.private_numbers()
        public = private.public_numbers
        return {
            "Modulus": _text(public.n), "PublicExponent": _text(public.e), "PrivateExponent": _text(private.d),
            "Prime1": _text(private.p), "Prime2": _text(private.q), "Exponent1": _text(private.dmp1),
            "Exponent2": _text(private.dmq1), "Coefficient": _text(private.iqmp),
        }  # fmt: skip
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {"PrivateKey": b64encode(key.private_bytes_raw()).decode()}
    return {"PrivateKey": _text(key.private_numbers().private_value)}


def write_key(folder: Path, base: str, owner: str = "example.org.", algorithm: int = 13, flags: int = 257) -> Path:
    """Write a new pair of files, and return their path without suffix."""
    if algorithm in CURVES:
        key: Any = ec.generate_private_key(CURVES[algorithm])
    elif algorithm == 15:
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = rsa.generate_private_key(65537, RSA_BITS)
    private: Any = get_algorithm_cls(algorithm)(key)
    dnskey = private.public_key().to_dnskey(flags)
    path = folder / base
    path.with_name(f"{base}.key").write_text(f"; a key\n{owner} IN DNSKEY {dnskey}\n")
    lines = ["Private-key-format: v1.3", f"Algorithm: {algorithm} (X)"]
    lines += [f"{name}: {value}" for name, value in _fields(key).items()]
    path.with_name(f"{base}.private").write_text("\n".join(lines) + "\nCreated: 20260101000000\n")
    return path


def validated(
    section: Iterable[dns.rrset.RRset], keys: Mapping[dns.name.Name, Any], now: float
) -> list[tuple[dns.name.Name, int]]:
    """
    The signed RRsets of a section, by owner and type; each signature of them is good.

    :param keys: DNSKEY RRsets by zone.
    :raises dns.exception.ValidationFailure: one is not.
    """
    found = []
    rrsets = list(section)
    for rrsig in rrsets:
        if rrsig.rdtype != dns.rdatatype.RRSIG:
            continue
        (covered,) = (one for one in rrsets if (one.name, one.rdtype) == (rrsig.name, rrsig.covers))
        for rdata in rrsig:
            one = dns.rrset.from_rdata(rrsig.name, rrsig.ttl, rdata)
            dns.dnssec.validate(covered, one, dict(keys), now=now)
        found.append((covered.name, int(covered.rdtype)))
    return found
