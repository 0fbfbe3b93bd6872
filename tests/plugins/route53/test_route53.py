# -*- test-case-name: tests.plugins.route53.test_route53 -*-
"""Hosted zones of a Route 53 over a network in memory: what is read, how kdns says who it is, and what goes wrong."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.degraded import Fault
from kdns.plugins.route53 import Route53Zone, directive
from kdns.plugins.route53.config import Access, HostedZoneConfig, Route53Config
from kdns.plugins.route53.credentials import CredentialChain, sts_endpoint
from kdns.plugins.route53.listing import BadXml, decimal_escapes, parse_listing
from kdns.plugins.route53.signing import Credentials
from kdns.plugins.stores.rest import StoreProblem
from kdns.plugins.stores.zones import HostedZone
from kdns.testing.plugin import PluginBench
from kdns.wire.names import from_text, to_text
from tests.apiserver.rest import ApiRequest
from tests.plugins.route53.fake import FakeRoute53
from tests.plugins.stores.http import HttpCase, Made

ORG = from_text("example.org")
SOA = ("example.org.", "SOA", 900, ["ns-1.awsdns-01.org. hostmaster.amazon.com. 1 7200 900 1209600 86400"])
ROWS = [
    SOA,
    ("example.org.", "NS", 172800, ["ns-1.awsdns-01.org.", "ns-2.awsdns-02.com."]),
    ("\\052.example.org.", "A", 60, ["192.0.2.7"]),
    ("alias.example.org.", "A", 0, []),
    ("mail.example.org.", "MX", 300, ["10 mx.example.org.", "20 mx2.example.org."]),
    ("text.example.org.", "TXT", 300, ['"a\\040b" "c"']),
    ("www.example.org.", "A", 300, ["192.0.2.1", "192.0.2.2"]),
]


class Route53Case(HttpCase):
    """A Route 53."""

    def setUp(self) -> None:
        self.aws = FakeRoute53()
        self.aws.zones["Z1"] = list(ROWS)
        super().setUp()

    def answer(self, request: ApiRequest) -> Made:
        """See :class:`tests.plugins.route53.fake.FakeRoute53`."""
        self.aws.clock = self.reactor.seconds()
        return self.aws.answer(request)

    def access(self, **fields: str) -> Access:
        """Access to it."""
        return Access(**{"endpoint": self.url, **fields})  # type: ignore[arg-type]  # all are texts


class ZoneTests(Route53Case):
    """kdns.plugins.route53.Route53Zone."""

    def zone(self, access: Access | None = None, identifier: str = "Z1") -> HostedZone:
        """A started zone."""
        access = access or self.access(key_id="AKID", secret="secret")
        provider = Route53Zone(identifier, access, self.context)
        made = HostedZone("route53", Fault.ROUTE53, ORG, provider, 60.0, self.context)
        self.stopping.append(made)
        made.start()
        self.advance(5)
        return made

    def test_read(self) -> None:
        """All pages, with names unescaped; alias record sets are left out."""
        zone = self.zone().served.zone
        assert zone is not None, self.wrong()
        found = [f"{to_text(one.owner)} {one.ttl} {one.rtype} {one.rdata.hex()}" for one in zone.all_records()]
        self.assertEqual(len(found), 9)
        self.assertIn("*.example.org. 60 1 c0000207", found)
        self.assertIn("text.example.org. 300 16 036120620163", found)
        self.assertEqual(len(self.server.requests), 4)
        self.assertEqual(self.server.requests[1].query["name"], "\\052.example.org.")
        self.assertEqual(self.wrong(), [])

    def test_refused(self) -> None:
        """What AWS says is told, without keys; when it is mended the zone comes."""
        self.aws.keys = {}
        zone = self.zone()
        (text,) = self.wrong()
        self.assertIn("SignatureDoesNotMatch", text)
        self.assertNotIn("secret", text)
        self.aws.keys = {"AKID": ("secret", "")}
        self.advance(60)
        self.assertIsNotNone(zone.served.zone)
        self.assertEqual(self.wrong(), [])

    def test_throttled(self) -> None:
        """A page that is refused leaves the last version."""
        zone = self.zone()
        version = zone.served.zone
        self.aws.throttled = True
        self.advance(70)
        self.assertIs(zone.served.zone, version)
        self.assertIn("Throttling: Rate exceeded", self.wrong()[0])

    def test_partitions(self) -> None:
        """China and GovCloud have endpoints and regions of their own."""
        for region, endpoint, signed, sts in (
            ("", "https://route53.amazonaws.com", "us-east-1", "https://sts.amazonaws.com"),
            ("eu-west-1", "https://route53.amazonaws.com", "us-east-1", "https://sts.eu-west-1.amazonaws.com"),
            (
                "cn-north-1",
                "https://route53.amazonaws.com.cn",
                "cn-northwest-1",
                "https://sts.cn-north-1.amazonaws.com.cn",
            ),
            (
                "us-gov-east-1",
                "https://route53.us-gov.amazonaws.com",
                "us-gov-west-1",
                "https://sts.us-gov-east-1.amazonaws.com",
            ),
        ):
            self.environment["AWS_REGION"] = region
            found = Route53Zone("Z1", Access(), self.context)
            self.assertEqual((found._base, found._region, sts_endpoint(region)), (endpoint, signed, sts))

    def test_no_such_zone(self) -> None:
        """A hosted zone that is not there."""
        self.zone(identifier="ZNOPE")
        self.assertIn("NoSuchHostedZone", self.wrong()[0])


class ChainTests(Route53Case):
    """kdns.plugins.route53.credentials."""

    def chain(self, **fields: str) -> CredentialChain:
        """Look in the environment of the test."""
        return CredentialChain(self.environment, self.reactor.seconds, None, metadata=self.url, **fields)

    def found(self, chain: CredentialChain) -> Credentials:
        """The credentials that are found."""
        return self.came(chain.current(self.client))

    def problem(self, chain: CredentialChain) -> str:
        """Why there are none."""
        with self.assertRaises(StoreProblem) as caught:
            self.found(chain)
        return str(caught.exception)

    def file(self, text: str) -> str:
        """A file with this text."""
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        return str(path)

    def test_environment(self) -> None:
        """Keys in the environment come before everything else."""
        self.environment |= {"AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
        self.assertEqual(self.found(self.chain()), Credentials("E", "s", "t"))

    def test_shared_file(self) -> None:
        """A profile of the shared credentials file: the default one, the environment's or the Corefile's."""
        path = self.file(
            "[default]\naws_access_key_id = D\naws_secret_access_key = d%\n[p]\naws_access_key_id=P\naws_secret_access_key=p\n"
        )
        self.environment["AWS_SHARED_CREDENTIALS_FILE"] = path
        self.assertEqual(self.found(self.chain()).key_id, "D")
        self.environment["AWS_PROFILE"] = "p"
        self.assertEqual(self.found(self.chain()).key_id, "P")
        self.environment |= {"AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "s"}
        self.assertEqual(self.found(self.chain(profile="default", file=path)).key_id, "D")
        self.assertIn("no profile q", self.problem(self.chain(profile="q", file=path)))
        self.assertIn("no such file", self.problem(self.chain(profile="q", file="/nope")))
        role = self.file("[r]\nrole_arn = arn:aws:iam::1:role/x\n")
        self.assertIn(
            "roles, single sign-on and programs are not followed", self.problem(self.chain(profile="r", file=role))
        )

    def test_web_identity(self) -> None:
        """A pod's token is exchanged for credentials of its role."""
        path = self.file("pod-token\n")
        self.environment |= {
            "AWS_WEB_IDENTITY_TOKEN_FILE": path,
            "AWS_ROLE_ARN": "arn:aws:iam::1:role/dns",
            "AWS_ENDPOINT_URL_STS": self.url,
        }
        found = self.found(self.chain())
        self.assertEqual((found.key_id, found.token, found.expires), ("WEB", "session", 1893456000.0))
        Path(path).write_text("another")
        self.assertIn("AccessDenied", self.problem(self.chain()))

    def test_container(self) -> None:
        """The endpoint of a container, with the token in a file."""
        self.environment |= {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/container",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": self.file("pod"),
        }
        self.assertEqual(self.found(self.chain()).key_id, "CONTAINER")

    def test_instance(self) -> None:
        """The role of an instance; credentials are asked for again before they end."""
        chain = self.chain()
        self.assertEqual(self.found(chain).key_id, "INSTANCE")
        asked = len(self.server.requests)
        self.assertEqual(self.found(chain).key_id, "INSTANCE")
        self.assertEqual(len(self.server.requests), asked)
        self.advance(3400)
        self.found(chain)
        self.assertEqual(len(self.server.requests), 2 * asked)

    def test_none(self) -> None:
        """Without any, all places are named."""
        self.server.stop()
        self.reactor.settle()
        self.assertIn("none in the Corefile, environment or shared credentials file", self.problem(self.chain()))
        self.environment["AWS_EC2_METADATA_DISABLED"] = "true"
        self.assertIn("no credentials of AWS", self.problem(self.chain()))


