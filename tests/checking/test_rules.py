"""What starts and then surprises: one Corefile for each, and one beside it that is fine."""

from __future__ import annotations

from pathlib import Path

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from twisted.trial.unittest import SynchronousTestCase

from kdns.checking.coredns_support import ROWS
from kdns.checking.findings import Severity
from kdns.checking.rules import ANSWERS, find_differences
from kdns.core import text
from kdns.corefile.order import DIRECTIVE_ORDER
from kdns.plugin.registry import BUILT_IN
from kdns.server.assembly import read_text
from tests.checking.support import IN_A_CLUSTER, warnings
from tests.signing_keys import write_key

FINE = """\
.:53 {
    errors
    hosts {
        192.0.2.1 a.test
        fallthrough
    }
    forward . 192.0.2.53
    cache 30
    loop
}
"""


class SurpriseTests(SynchronousTestCase):
    """Each is a warning at its line."""

    def assert_warned(self, corefile: str, line: int, *words: str, environment: dict[str, str] | None = None) -> None:
        """A warning at a line has all these words in it."""
        found = [one for one in warnings(corefile, environment) if one.severity is Severity.WARNING]
        fitting = [one for one in found if one.line == line and all(word in " ".join(one.lines()) for word in words)]
        self.assertTrue(fitting, found)

    def assert_fine(self, corefile: str) -> None:
        """Nothing is warned of."""
        self.assertEqual([one for one in warnings(corefile) if one.severity is Severity.WARNING], [])

    def test_none(self) -> None:
        """A Corefile without surprises has none."""
        self.assert_fine(FINE)

    def test_labels_unread(self) -> None:
        """geoip without metadata in its block, whether the database is here or not."""
        self.assert_warned(".:53 {\n geoip city.mmdb\n whoami\n}\n", 2, "without metadata", "no effect")
        found = warnings(".:53 {\n metadata\n geoip city.mmdb\n whoami\n}\n")
        self.assertFalse([one for one in found if one.severity is Severity.WARNING and one.line == 3])

    def test_loop(self) -> None:
        """A forward to the address that the block itself answers at; another block that answers there is no loop."""
        self.assert_warned(".:53 {\n forward . 192.0.2.1 127.0.0.1\n}\n", 2, "127.0.0.1", "go round")
        self.assert_warned(".:53 {\n bind 127.0.0.1\n forward . 127.0.0.1:53\n}\n", 3, "go round")
        self.assert_warned(
            "a.test:53 {\n forward . 127.0.0.1:5353\n}\na.test:5353 {\n forward . 127.0.0.1\n}\n", 2, "go round"
        )
        self.assert_warned(".:53 {\n forward . 192.0.2.9\n}\na.test:53 {\n forward . ::1\n}\n", 5, "go round")
        self.assert_fine("a.test:53 {\n forward . 127.0.0.1:5353\n}\n.:5353 {\n forward . 192.0.2.9\n}\n")
        self.assert_fine(".:53 {\n forward . 127.0.0.1:5353\n}\n")
        self.assert_fine(".:53 {\n bind 127.0.0.1\n forward . 127.0.0.2\n}\n.:53 {\n bind 127.0.0.2\n whoami\n}\n")

    def test_loop_through_a_file(self) -> None:
        """A resolv.conf that names this very machine, as systemd-resolved's does in a pod."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "resolv.conf").write_text("nameserver 127.0.0.53\n")
        self.assert_warned(f".:53 {{\n forward . {folder}/resolv.conf\n}}\n", 2, "127.0.0.53", "go round")

    def test_signing(self) -> None:
        """Signing without keys is warned of; with them the check says what the zone above needs."""
        self.assert_warned("a.test {\n tsig {\n  require AXFR\n }\n whoami\n}\n", 2, "no key", "REFUSED")
        self.assert_fine("a.test {\n tsig {\n  secret a.test abcd\n }\n whoami\n}\n")
        self.assert_warned("a.test {\n dnssec\n whoami\n}\n", 2, "nothing is signed")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        key = str(write_key(folder, "key", "a.test."))
        signed = f"a.test {{\n dnssec {{\n  key file {key}\n }}\n sign db {{\n  key file {key}\n }}\n whoami\n}}\n"
        _, rest = Path(f"{key}.key").read_text().split(" IN DNSKEY ")
        dnskey = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.DNSKEY, rest.strip())
        wanted = dns.dnssec.make_ds(dns.name.from_text("a.test."), dnskey, "SHA256").to_text()
        found = [one for one in warnings(signed) if "zone above" in one.text]
        self.assertEqual([(one.line, one.directive) for one in found], [(2, "dnssec"), (5, "sign")])
        for one in found:
            self.assertEqual(one.text.lower(), f"the zone above needs: a.test. in ds {wanted}")

    def test_nothing_answers(self) -> None:
        """A block without a plugin that answers, and none of those that do."""
        self.assertLess(ANSWERS, set(DIRECTIVE_ORDER))
        for name in ANSWERS & set(BUILT_IN):
            links = [
                one.text for one in warnings(f"a.test {{\n {name} x.test\n}}\n") if "no plugin that answers" in one.text
            ]
            self.assertEqual(links, [], name)
        self.assert_warned("a.test {\n errors\n cache\n}\n", 1, "SERVFAIL", "errors, cache")
        self.assert_warned("a.test {\n bind 127.0.0.1\n}\n", 1, "REFUSED")
        self.assertEqual(warnings("hostname.bind:5353 version.bind:5353 {\n chaos\n}\n"), [])
        self.assert_warned("hostname.bind a.test {\n chaos\n}\n", 1, "SERVFAIL", "chaos")

    def test_cluster_alone(self) -> None:
        """The root with nothing but the cluster behind it."""
        self.assert_warned(". {\n kubernetes cluster.local\n}\n", 2, "SERVFAIL", "forward", environment=IN_A_CLUSTER)
        self.assert_fine("cluster.local {\n kubernetes\n}\n")

    def test_reverse(self) -> None:
        """Reverse zones that do not fall through to the forward beside them."""
        self.assert_warned(
            ". {\n kubernetes cluster.local in-addr.arpa\n forward . 192.0.2.9\n}\n", 2, "fallthrough in-addr.arpa"
        )

    def test_cache(self) -> None:
        """TTLs that are long, a lowest one above the highest, a capacity that is not what was asked for."""
        fine = " forward . 192.0.2.9\n}\n"
        self.assert_warned(f". {{\n cache 7200\n{fine}", 2, "7200 s")
        self.assert_warned(f". {{\n cache {{\n  denial 2000 10 60\n }}\n{fine}", 3, "60 s", "above")
        self.assert_warned(f". {{\n cache {{\n  success 100\n }}\n{fine}", 3, "1024")
        self.assert_warned(". {\n cache 5\n kubernetes cluster.local {\n  ttl 30\n }\n" + fine, 2, "TTL 5")

    def test_shadowed(self) -> None:
        """A forward that an earlier one leaves nothing for."""
        self.assert_warned(". {\n forward . 192.0.2.9\n forward a.test 192.0.2.8\n}\n", 3, "never asked")
        self.assert_fine(". {\n forward a.test 192.0.2.8\n forward . 192.0.2.9\n}\n")
        self.assert_fine(". {\n forward . 192.0.2.8 {\n  next NXDOMAIN\n }\n forward . 192.0.2.9\n}\n")

    def test_repeated(self) -> None:
        """A zone that stands twice in one directive."""
        self.assert_warned(". {\n hosts f a.test A.test.\n whoami\n}\n", 2, "a.test", "more than once")

    def test_names(self) -> None:
        """Keys that are no names of hosts, with a guess at what was meant."""
        self.assert_warned("a_b.test {\n whoami\n}\n", 1, "a_b.test.")
        self.assert_warned("example.org:dns {\n whoami\n}\n", 1, "a port is a number")
        self.assert_warned("ftp://a.test {\n whoami\n}\n", 1, "schemes are")

    def test_environment(self) -> None:
        """A variable that is not set reads as nothing; one that is set does not matter."""
        corefile = ".:53 {\n forward . 192.0.2.9{$SUFFIX}\n}\n"
        self.assert_warned(corefile, 2, "SUFFIX")
        self.assertEqual(warnings(corefile, {"SUFFIX": ":53"}), [])

    def test_imports(self) -> None:
        """A pattern without a match, and a snippet that nothing imports."""
        self.assert_warned("(unused) {\n nonsense\n}\n.:53 {\n import no-such-*\n whoami\n}\n", 5, "no-such-*")
        self.assert_warned("(unused) {\n nonsense\n}\n.:53 {\n whoami\n}\n", 1, "unused", "looked at")
        self.assert_fine("(used) {\n whoami\n}\n.:53 {\n import used\n}\n")

    def test_defaults_of_references(self) -> None:
        """A reference with a default, as a shell has them, is a variable with an odd name."""
        self.assert_warned(".:53 {\n forward . 192.0.2.9:53{$PORT:21500}\n}\n", 2, "no defaults", "{$PORT}")

    def test_nomad_behind_forward(self) -> None:
        """Names of Nomad that forward takes."""
        self.assert_warned(
            ". {\n nomad\n forward . 192.0.2.9\n}\n", 2, "never asked for service.nomad.", "server block"
        )
        self.assert_fine(". {\n nomad\n forward example.org 192.0.2.9\n}\n")
        self.assert_fine("service.nomad {\n nomad\n}\n")

    def test_password_of_etcd(self) -> None:
        """A password that goes over the network as it is."""
        self.assert_warned(". {\n etcd {\n  credentials u p\n }\n}\n", 3, "without encryption", "https://")
        self.assert_fine(". {\n etcd {\n  endpoint https://e:2379\n  credentials u p\n }\n}\n")

    def test_hosts_without_fallthrough(self) -> None:
        """Names that hosts does not have never come to the plugins after it."""
        self.assert_warned(
            ". {\n hosts {\n  192.0.2.1 a.test\n }\n forward . 192.0.2.9\n}\n", 2, "SERVFAIL", "fallthrough"
        )
        self.assert_fine(". {\n hosts /etc/hosts a.test\n forward . 192.0.2.9\n}\n")
        self.assert_fine("a.test {\n hosts /etc/hosts\n}\n")

    def test_tls_without_a_scheme(self) -> None:
        """Options of TLS with an address of plain DNS."""
        stanza = " forward . {} {{\n  tls_servername dns.example\n }}\n"
        self.assert_warned(". {\n" + stanza.format("192.0.2.9") + "}\n", 3, "plain DNS", "tls://192.0.2.9")
        self.assert_warned(
            ". {\n" + stanza.format("tls://192.0.2.9").replace(" . ", " a.test ") + stanza.format("192.0.2.9") + "}\n",
            6,
            "plain DNS",
        )
        self.assert_fine(". {\n" + stanza.format("tls://192.0.2.9") + "}\n")

    def test_no_domain(self) -> None:
        """Reverse zones of the cluster without its domain: names end in the usual one."""
        corefile = "in-addr.arpa ip6.arpa {\n kubernetes in-addr.arpa ip6.arpa\n}\n"
        self.assert_warned(corefile, 2, "cluster.local", environment=IN_A_CLUSTER)

    def test_metrics_inside(self) -> None:
        """The default address of metrics is that of nobody else."""
        self.assert_warned(
            ". {\n prometheus\n kubernetes cluster.local\n forward . 192.0.2.9\n}\n", 2, "localhost:9153"
        )

    def test_machine(self) -> None:
        """Addresses that the machine does not have, and host names, which nobody looks up here."""
        corefile = ". {\n bind 192.0.2.77 127.0.0.9\n forward . dns.example\n}\n"
        found = [(one.line, one.directive) for one in warnings(corefile, elsewhere=False)]
        self.assertEqual(found, [(2, "bind"), (3, "forward")])
        self.assertEqual([one.directive for one in warnings(corefile)], ["forward"])

    def test_defaults(self) -> None:
        """What the default Corefile of clusters has and this one lacks is a note."""
        found = warnings(".:53 {\n kubernetes cluster.local\n forward . 192.0.2.9\n health\n}\n")
        self.assertEqual({one.severity for one in found}, {Severity.NOTE})
        self.assertEqual(sorted(one.directive for one in found), ["health", "loop", "ready", "reload"])


class NoteTests(SynchronousTestCase):
    """The notes of a Corefile."""

    def test_directives(self) -> None:
        """A directive that differs has its sentences, at its first line; one that does not has none."""
        found = find_differences(read_text("a.test {\n errors\n loop\n whoami\n}\nb.test {\n loop\n}\n", {}))
        wanted = [("errors", 2, text) for text in ROWS["errors"].differences]
        wanted += [("loop", 3, text) for text in ROWS["loop"].differences]
        self.assertEqual([(one.directive, one.line, one.text) for one in found], wanted)
        self.assertEqual({one.severity for one in found}, {Severity.NOTE})
        self.assertIn("docs/compatibility.md", found[0].suggestion)
        self.patch(text, "_CHECKOUT", Path("/usr/lib/python3/site-packages"))
        found = find_differences(read_text(". {\n errors\n}\n", {}))
        self.assertEqual({one.suggestion for one in found}, {""}, "paths of pages that are not there")

    def test_options(self) -> None:
        """An option that differs has a note where it is used, with the argument that makes the difference."""
        text = "a.test {\n kubernetes {\n  pods insecure\n  apiserver_qps 5\n }\n}\nb.test {\n kubernetes {\n  pods verified\n }\n}\n"
        found = {one.line: one.text for one in find_differences(read_text(text, {})) if one.line not in (2, 8)}
        self.assertEqual(sorted(found), [4, 9])
        self.assertTrue(found[9].startswith("pods verified: "), found)
