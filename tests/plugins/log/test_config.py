"""Tests of :mod:`kdns.plugins.log.config`: what the Corefile may say."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import SetupError
from kdns.plugins.log import Config, Rule, directive
from kdns.plugins.log.lines import COMBINED, COMMON
from kdns.plugins.log.policy import Choice
from kdns.wire.constants import NXDOMAIN, SERVFAIL
from kdns.wire.names import ROOT, from_text
from tests.support import parsed

ORG, NET = from_text("example.org"), from_text("example.net")


class ParseTests(SynchronousTestCase):
    """Snippets, and what becomes of them."""

    def test_rules(self) -> None:
        """Names, formats and classes; one word alone is a name even if it looks like a format."""
        for text, wanted in [
            ("log", [Rule()]),
            ("log Example.ORG", [Rule((ORG,))]),
            ("log {combined}", [Rule((from_text("{combined}"),))]),
            ("log . {combined}", [Rule(template=COMBINED)]),
            ("log . {common}", [Rule(template=COMMON)]),
            ('log . "x {common} y"', [Rule(template=f"x {COMMON} y")]),
            ('log example.org example.net "{name}"', [Rule((ORG, NET), "{name}")]),
            ("log example.org example.net", [Rule((ORG, NET))]),
            ("log {\n class denial error\n}", [Rule(classes=frozenset({"denial", "error"}))]),
            ("log {\n class denial\n class success\n}", [Rule(classes=frozenset({"denial", "success"}))]),
            ("log {\n class all denial\n}", [Rule()]),
            ("log example.org {\n class error\n}\nlog", [Rule((ORG,), classes=frozenset({"error"})), Rule()]),
        ]:
            self.assertEqual(parsed(directive, f". {{\n{text}\n}}"), Config(tuple(wanted)), text)

    def test_options(self) -> None:
        """kdns's own."""
        ten, one = ip_network("10.0.0.0/8"), ip_network("fd00::1/128")
        for text, wanted in [
            ("format json", Rule(format="json")),
            ("format text", Rule(format="text")),
            ("only name example.org example.net", Rule(choice=Choice(only_names=(ORG, NET)))),
            ("only name example.org\n only name example.net", Rule(choice=Choice(only_names=(ORG, NET)))),
            ("except name .", Rule(choice=Choice(except_names=(ROOT,)))),
            ("only client 10.1.2.3/8 fd00::1", Rule(choice=Choice(only_clients=(ten, one)))),
            ("except client 10.0.0.0/8", Rule(choice=Choice(except_clients=(ten,)))),
            ("only rcode servfail NXDOMAIN", Rule(choice=Choice(only_rcodes=frozenset({SERVFAIL, NXDOMAIN})))),
            ("except rcode NXDOMAIN", Rule(choice=Choice(except_rcodes=frozenset({NXDOMAIN})))),
            ("slower 100ms", Rule(slower=0.1)),
            ("sample 100", Rule(sample=100)),
            ("sample 100 50ms", Rule(sample=100, slow=0.05)),
            ("budget 1000", Rule(budget=1000)),
            ("class error\n budget 10\n format json", Rule(classes=frozenset({"error"}), budget=10, format="json")),
        ]:
            self.assertEqual(parsed(directive, f". {{\nlog {{\n{text}\n}}\n}}"), Config((wanted,)), text)

    def test_errors(self) -> None:
        """What it may not say, where that stands, and what may have been meant."""
        place = "plugin/log: Corefile:3 - Error during parsing: "
        for text, wanted, hint in [
            ("class", place + "Wrong argument count or unexpected line ending after 'class'", None),
            ("class frob", "plugin/log: invalid Class: frob", None),
            ("class denail", "plugin/log: invalid Class: denail", "denial"),
            ("frob", place + "unknown property 'frob'", None),
            ("sampel 10", place + "unknown property 'sampel'", "sample"),
            ("format", place + "Wrong argument count or unexpected line ending after 'format'", None),
            ("format jsn", place + "format must be text or json, found 'jsn'", "json"),
            ("format json\n format text", place.replace("3", "4") + "format can only be used once for each log", None),
            ("only clients 10.0.0.0/8", place + "only must be name, client or rcode, found 'clients'", "client"),
            ("except name", place + "Wrong argument count or unexpected line ending after 'name'", None),
            ("only name a..b", "plugin/log: not a domain name: a..b", None),
            ("only client 10.0.0.0/33", place + "not a network or address: 10.0.0.0/33", None),
            ("except rcode NXDOMAN", place + "unknown response code 'NXDOMAN'", "NXDOMAIN"),
            ("slower 100", place + 'time: missing unit in duration "100"', None),
            ("slower -1s", place + "slower wants a duration above 0, found -1s", None),
            ("sample 0", place + "sample must be at least 1, found 0", None),
            ("sample x", place + 'strconv.Atoi: parsing "x": invalid syntax', None),
            ("sample 5 0s", place + "sample wants a duration above 0, found 0s", None),
            ("sample 5 1s 2s", place + "Wrong argument count or unexpected line ending after '2s'", None),
            ("budget -1", place + "budget must be at least 1, found -1", None),
        ]:
            error = self.assertRaises(SetupError, parsed, directive, f". {{\nlog {{\n{text}\n}}\n}}")
            self.assertEqual((str(error), error.hint), (wanted, f"did you mean '{hint}'?" if hint else None), text)
            self.assertIsNotNone(error.line)

    def test_bad_name(self) -> None:
        """A name that cannot exist."""
        error = self.assertRaises(SetupError, parsed, directive, ". {\nlog a..b\n}")
        self.assertEqual(str(error), "plugin/log: not a domain name: a..b")