class ListingTests(SynchronousTestCase):
    """kdns.plugins.route53.listing."""

    def read(self, body: bytes) -> int:
        """Read a page, and count its record sets."""
        steps = parse_listing(body)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return len(stop.value.sets)

    def test_bad(self) -> None:
        """What is no page, or might grow without bounds, is refused."""
        head = b"<L><ResourceRecordSets>"
        for body in (
            b"", b"nonsense", b"<a/>", head, head + b"</ResourceRecordSets></L>",
            b"<!DOCTYPE a [<!ENTITY b 'c'>]><L><IsTruncated>false</IsTruncated></L>",
            b"<L><IsTruncated>true</IsTruncated></L>",
            b"<L><ResourceRecordSet><Name>a</Name></ResourceRecordSet><IsTruncated>false</IsTruncated></L>",
        ):  # fmt: skip
            with self.assertRaises(BadXml, msg=body):
                self.read(body)
        self.assertEqual(self.read(b"<L><IsTruncated>false</IsTruncated></L>"), 0)

    def test_escapes(self) -> None:
        """Octal becomes decimal."""
        self.assertEqual(decimal_escapes("\\052.a\\377b\\."), "\\042.a\\255b\\.")

    @given(st.binary(max_size=300))
    def test_anything(self, body: bytes) -> None:
        """Bytes are a page or are refused."""
        try:
            self.read(body)
        except BadXml:
            pass


