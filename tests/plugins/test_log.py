"""Tests of :mod:`kdns.plugins.log`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer
from kdns.core.failure import Refused, ResolutionFailed
from kdns.core.observe import Exchange
from kdns.core.reply import render_reply
from kdns.core.request import Metadata, Request, Transport
from kdns.corefile.errors import SetupError
from kdns.plugins.log import directive
from kdns.plugins.log.lines import COMBINED, COMMON, seconds_text
from kdns.plugins.seam import House, Site
from kdns.wire.constants import (
    AA,
    AD,
    CD,
    DO,
    FORMERR,
    IN,
    NXDOMAIN,
    QR,
    RA,
    RD,
    REFUSED,
    SERVFAIL,
    class_number,
    type_number,
)  # fmt: skip
from kdns.wire.message import scan
from kdns.wire.names import from_text
from kdns.wire.query import Edns
from kdns.wire.records import Record, a_or_aaaa, cname, soa, srv, txt
from kdns.wire.render import render
from tests.support import a_house, a_request, blocks_of, built, parsed

HERE = Path(__file__).parent.parent / "conformance"
UPSTREAM = "127.0.0.1:5353"
DURATION = 0.000114375


class Lines(list[str]):
    """An output."""

    def __call__(self, line: str) -> None:
        self.append(line)


def a_house_with(output: Lines) -> House:
    """A house whose lines are kept."""
    return a_house(Clock(), output=output)


def exchange_of(
    request: Request, answer: Answer, seconds: float = DURATION, failure: ResolutionFailed | None = None
) -> Exchange:
    """The end of a query as a listener makes it."""
    reply = None if answer.silent else render_reply(request, answer)
    return Exchange(request, answer, reply, ".", "", seconds, failure)


def in_zone_soa(owner: str) -> Record:
    """The cluster's own SOA."""
    names = from_text("ns.dns." + owner), from_text("hostmaster." + owner)
    return soa(from_text(owner), 30, *names, (1, 7200, 1800, 86400, 30))


def upstream_soa() -> Record:
    """The SOA of the resolver that the golden lines were recorded with."""
    names = from_text("ns.example.com."), from_text("admin.example.com.")
    return soa(from_text("example.com."), 60, *names, (7, 7200, 3600, 1209600, 30))


class ParseTests(SynchronousTestCase):
    """What the Corefile may say."""

    def rules(self, text: str) -> list[tuple[bytes, str, str]]:
        """Name, format and classes of each rule."""
        config = parsed(directive, f". {{\n{text}\n}}")
        return [(rule.name, rule.template, " ".join(sorted(rule.classes))) for rule in config.rules]

    def test_rules(self) -> None:
        """Names, formats and classes; one word alone is a name even if it looks like a format."""
        every = "denial error success"
        org, net = from_text("example.org"), from_text("example.net")
        for text, wanted in [
            ("log", [(b"\x00", COMMON, every)]),
            ("log Example.ORG", [(org, COMMON, every)]),
            ("log {combined}", [(from_text("{combined}"), COMMON, every)]),
            ("log . {combined}", [(b"\x00", COMBINED, every)]),
            ("log . {common}", [(b"\x00", COMMON, every)]),
            ('log . "x {common} y"', [(b"\x00", f"x {COMMON} y", every)]),
            ('log example.org example.net "{name}"', [(org, "{name}", every), (net, "{name}", every)]),
            ("log example.org example.net", [(org, COMMON, every), (net, COMMON, every)]),
            ("log {\n class denial error\n}", [(b"\x00", COMMON, "denial error")]),
            ("log {\n class denial\n class success\n}", [(b"\x00", COMMON, "denial success")]),
            ("log {\n class all denial\n}", [(b"\x00", COMMON, every)]),
            ("log example.org {\n class error\n}\nlog", [(org, COMMON, "error"), (b"\x00", COMMON, every)]),
        ]:
            self.assertEqual(self.rules(text), wanted, text)

    def test_errors(self) -> None:
        """What it may not say."""
        for text, wanted in [
            (
                "log {\n class\n}",
                "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'class'",
            ),
            ("log {\n class frob\n}", "invalid Class: frob"),
            ("log {\n frob\n}", "Corefile:3 - Error during parsing: unknown property 'frob'"),
            ("log a..b", "not a domain name: a..b"),
        ]:
            error = self.assertRaises(SetupError, parsed, directive, f". {{\n{text}\n}}")
            self.assertEqual(str(error), f"plugin/log: {wanted}")


