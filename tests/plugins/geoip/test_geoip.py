"""Queries are described, and answers kept apart by what they are described as."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.request import Request, Transport
from kdns.corefile.errors import SetupError
from kdns.plugin.seam import ServerContext
from kdns.plugins.geoip.database import LOOK_INTERVAL
from kdns.server.assembly import assemble, read_text
from kdns.server.listener import Listener
from kdns.server.table import TableBudget
from kdns.testing.plugin import a_query
from kdns.wire.message import scan
from kdns.wire.query import pack_options
from tests.databases import GERMANY, city, database

CLIENTS = ("81.2.69.142", "10.1.0.1", "10.1.0.2", "192.0.2.1", "2001:db8::1")
VIEWS = """
a.test {
    metadata
    geoip %s {
        edns-subnet
    }
    view european {
        expr metadata('geoip/country/is_in_european_union') == 'true'
    }
    hosts {
        192.0.2.1 a.test
    }
}
a.test {
    hosts {
        192.0.2.2 a.test
    }
}
"""

SUBNET = bytes.fromhex("000120005102458e")


def with_subnet(query: bytes, *options: tuple[int, bytes]) -> bytes:
    """A query with EDNS options."""
    rdata = pack_options(options)
    opt = b"\0\0\x29\x10\0\0\0\0\0" + len(rdata).to_bytes(2, "big") + rdata
    return query[:11] + b"\x01" + query[12:] + opt


class ServedTests(SynchronousTestCase):
    """A server with answer table and cache."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.write_bytes(city())
        self.clock = Clock()
        self.context = ServerContext(
            self.clock, clock=self.clock.seconds, wall=self.clock.seconds, kernel_sockets=False
        )
        self.start(VIEWS)

    def start(self, corefile: str) -> None:
        configuration = assemble(read_text(corefile.replace("%s", str(self.path)), {}), self.context)
        for resource in configuration.resources:
            resource.start()
            self.addCleanup(resource.stop)
        ((endpoint, zones),) = configuration.endpoints.items()
        self.builders = configuration.builders
        self.listener = Listener(self.context, endpoint.label, zones)
        self.table = TableBudget(1 << 20).table()

    def ask(self, query: bytes, client: str) -> bytes:
        """The reply, from the table where it is there."""
        key = self.listener.table_key(query, client)
        hit = self.listener.replay.at_hand(self.table, key, 4711, client, 40212, self.clock.seconds())
        if hit is not None:
            return query[:2] + hit
        replies: list[bytes] = []
        self.listener.receive(query, Transport.UDP, client, 40212, "::", replies.append, self.table, key)
        return replies[0]

    def address(self, client: str, query: bytes = a_query("a.test")) -> int:
        """The last byte of the address that a client is told."""
        ((record,), _, _) = scan(self.ask(query, client)).sections()
        return record.rdata[-1]

    def test_views_keep_the_table(self) -> None:
        """Clients of the same labels share replies, those of other labels never get them."""
        for _ in range(3):
            self.assertEqual([self.address(client) for client in CLIENTS], [1, 1, 1, 2, 2])
        self.assertEqual((self.table.asked, self.table.given), (4, 11))  # IPv6 clients have entries of their own

    def test_views_across_a_change(self) -> None:
        """When the database changes, no reply from before is given again: not even that of a server block without geoip."""
        for _ in range(3):
            self.assertEqual(self.address("192.0.2.1"), 2)
        made = self.path.with_suffix(".new")
        made.write_bytes(database("GeoLite2-City", {"192.0.2.0/24": GERMANY}))
        os.replace(made, self.path)
        self.clock.advance(LOOK_INTERVAL)
        for _ in range(3):
            self.assertEqual([self.address("192.0.2.1"), self.address("81.2.69.142")], [1, 2])

    def test_subnets(self) -> None:
        """A client subnet counts in place of the client; replies to different subnets are not mixed."""
        european = with_subnet(a_query("a.test"), (8, SUBNET))
        other = with_subnet(a_query("a.test"), (8, bytes.fromhex("00012000c0000201")))
        for _ in range(3):
            self.assertEqual([self.address(c, european) for c in CLIENTS], [1] * 5)
            self.assertEqual([self.address(c, other) for c in CLIENTS], [2] * 5)
            self.assertEqual(self.address("10.1.0.1"), 1)

    def test_scope(self) -> None:
        """A reply that a subnet's label took part in has the option with its scope, and the client's cookie as well."""
        cookie = (10, b"12345678")
        for _ in range(3):
            reply = scan(self.ask(with_subnet(a_query("a.test"), cookie, (8, SUBNET)), "192.0.2.1"))
            self.assertEqual(reply.options, [cookie, (8, bytes.fromhex("000120205102458e"))])
        # The second server block read no label.
        reply = scan(self.ask(with_subnet(a_query("a.test"), (8, bytes.fromhex("00010000"))), "10.1.0.1"))
        self.assertEqual((reply.sections()[0][0].rdata[-1], reply.options), (2, []))

    def test_no_label_read(self) -> None:
        """Where nothing reads a label, the option does not come back."""
        self.start(".:53 {\n metadata\n geoip %s {\n edns-subnet\n }\n hosts {\n 192.0.2.1 a.test\n }\n}")
        reply = scan(self.ask(with_subnet(a_query("a.test"), (8, SUBNET)), "192.0.2.1"))
        self.assertFalse(reply.options)

    def test_templates(self) -> None:
        """A template with labels makes an answer for each set of labels, with a cache in front; the table repeats it."""
        self.start(
            ".:53 {\n metadata\n geoip %s\n cache 30\n"
            ' template IN TXT . {\n answer "{{ .Name }} 60 IN TXT x{{ .Meta `geoip/country/code` }}"\n }\n}'
        )
        for _ in range(3):
            texts = [scan(self.ask(a_query("a.test", "TXT"), client)).sections()[0][0].rdata for client in CLIENTS]
            self.assertEqual(texts, [b"\3xGB", b"\3xDE", b"\3xDE", b"\1x", b"\1x"])
        self.assertEqual((self.table.asked, self.table.given), (4, 11))

    def test_log(self) -> None:
        """A line about a repeated reply has the labels of the client that got it."""
        lines: list[str] = []
        self.context.output = lines.append
        self.start('.:53 {\n metadata\n geoip %s\n log . "{/geoip/country/code}"\n hosts {\n 192.0.2.1 a.test\n }\n}')
        for client in CLIENTS[:4] * 3:
            self.ask(a_query("a.test"), client)
        self.assertEqual(lines, ["[INFO] GB", "[INFO] DE", "[INFO] DE", "[INFO] "] * 3)

    def test_without_metadata(self) -> None:
        """Without metadata nothing is looked up, and clients are not told apart."""
        self.start(".:53 {\n geoip %s\n whoami\n}")
        self.assertEqual([link.name for link in self.builders[0].links], ["whoami"])
        self.assertIsNone(self.listener.prefixes) if self.listener.prefixes is None else None

    def test_not_installed(self) -> None:
        """Without the package that reads databases the start says what to install."""
        loaded = {name: sys.modules[name] for name in ("maxminddb", "kdns.plugins.geoip.database")}
        self.addCleanup(sys.modules.update, loaded)
        del sys.modules["kdns.plugins.geoip.database"]
        sys.modules["maxminddb"] = None  # type: ignore[assignment]  # as after a failed import
        error = self.assertRaises(SetupError, assemble, read_text(VIEWS, {}), self.context)
        self.assertEqual(
            error.advice(),
            "plugin/geoip: Corefile:4 - Error during parsing: the Python package maxminddb is not installed "
            "(pip install 'kdns[geoip]')",
        )

    def test_explained(self) -> None:
        """An explanation shows what is known of the client's address."""
        link = next(link for link in self.builders[0].links if link.name == "geoip")
        texts = []
        for client in ("81.2.69.142", "192.0.2.1"):
            request = a_request_of(client)
            texts += [note.text for note in link.explain(request)]
        self.assertIn("81.2.69.142: geoip/city/name Cambridge, ", texts[0])
        self.assertEqual(texts[1], f"192.0.2.1 is not in {self.path}")


def a_request_of(client: str) -> Request:
    from kdns.testing.plugin import a_request

    return a_request("a.test", client=client)
