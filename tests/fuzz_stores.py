"""
Fuzz targets for what stores answer: etcd's gateway with its records, Nomad, Route 53, Azure and Google.

An answer is read or refused with an error of its own. No step may take long.
"""

from __future__ import annotations

import json
import time

from kdns.plugins.azure.listing import BadAnswer as BadAzure
from kdns.plugins.azure.listing import parse_listing as parse_azure
from kdns.plugins.clouddns.listing import BadAnswer as BadGoogle
from kdns.plugins.clouddns.listing import parse_listing as parse_google
from kdns.plugins.etcd import gateway
from kdns.plugins.etcd.lookup import Lookup
from kdns.plugins.etcd.records import BadRecord, RecordIndex, parse
from kdns.plugins.nomad.answers import BadAnswer as BadNomad
from kdns.plugins.nomad.answers import registrations, services
from kdns.plugins.route53.listing import BadXml, parse_listing
from kdns.plugins.stores.zones import BadValue, RecordSet, rdata_of
from kdns.wire.constants import type_number
from kdns.wire.names import BadName, from_text, spelled_from_text

ZONE = from_text("s.test")
MOST_SECONDS = 0.1
"""Processor time of one step. What is promised is 5 ms a turn; this machine may be twenty times as busy as that."""


def _range(*pairs: tuple[str, str]) -> bytes:
    kvs = [
        {
            "key": gateway.coded(f"/skydns/{key}".encode()),
            "value": gateway.coded(value.encode()),
            "mod_revision": str(at),
            "lease": "7",
        }
        for at, (key, value) in enumerate(pairs)
    ]
    return json.dumps({"header": {"revision": "9"}, "kvs": kvs, "more": True, "count": "3"}).encode()


KEYS = (
    _range(
        ("test/s/www", '{"host": "10.0.0.1", "ttl": 60}'),
        ("test/s/cn/a", '{"host": "cn.s.test", "targetstrip": 2, "port": 1, "weight": 5, "group": "g"}'),
        ("test/s/t", '{"text": "a", "mail": true, "priority": 3}'),
    ),
    b'{"result":{"header":{"revision":"5"},"events":[{"type":"DELETE","kv":{"key":"L2E=","mod_revision":"5"}}]}}',
    b'{"result":{"canceled":true,"compact_revision":"4"}}\n{"error":{"grpc_code":2,"message":"x"}}',
)


def run_etcd(octets: bytes) -> None:
    """Read octets as an answer to a read and as a line of a watch; put what is in them into an index, and ask it."""
    pairs = []
    for kind in (gateway.Range, gateway.Line):
        try:
            found = gateway.decode(kind, octets)
        except gateway.BadAnswer as error:
            assert str(error)
            continue
        if isinstance(found, gateway.Range):
            pairs += found.kvs
        elif isinstance(found, gateway.Line) and found.result is not None:
            pairs += [event.kv for event in found.result.events]
    index = RecordIndex()
    for pair in pairs:
        path = tuple(pair.key.split(b"/")[2:])
        try:
            index.put(parse(path, pair.value))
        except BadRecord as error:
            assert str(error)
            index.put_broken(path)
    lookup = Lookup(index, 30, 86400)
    before = time.process_time()
    for name in (b"", b"\x03www", b"\x02cn", b"\x01*", b"\x01t", b"\x03any\x01*"):
        for qtype in (1, 2, 5, 12, 15, 16, 28, 33, 6):
            lookup.find(name + ZONE, name + ZONE, qtype, ZONE, 0.0)
    assert time.process_time() - before < MOST_SECONDS


LISTINGS = (
    b'<L xmlns="x"><ResourceRecordSets><ResourceRecordSet><Name>\\052.e.org.</Name><Type>TXT</Type><TTL>5</TTL><ResourceRecords>'
    b'<ResourceRecord><Value>"a\\040b" "c"</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></ResourceRecordSets>'
    b"<IsTruncated>true</IsTruncated><NextRecordName>b</NextRecordName></L>",
    b'{"value": [{"name": "@", "type": "x/SRV", "properties": {"TTL": 5, "SRVRecords": [{"priority": 1, "weight": 2, "port": 3,'
    b' "target": "a.b"}]}}, {"name": "t", "type": "x/TXT", "properties": {"ttl": 1, "txtRecords": [{"value": ["a\\"", "b"]}]}}]}',
    b'{"rrsets": [{"name": "a.", "type": "MX", "ttl": 5, "rrdatas": ["10 b."]}], "nextPageToken": "x"}',
    b'[{"Namespace": "default", "Services": [{"ServiceName": "web", "Tags": []}]}]',
    b'[{"Address": "10.0.0.1", "Port": 80, "ServiceName": "web"}]',
)


def run_listing(octets: bytes) -> None:
    """Read octets as an answer of each of the others; what is in them becomes records, or is refused."""
    sets: list[RecordSet] = []
    steps = parse_listing(octets)
    try:
        while True:
            before = time.process_time()
            next(steps)
            assert time.process_time() - before < MOST_SECONDS
    except StopIteration as stop:
        sets += stop.value.sets
    except BadXml as error:
        assert str(error)
    try:
        sets += parse_azure(octets, "example.org")[0]
    except BadAzure as error:
        assert str(error)
    try:
        sets += parse_google(octets)[0]
    except BadGoogle as error:
        assert str(error)
    for read in (services, registrations):
        try:
            read(octets)
        except BadNomad as error:
            assert str(error)
    for one in sets:
        try:
            spelled_from_text(one.owner)
            for value in one.values:
                rdata_of(type_number(one.rtype) or 1, value)
        except (BadName, BadValue) as error:
            assert str(error)