class LineTests(SynchronousTestCase):
    """What lines say."""

    def setUp(self) -> None:
        self.lines = Lines()
        self.house = a_house_with(self.lines)

    def line(self, template: str, exchange: Exchange) -> str:
        """The one line in a format of its own, without its level."""
        (observer,) = built(directive, f'. {{\n log . "{template}"\n}}', self.house).observers
        observer.finished(exchange)
        (line,) = self.lines
        self.lines.clear()
        self.assertTrue(line.startswith("[INFO] "), line)
        return line[7:]

    def test_seconds(self) -> None:
        """Seconds are a decimal number to the nanosecond, without needless zeros and never with an exponent."""
        for seconds, wanted in [
            (0.000114375, "0.000114375s"),
            (0.00011437499982, "0.000114375s"),
            (7.5e-05, "0.000075s"),
            (1e-9, "0.000000001s"),
            (0.0, "0s"),
            (-1e-7, "0s"),
            (2.0, "2s"),
            (10.5, "10.5s"),
            (0.1, "0.1s"),
        ]:
            self.assertEqual(seconds_text(seconds), wanted)

    def test_nothing_sent(self) -> None:
        """A query without a reply has no response code, no flags and no size."""
        exchange = exchange_of(a_request("a.test."), NO_REPLY)
        self.assertEqual(self.line("{rcode} {>rflags} {rsize}", exchange), "- - 0")

    def test_flags(self) -> None:
        """All flags that are set, in their order."""
        exchange = exchange_of(a_request("a.test.", flags=RD | CD | AD), Answer(flags=AA | RA | AD | 0x0040))
        self.assertEqual(self.line("{>rflags}", exchange), "qr,aa,rd,ra,z,ad,cd")
        without = exchange_of(a_request("a.test.", flags=0), Answer())
        self.assertEqual(self.line("{>rflags}", without), "qr")

    def test_inner_lookup(self) -> None:
        """A lookup made inside that failed has no message, and flags all the same."""
        exchange = Exchange(a_request("a.test."), Answer(SERVFAIL), b"", ".", "", 0.0, ResolutionFailed("x"))
        self.assertEqual(self.line("{rcode} {>rflags} {rsize}", exchange), "SERVFAIL qr,rd 24")

    def test_client(self) -> None:
        """Addresses of IPv6 stand in brackets, local ones too."""
        exchange = exchange_of(a_request("a.test.", client="fd00::1", client_port=40000), Answer())
        self.assertEqual(self.line("{remote}:{port} {local} {>id}", exchange), "[fd00::1]:40000 127.0.0.1 4711")

    def test_opcode(self) -> None:
        """The opcode is a number."""
        self.assertEqual(self.line("{>opcode}", exchange_of(a_request("a.test.", flags=4 << 11), Answer())), "4")

    def test_buffer_size(self) -> None:
        """On TCP the client takes all; on UDP what it said, or what a plugin lowered that to, but 512 at least."""
        for edns, transport, wanted in [
            (None, Transport.UDP, "512"),
            (Edns(100, 0, 0, b""), Transport.UDP, "512"),
            (Edns(4096, 0, 0, b""), Transport.UDP, "4096"),
            (Edns(4096, 0, 0, b""), Transport.TLS, "65535"),
        ]:
            exchange = exchange_of(a_request("a.test.", edns=edns, transport=transport), Answer())
            self.assertEqual(self.line("{>bufsize}", exchange), wanted)

    def test_names(self) -> None:
        """Names are in lower case, with escapes."""
        self.assertEqual(
            self.line("{name}", exchange_of(a_request("A\\.B.\\009x.test."), Answer())), "a\\.b.\\009x.test."
        )
        self.assertEqual(self.line("{name}", exchange_of(a_request("."), Answer())), ".")

    def test_braces_in_a_name(self) -> None:
        """A name that looks like a format is only a name."""
        exchange = exchange_of(a_request("{0}{port}{.test."), Answer())
        self.assertEqual(self.line("{name} {port}", exchange), "{0}{port}{.test. 40212")

    def test_unknown_placeholder(self) -> None:
        """What is no placeholder stays as it is; braces do too."""
        exchange = exchange_of(a_request("a.test."), Answer())
        for template in ("{nope}", "{}", "{", "}", "{>nope} x", "{{}}", "{ name}"):
            self.assertEqual(self.line("{proto} " + template, exchange), "udp " + template)
        self.assertEqual(self.line("{{name}}", exchange), "{a.test.}")

    def test_metadata(self) -> None:
        """Metadata by label: a value, nothing for an empty one, a dash for none."""
        metadata: Metadata = {"a/text": "one", "a/empty": "", "a/later": lambda: "two", "a/ugly": "x\n[INFO] y"}
        exchange = exchange_of(a_request("a.test.", metadata=metadata), Answer())
        self.assertEqual(self.line("{/a/text}.{/a/empty}.{/a/later}.{/a/none}", exchange), "one..two.-")
        self.assertEqual(self.line("{/a/ugly}", exchange), "x\\n[INFO] y")
        self.assertEqual(self.line("{/a/text}", exchange_of(a_request("a.test."), Answer())), "-")

    def test_options_of_the_reply(self) -> None:
        """An OPT that a plugin made counts, the one that the server adds does not."""
        edns = Edns(1232, 0, 0, b"")
        plain = exchange_of(a_request("a.test.", edns=edns), Answer())
        self.assertEqual(self.line("{rsize}", plain), "24")
        with_options = exchange_of(a_request("a.test.", edns=edns), Answer(options=((3, b"host"),)))
        self.assertEqual(self.line("{rsize}", with_options), "43")


