"""
Fuzz target for databases of *geoip*: files that are damaged anywhere.

A damaged database is refused when it is read, or its labels are texts; nothing is raised, and no descriptor stays open.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.task import Clock

from kdns.corefile.errors import SetupError
from kdns.plugin.seam import ServerContext
from kdns.plugins.geoip.database import Database, schema_of_file
from tests.databases import CAMBRIDGE, database

ADDRESSES = tuple(map(ip_address, ("10.0.0.1", "81.2.69.142", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::")))


def databases() -> tuple[bytes, ...]:
    """Databases that fit into an input."""
    number = {"autonomous_system_number": 12345, "autonomous_system_organization": "Test ASN Organization"}
    return (database("GeoLite2-City", {"10.0.0.0/8": CAMBRIDGE}), database("GeoLite2-ASN", {"10.0.0.0/8": number}))


def run_geoip(octets: bytes) -> None:
    """Read a database and look addresses up in it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fuzzed.mmdb"
        path.write_bytes(octets)
        try:
            schema = schema_of_file(str(path))
        except ValueError:
            return
        clock = Clock()
        made = Database(str(path), schema, True, ServerContext(clock, clock=clock.seconds))
        started = made.start()
        assert started is not None
        started.addErrback(lambda failure: failure.trap(SetupError))
        for address in ADDRESSES:
            labels = made.labels(address)
            assert len(labels) == len(schema.names)
            assert all(isinstance(label, str) for label in labels)
            assert made.group(str(address))[1] == labels
        made.stop()
        assert not clock.getDelayedCalls()
