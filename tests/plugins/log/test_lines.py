"""Tests of :mod:`kdns.plugins.log.lines`, through the whole plugin."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer, Sections
from kdns.core.failure import ResolutionFailed
from kdns.core.observe import Exchange
from kdns.core.request import Metadata, Request, Transport
from kdns.plugin.seam import BlockBuilder
from kdns.plugins.log import directive
from kdns.plugins.log.lines import seconds_text
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
from tests.plugins.log.support import Lines, a_house_with, exchange_of, in_zone_soa
from tests.support import a_request, blocks_of, built

HERE = Path(__file__).parents[2] / "conformance"
UPSTREAM = "127.0.0.1:5353"


def upstream_soa() -> Record:
    """The SOA of the resolver that the golden lines were recorded with."""
    names = from_text("ns.example.com."), from_text("admin.example.com.")
    return soa(from_text("example.com."), 60, *names, (7, 7200, 3600, 1209600, 30))


class LineTests(SynchronousTestCase):
    """What lines say."""

    def setUp(self) -> None:
        self.lines = Lines()
        self.context = a_house_with(self.lines)

    def line(self, template: str, exchange: Exchange) -> str:
        """The one line in a format of its own, without its level."""
        (observer,) = built(directive, f'. {{\n log . "{template}"\n}}', self.context).observers
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
        for template in ("{nope}", "{}", "{", "}", "{>nope} x", "{{}}", "{ name}", "%s %", "%(x)d"):
            self.assertEqual(self.line("{proto} " + template, exchange), "udp " + template)
            self.assertEqual(self.line("{>id} " + template, exchange), "4711 " + template)
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


class JsonTests(SynchronousTestCase):
    """The same as JSON."""

    def setUp(self) -> None:
        self.lines = Lines()
        self.context = a_house_with(self.lines)

    def line(self, words: str, exchange: Exchange, options: str = "format json", **settings: Any) -> str:
        """The one line of a directive; a repetition for the same client has the same."""
        context = a_house_with(self.lines, **settings)
        (observer,) = built(directive, f". {{\n log {words} {{\n {options}\n }}\n}}", context).observers
        observer.finished(exchange)
        each = observer.repeat(exchange).each
        assert each is not None
        each(exchange.request.client, exchange.request.client_port, exchange.request.ident, exchange.seconds)
        line, again = self.lines
        self.lines.clear()
        self.assertEqual(line, again)
        return line

    def test_every_field(self) -> None:
        """Numbers are numbers, addresses have no brackets, and fields come in an order that does not change."""
        answer = Answer(flags=AA, body=Sections(answer=(a_or_aaaa(from_text("a.test."), 5, bytes(4)),)))
        exchange = exchange_of(a_request("A.test.", client="fd00::7", client_port=5000), answer)
        self.assertEqual(
            self.line("", exchange),
            '{"time":"2023-11-14T22:13:20.000000Z","level":"info","plugin":"log","remote":"fd00::7","port":5000,"id":4711,'
            '"type":"A","class":"IN","name":"a.test.","proto":"udp","size":24,"do":false,"bufsize":512,"rcode":"NOERROR",'
            '"rflags":"qr,aa,rd","rsize":46,"opcode":0,"duration":0.000114375}',
        )

    def test_nothing_sent(self) -> None:
        """What is not there is null."""
        found = json.loads(self.line("", exchange_of(a_request("a.test."), NO_REPLY)))
        self.assertEqual((found["rcode"], found["rflags"], found["rsize"]), (None, None, 0))

    def test_fields_of_a_format(self) -> None:
        """A format says which fields there are; its other text says nothing."""
        metadata: Metadata = {"a/b": '"{0}\n\udcff', "a/later": lambda: "two"}
        exchange = exchange_of(a_request("{port}.test.", metadata=metadata), Answer(), 2.0)
        cases: list[tuple[str, dict[str, object]]] = [
            ("{name}", {"name": "{port}.test."}),
            ("{duration} and {remote} {nope}", {"duration": 2, "remote": "127.0.0.1"}),
            ("{/a/b} {/a/later} {/a/none}", {"a/b": '"{0}\n\\udcff', "a/later": "two", "a/none": None}),
            ("{>id}{port} {local} {>do}", {"id": 4711, "port": 40212, "local": "127.0.0.1", "do": False}),
            (
                "{remote} {port} {>id} {duration}",
                {"remote": "127.0.0.1", "port": 40212, "id": 4711, "duration": 2},
            ),
            ("{ }", {}),
        ]
        for template, wanted in cases:
            found = json.loads(self.line(f'. "{template}"', exchange))
            head = {"time": "2023-11-14T22:13:20.000000Z", "level": "info", "plugin": "log"}
            self.assertEqual(found, {**head, **wanted}, template)

    def test_like_the_process(self) -> None:
        """Without an option lines look as those of the process do; the option decides against it."""
        exchange = exchange_of(a_request("a.test."), Answer())
        self.assertTrue(self.line("", exchange, "class all", log_format="json").startswith('{"time"'))
        self.assertTrue(self.line("", exchange, "format text", log_format="json").startswith("[INFO] 127.0.0.1:"))

    def test_time_of_each(self) -> None:
        """Each reply has the time at which it was sent."""
        clock = Clock()
        context = a_house_with(self.lines, clock)
        (observer,) = built(directive, ". {\n log {\n format json\n }\n}", context).observers
        each = observer.repeat(exchange_of(a_request("a.test."), Answer())).each
        assert each is not None
        for seconds in (0.25, 0.125):
            each("10.0.0.1", 1, 1, seconds)
            clock.advance(1.5)
        times = [json.loads(line)["time"] for line in self.lines]
        self.assertEqual(times, ["2023-11-14T22:13:20.000000Z", "2023-11-14T22:13:21.500000Z"])


class RepetitionTests(SynchronousTestCase):
    """Lines of answers that the answer table gives again."""

    def test_as_if_asked(self) -> None:
        """The line of a repetition is what the whole way would have printed for that client."""
        lines = Lines()
        template = "{remote} {port} {>id} {name} {/a/b} {duration} {>id}"
        (observer,) = built(directive, f'. {{\n log . "{template}"\n}}', a_house_with(lines)).observers
        answer = Answer(body=Sections(answer=(a_or_aaaa(from_text("a.test."), 5, bytes(4)),)))
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
    return Answer(message.rcode, flags & ~0xF, body=message, options=options, source="forward")


def golden_answer(case: str, request: Request) -> Answer:
    """What the chain says in a golden case: the same records as were recorded, or others of the same size."""
    owner, text = request.spelled, txt(request.spelled, 5, b"kdns 1234567")
    cluster = in_zone_soa("cluster.local.")
    match case:
        case "q1" | "q15":
            return Answer(flags=AA, body=Sections(answer=(a_or_aaaa(owner, 30, bytes(4)),)))
        case "q2":
            return Answer(flags=AA, body=Sections(authority=(cluster,)))
        case "q3" | "q17":
            return Answer(NXDOMAIN, AA, body=Sections(authority=(cluster,)))
        case "q4" | "q5" | "q6-inner":
            return relayed(request, RA, a_or_aaaa(owner, 5, bytes(4)), opt=request.edns is not None)
        case "q6":
            target = from_text("api.example.com.")
            return Answer(flags=AA, body=Sections(answer=(cname(owner, 30, target), a_or_aaaa(target, 30, bytes(4)))))
        case "q7":
            return relayed(request, RA | SERVFAIL)
        case "q8":
            return relayed(request, FORMERR)
        case "q9":
            return relayed(request, RA | REFUSED)
        case "q10" | "q11":
            return Answer(
                flags=AA, body=Sections(answer=tuple(a_or_aaaa(owner, 30, bytes((10, 0, 0, n))) for n in range(60)))
            )
        case "q12":
            return relayed(request, RA | NXDOMAIN, authority=(upstream_soa(),))
        case "q13":
            return relayed(request, RA, text._replace(rdata=text.rdata[: 63 - 30 - 24]))
        case "q14":
            return Answer(REFUSED)
        case "q16":
            glue = (a_or_aaaa(owner, 30, bytes(4)),)
            return Answer(flags=AA, body=Sections(answer=(srv(owner, 30, 0, 100, 5432, owner),), additional=glue))
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
                builder = BlockBuilder(a_house_with(lines), block, 0)
                directive.build(directive.parse(words["log"], block), builder)
                for exchange in exchanges:
                    builder.observers[0].finished(exchange)
                wanted = [line.replace("{{UPSTREAM}}", UPSTREAM) for line in case["lines"][name]]
                wanted = [
                    line.replace("PORT", "40212").replace(" ID ", " 4711 ").replace("DURATION", "0.000114375s")
                    for line in wanted
                ]
                self.assertEqual(lines, wanted, (case["id"], name))
                compared += len(wanted)
        self.assertGreater(compared, 60)