class RuleTests(SynchronousTestCase):
    """Which exchanges have a line."""

    def setUp(self) -> None:
        self.lines = Lines()
        self.house = a_house_with(self.lines)

    def count(self, corefile: str, exchange: Exchange) -> int:
        """How many lines there are, and that a repetition has as many."""
        (observer,) = built(directive, corefile, self.house).observers
        observer.finished(exchange)
        found = len(self.lines)
        self.lines.clear()
        self.assertEqual(observer.repeat(exchange).each is not None, bool(found))
        return found

    def test_classes(self) -> None:
        """Each kind of reply belongs to one class."""
        record = a_or_aaaa(from_text("a.test."), 5, bytes(4))
        referral = Record(from_text("test."), 2, IN, 5, from_text("ns.test."))
        request = a_request("a.test.")
        for answer, wanted in [
            (Answer(answer=(record,)), "success"),
            (Answer(authority=(referral,)), "success"),
            (Answer(authority=(in_zone_soa("test."),)), "denial"),
            (Answer(NXDOMAIN, authority=(in_zone_soa("test."),)), "denial"),
            (Answer(SERVFAIL), "error"),
            (Answer(NXDOMAIN, answer=(record,)), "error"),
            (NO_REPLY, "error"),
        ]:
            for name in ("success", "denial", "error"):
                corefile = f". {{\n log {{\n  class {name}\n }}\n}}"
                self.assertEqual(
                    self.count(corefile, exchange_of(request, answer)), int(name == wanted), (answer, name)
                )

    def test_first_rule_decides(self) -> None:
        """A rule whose name fits is the last one that is looked at, whether it wants the reply or not."""
        corefile = ". {\n log example.org {\n  class error\n }\n log\n}"
        self.assertEqual(self.count(corefile, exchange_of(a_request("www.example.org."), Answer())), 0)
        self.assertEqual(self.count(corefile, exchange_of(a_request("www.example.net."), Answer())), 1)
        self.assertEqual(self.count(corefile, exchange_of(a_request("wwwexample.org."), Answer())), 1)

    def test_no_rule(self) -> None:
        """Names that no rule is for are not logged."""
        self.assertEqual(self.count(". {\n log example.org\n}", exchange_of(a_request("a.test."), Answer())), 0)

    def test_no_block(self) -> None:
        """A query that no block took is not logged."""
        request, answer = a_request("a.test."), Answer(REFUSED)
        exchange = Exchange(request, answer, render_reply(request, answer), "dropped", "", 0.0, Refused())
        self.assertEqual(self.count(". {\n log\n}", exchange), 0)


