"""
Fuzz targets for signing: signed queries (*tsig*), and upstreams' replies that are signed on their way (*dnssec*).
"""

from __future__ import annotations

from functools import cache

import dns.message
import dns.tsigkeyring

from kdns.core.answer import Answer
from kdns.core.reply import render_reply
from kdns.core.validity import FROM_UPSTREAM
from kdns.plugins.dnssec.config import directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import DNSKEY, DO, DS, NSEC, A
from kdns.wire.message import MalformedMessage, Relayed, scan
from kdns.wire.query import Edns
from kdns.wire.tsig import ALGORITHMS, MalformedTsig, append, mac_of, split
from tests.conformance.cases import CASES

SOA = "example.org. 60 IN SOA ns.example.org. admin.example.org. 1 2 3 4 5\n"
SECTIONS = (
    ";ANSWER\nwww.example.org. 60 IN CNAME web.example.org.\nweb.example.org. 60 IN A 192.0.2.1\nweb.example.org. 60 IN A 192.0.2.2\n",
    f";AUTHORITY\n{SOA}",
    f";ANSWER\nwww.example.org. 60 IN CNAME web.example.org.\n;AUTHORITY\n{SOA}",
    ";AUTHORITY\nexample.org. 60 IN NS ns.example.net.\nexample.org. 60 IN DS 1 13 2 "
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
    ";ANSWER\nwww.example.org. 60 IN MX 10 mail.example.org.\n"
    "www.example.org. 60 IN RRSIG MX 13 3 60 20300101000000 20200101000000 50029 example.org. AAAA\n",
)
REPLIES = tuple(
    dns.message.from_text(
        f"id 7\nopcode QUERY\nrcode {rcode}\nflags QR RD RA\n;QUESTION\nwww.example.org. IN A\n{sections}"
    ).to_wire()
    for sections in SECTIONS
    for rcode in ("NOERROR", "NXDOMAIN")
)


class Upstream:
    """Says what it is given."""

    def __init__(self) -> None:
        self.reply: Relayed | None = None

    def __call__(self, request: object) -> Answer:
        assert self.reply is not None
        return Answer(self.reply.rcode & 15, body=self.reply, validity=FROM_UPSTREAM)


@cache
def bench() -> tuple[PluginBench, Upstream]:
    """A signer in front of an upstream."""
    upstream = Upstream()
    return PluginBench(directive, f"dnssec example.org {{\nkey file {CASES}/mat/csk\n}}", upstream), upstream


def run_dnssec(octets: bytes) -> None:
    """Sign a reply, whatever is in it, for several questions; what comes of it is a message."""
    try:
        reply = scan(octets)
    except MalformedMessage:
        return
    signing, upstream = bench()
    upstream.reply = reply
    for qtype in (A, NSEC, DS, DNSKEY):
        edns = Edns(4096, DO, 0, b"")
        answer = signing.ask("www.example.org", qtype, edns=edns)
        scan(render_reply(a_request("www.example.org", qtype, edns=edns), answer))


def _signed() -> tuple[bytes, ...]:
    found = []
    for algorithm in ("hmac-sha1", "hmac-sha512"):
        query = dns.message.make_query("example.org.", "AXFR", use_edns=0, id=1)
        query.use_tsig(dns.tsigkeyring.from_text({"key.test.": "AAECAwQFBgc="}), algorithm=algorithm)
        found.append(query.to_wire())
    return tuple(found)


SIGNED = _signed()


def run_tsig(octets: bytes) -> None:
    """Take the signature off a message, and append it again."""
    try:
        found = split(octets)
    except MalformedTsig as error:
        assert str(error)
        return
    if found is not None:
        message, tsig = found
        assert split(append(message, tsig)) == found
        if tsig.algorithm.lower() in ALGORITHMS:
            mac_of(b"secret", tsig, message)
