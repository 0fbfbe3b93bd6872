"""From records to labels."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.geoip.labels import ASN, CITY, schema_of, subnet_address
from tests.databases import CAMBRIDGE

UNKNOWN = ("", "", "", "false", "", "", "", "", "", "", "")

WORDS = (*CAMBRIDGE, "names", "en", "iso_code", "latitude", "autonomous_system_number")

RECORDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just("text"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=8,
)


class SchemaTests(SynchronousTestCase):
    def test_known_types(self) -> None:
        """The type of a database says which labels it has."""
        for database_type, schema in (
            ("GeoLite2-City", CITY),
            ("GeoIP2-City-Africa", CITY),
            ("GeoLite2-Country", CITY),
            ("GeoIP2-Precision-Enterprise", CITY),
            ("DBIP-Location-ISP (compat=Enterprise)", CITY),
            ("DBIP-Country-Lite", CITY),
            ("GeoLite2-ASN", ASN),
            ("DBIP-ASN-Lite (compat=GeoLite2-ASN)", ASN),
            ("GeoIP2-ISP", ASN),
        ):
            self.assertIs(schema_of(database_type), schema, database_type)

    def test_other_types(self) -> None:
        """A database of something else is refused."""
        for database_type, text in (
            ("GeoIP2-Anonymous-IP", "database does not provide any supported schema (city, asn)"),
            ("My-City", "does not support the"),
            ("GeoIP2-Cityscape", "does not support the"),
            ("", "does not support the"),
        ):
            error = self.assertRaises(ValueError, schema_of, database_type)
            self.assertIn(text, str(error), database_type)


class LabelTests(SynchronousTestCase):
    def test_city(self) -> None:
        """Names are English, and of subdivisions there are two."""
        wanted = ("Cambridge", "United Kingdom", "GB", "true", "Europe", "EU", "ENG,CAM", "52.2242", "0.1315")
        self.assertEqual(CITY.values(CAMBRIDGE), (*wanted, "Europe/London", "CB4"))

    def test_unknown(self) -> None:
        """An unknown address has the labels that nothing is known of."""
        self.assertEqual(CITY.values(None), UNKNOWN)
        self.assertEqual(ASN.values(None), ("0", ""))

    def test_coordinates(self) -> None:
        """Coordinates are the shortest decimal numbers, without exponents."""
        for latitude, text in ((52, "52"), (-0.00001, "-0.00001"), (0.1 + 0.2, "0.30000000000000004"), (True, "")):
            self.assertEqual(CITY.values({"location": {"latitude": latitude}})[7], text)

    @given(RECORDS)
    def test_anything(self, record: object) -> None:
        """A record of any shape becomes texts."""
        for schema in (CITY, ASN):
            labels = schema.values(record)
            self.assertEqual(len(labels), len(schema.names))
            self.assertTrue(all(isinstance(label, str) for label in labels))


class SubnetTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        """The address is filled up with zeros; without a prefix, or with an impossible address, there is none."""
        for option, address in (
            ("00012000 5102458e", "81.2.69.142"),
            ("00011800 510245", "81.2.69.0"),
            ("00023000 20010db80001", "2001:db8:1::"),
            ("00028000 00000000000000000000ffff5102458e", "81.2.69.142"),
            ("00010000", None),
            ("00012000 5102458e00", None),
            ("00032000 5102458e", None),
            ("0001", None),
            ("", None),
        ):
            found = subnet_address(bytes.fromhex(option.replace(" ", "")))
            self.assertEqual(found, address and ip_address(address), option)

    @given(st.binary(max_size=24))
    def test_any_option(self, option: bytes) -> None:
        """Whatever a client sends is an address or none."""
        subnet_address(option)