class ConfigTests(SynchronousTestCase):
    """kdns.plugins.route53.config."""

    def setUp(self) -> None:
        self.bench = PluginBench.__new__(PluginBench)
        self.bench._directive, self.bench._zone, self.bench._behind = directive, ".", ()

    def test_parsed(self) -> None:
        """Options hold for the zones of their line; fallthrough for all."""
        found = self.bench.parse(
            "route53 example.org.:Z1 Example.ORG:Z2 {\n aws_access_key A S\n refresh 90\n fallthrough\n upstream\n}\n"
            "route53 b.test:Z3 {\n credentials p f\n aws_endpoint http://h:1/\n refresh 5m\n}"
        )
        one = Access("A", "S", refresh=90.0)
        two = Access(endpoint="http://h:1", profile="p", file="f", refresh=300.0)
        zones = (
            HostedZoneConfig(ORG, "Z1", one),
            HostedZoneConfig(ORG, "Z2", one),
            HostedZoneConfig(from_text("b.test"), "Z3", two),
        )
        self.assertEqual(found, Route53Config(zones, (b"\x00",)))
        self.assertNotIn("'S'", repr(found))

    def test_refused(self) -> None:
        """What is refused, with CoreDNS's words."""
        begin = "plugin/route53: Corefile:{} - Error during parsing: "
        for text, line, error in (
            ("route53 a.test", 2, 'invalid zone "a.test"'),
            ("route53 :Z1", 2, 'invalid zone ":Z1"'),
            ("route53 a.test:../x", 2, 'invalid zone "a.test:../x"'),
            ("route53 a.test:Z1 a.test.:Z1", 2, 'conflict zone "a.test.:Z1"'),
            ("route53 a.test:Z1 {\n aws_access_key x\n}", 3, "invalid access key: '[x]'"),
            ("route53 a.test:Z1 {\n refresh x\n}", 3, 'Unable to parse duration: time: invalid duration "x"'),
            ("route53 a.test:Z1 {\n refresh 0s\n}", 3, 'refresh interval must be greater than 0: "0s"'),
            ("route53 a.test:Z1 {\n frob\n}", 3, 'unknown property "frob"'),
            ("route53", 2, "Wrong argument count or unexpected line ending after 'route53'"),
        ):
            self.assertEqual(self.bench.error(text).partition("\n")[0], begin.format(line) + error)