class RepetitionTests(SynchronousTestCase):
    """Lines of answers that the answer table gives again."""

    def test_as_if_asked(self) -> None:
        """The line of a repetition is what the whole way would have printed for that client."""
        lines = Lines()
        template = "{remote} {port} {>id} {name} {/a/b} {duration} {>id}"
        (observer,) = built(directive, f'. {{\n log . "{template}"\n}}', a_house_with(lines)).observers
        answer = Answer(answer=(a_or_aaaa(from_text("a.test."), 5, bytes(4)),))
        each = observer.repeat(exchange_of(a_request("a.test.", metadata={"a/b": "{c}"}), answer)).each
        assert each is not None
        each("10.0.0.7", 1234, 99, 7.5e-05)
        each("fd00::7", 53, 0, 0.5)
        self.assertEqual(
            lines,
            [
                "[INFO] 10.0.0.7 1234 99 a.test. {c} 0.000075s 99",
                "[INFO] [fd00::7] 53 0 a.test. {c} 0.5s 0",
            ],
        )

    def test_common(self) -> None:
        """Whole way and repetition agree on the default format."""
        lines = Lines()
        (observer,) = built(directive, ". {\n log\n}", a_house_with(lines)).observers
        exchange = exchange_of(a_request("a.test.", client="fd00::7"), Answer(NXDOMAIN))
        observer.finished(exchange)
        each = observer.repeat(exchange).each
        assert each is not None
        each(exchange.request.client, exchange.request.client_port, exchange.request.ident, exchange.seconds)
        self.assertEqual(lines[0], lines[1])


def relayed(
    request: Request, flags: int, *records: Record, authority: tuple[Record, ...] = (), opt: bool = False
) -> Answer:
    """An upstream's reply, as forward passes it on."""
    octets = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00" if opt else b""
    message = scan(render(7, QR | RD | flags, request.question, (records, authority, ()), octets, 4096, 4096))
    options = None if message.options is None else tuple(message.options)
    return Answer(message.rcode, flags & ~0xF, relayed=message, options=options, source="forward")


def golden_answer(case: str, request: Request) -> Answer:
    """What the chain says in a golden case: the same records as were recorded, or others of the same size."""
    owner, text = request.spelled, txt(request.spelled, 5, b"kdns 1234567")
    cluster = in_zone_soa("cluster.local.")
    match case:
        case "q1" | "q15":
            return Answer(flags=AA, answer=(a_or_aaaa(owner, 30, bytes(4)),))
        case "q2":
            return Answer(flags=AA, authority=(cluster,))
        case "q3" | "q17":
            return Answer(NXDOMAIN, AA, authority=(cluster,))
        case "q4" | "q5" | "q6-inner":
            return relayed(request, RA, a_or_aaaa(owner, 5, bytes(4)), opt=request.edns is not None)
        case "q6":
            target = from_text("api.example.com.")
            return Answer(flags=AA, answer=(cname(owner, 30, target), a_or_aaaa(target, 30, bytes(4))))
        case "q7":
            return relayed(request, RA | SERVFAIL)
        case "q8":
            return relayed(request, FORMERR)
        case "q9":
            return relayed(request, RA | REFUSED)
        case "q10" | "q11":
            return Answer(flags=AA, answer=tuple(a_or_aaaa(owner, 30, bytes((10, 0, 0, n))) for n in range(60)))
        case "q12":
            return relayed(request, RA | NXDOMAIN, authority=(upstream_soa(),))
        case "q13":
            return relayed(request, RA, text._replace(rdata=text.rdata[: 63 - 30 - 24]))
        case "q14":
            return Answer(REFUSED)
        case "q16":
            glue = (a_or_aaaa(owner, 30, bytes(4)),)
            return Answer(flags=AA, answer=(srv(owner, 30, 0, 100, 5432, owner),), additional=glue)
    raise AssertionError(case)


