"""
Databases of *geoip*, made with a writer from PyPI.

The values are those that the golden cases show for the addresses in them; the databases that were used in the recording are not at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CAMBRIDGE = {
    "city": {"names": {"en": "Cambridge", "de": "Cambridge (UK)"}},
    "continent": {"code": "EU", "names": {"en": "Europe"}},
    "country": {"iso_code": "GB", "is_in_european_union": True, "names": {"en": "United Kingdom"}},
    "location": {"latitude": 52.2242, "longitude": 0.1315, "time_zone": "Europe/London"},
    "postal": {"code": "CB4"},
    "subdivisions": [{"iso_code": "ENG"}, {"iso_code": "CAM"}, {"iso_code": "third"}],
}

GERMANY = {"country": {"iso_code": "DE", "is_in_european_union": True, "names": {"en": "Germany"}}}


def database(database_type: str, records: Mapping[str, Any]) -> bytes:
    """The content of a database with a record for each network."""
    from mmdb_writer import MMDBWriter
    from netaddr import IPSet  # type: ignore[import-untyped]  # it has no annotations

    writer = MMDBWriter(6, database_type, ipv4_compatible=True)
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "made.mmdb"
        writer.to_db_file(str(path))
        return path.read_bytes()


@cache
def city() -> bytes:
    return database("GeoLite2-City", {"81.2.69.142/32": CAMBRIDGE, "10.1.0.0/16": GERMANY})


@cache
def asn() -> bytes:
    record = {"autonomous_system_number": 12345, "autonomous_system_organization": "Test ASN Organization"}
    return database("GeoLite2-ASN", {"81.2.69.142/32": record})


@cache
def unknown() -> bytes:
    return database("UnknownDbType", {"81.2.69.142/32": CAMBRIDGE})


DATABASES: Mapping[str, Callable[[], bytes]] = {"city.mmdb": city, "asn.mmdb": asn, "unk.mmdb": unknown}
"""By the names that they have in golden cases."""