def golden_metadata(case: str) -> Metadata:
    """What the plugins knew of a golden query."""
    labels = ("namespace", "service", "endpoint")
    known = {
        "q1": ("prod", "web", ""), "q2": ("prod", "web", ""), "q3": ("prod", "nope", ""), "q17": ("prod", "nope", ""),
        "q6": ("prod", "ext", ""), "q10": ("edge", "big", ""), "q11": ("edge", "big", ""), "q14": ("prod", "web", ""),
        "q15": ("prod", "web", ""), "q16": ("prod", "db", "db-0"),
    }  # fmt: skip
    if case in known:
        return {f"kubernetes/{label}": value for label, value in zip(labels, known[case], strict=True)}
    return {"forward/upstream": UPSTREAM}


class GoldenTests(SynchronousTestCase):
    """The lines of CoreDNS for the same replies."""

    def requests(self) -> Iterator[tuple[dict[str, Any], list[Exchange]]]:
        """Each golden query with the exchanges that come of it, inner look-ups first."""
        for case in json.loads((HERE / "cases" / "log-lines.json").read_text())["queries"]:
            edns = case["edns"]
            if edns and "version" in edns:
                continue  # the server answers it before any block: there is no exchange
            names = [("q6-inner", "api.example.com.")] if case["id"] == "q6" else []
            exchanges = []
            for name, qname in [*names, (case["id"], case["qname"])]:
                request = a_request(
                    qname,
                    type_number(case["qtype"]) or 0,
                    qclass=class_number(case.get("qclass", "IN")) or IN,
                    flags=RD | sum({"cd": CD, "ad": AD}[flag] for flag in case.get("set", ())),
                    edns=None if edns is None else Edns(edns["size"], DO if edns["do"] else 0, 0, b""),
                    transport=Transport(case["proto"]),
                    client=case.get("to", "127.0.0.1"),
                    metadata=golden_metadata(name),
                )
                if edns is not None:
                    request = replace(request, size=request.size + 11)
                exchanges.append(exchange_of(request, golden_answer(name, request)))
            yield case, exchanges

    def test_lines(self) -> None:
        """Every line of every directive, but for client port, identifier and duration."""
        formats = json.loads((HERE / "cases" / "log-lines.json").read_text())["formats"]
        compared = 0
        for case, exchanges in self.requests():
            for name, corefile in formats.items():
                lines = Lines()
                corefile = re.sub(r"(?s)kubernetes .*?\n    \}\n", "\n", corefile)
                corefile = re.sub(r"errors|metadata|forward .*", "", corefile).replace("{{PORT}}", "53")
                ((block, words),) = blocks_of(corefile, ("log",))
                site = Site(a_house_with(lines), block, 0)
                directive.build(directive.parse(words["log"], block), site)
                for exchange in exchanges:
                    site.observers[0].finished(exchange)
                wanted = [line.replace("{{UPSTREAM}}", UPSTREAM) for line in case["lines"][name]]
                wanted = [
                    line.replace("PORT", "40212").replace(" ID ", " 4711 ").replace("DURATION", "0.000114375s")
                    for line in wanted
                ]
                self.assertEqual(lines, wanted, (case["id"], name))
                compared += len(wanted)
        self.assertGreater(compared, 60)
