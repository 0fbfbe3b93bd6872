# -*- test-case-name: tests.plugins.rewrite.test_fast -*-
"""A suffix rule on the fast path: the same replies as from the plugins; and which rules have one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.conformance.cases import CASES
from tests.conformance.two_ways import TwoWaysTestCase

RULE = "rewrite name suffix .old.local .cluster.local answer auto"
OTHER_RULES = (
    "rewrite name suffix .old.local .cluster.local",
    "rewrite name suffix old.local cluster.local answer auto",
    "rewrite continue name suffix .old.local .cluster.local answer auto",
    RULE + "\nrewrite name exact a.old.local www.example.com",
    RULE + "\nrewrite edns0 local set 0xffee 0x61",
    "rewrite name regex (.*)\\.old\\.local {1}.cluster.local answer auto",
    "rewrite stop {\nname suffix .old.local .cluster.local\nanswer name (.*)[.]cluster[.]local {1}.old.local\n}",
)
"""Of these none has the fast path: the names are other ones, or more is done to the reply."""

SERVICES = ("web", "nosel", "db", "db-all", "empty", "none1", "none2", "none3")
NAMES = [
    "old.local",
    "svc.old.local",
    "prod.svc.old.local",
    "nope.old.local",
    "dns-version.old.local",
    *(f"{service}.prod.svc.old.local" for service in SERVICES),
    *(f"_http._tcp.{service}.prod.svc.old.local" for service in SERVICES),
    *(f"x{number}.gone.svc.old.local" for number in range(3)),
    *(f"10-244-1-{number}.prod.pod.old.local" for number in range(11, 14)),
    "web.prod.svc.cluster.local",
    "www.example.com",
    "a" * 60 + ".prod.svc.old.local",
]
FEW = ("web.prod.svc.old.local", "nope.old.local", "x1.prod.svc.old.local")
TYPES = ("A", "AAAA", "SRV", "TXT")


class FastTests(TwoWaysTestCase):
    """Two servers in the same cluster; one asks its plugins each time."""

    def ask_both(self, rules: str, others: str = "", times: int = 1, names: Sequence[str] = FEW) -> int:
        """Compare all replies, and count those for the old domain that no plugin was asked for."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        cluster = "kubernetes cluster.local {\nkubeconfig {{KUBECONFIG}}\npods insecure\n}"
        text = f"{rules}\n{others}\nloadbalance\n{cluster}\nforward . {{{{UPSTREAM}}}}"
        self.start(f".:{{{{PORT}}}} {{\n{text}\n}}", (CASES / "cluster.yaml",), folder)
        for _ in range(times):
            self.compare(names, TYPES)
        before = self.fast_replies
        self.compare([f"y{number}.prod.svc.old.local" for number in range(9)], ("A",))
        return self.fast_replies - before

    def test_equal(self) -> None:
        """Whether there is a cache in front or not."""
        self.assertEqual(self.ask_both(RULE, times=3, names=NAMES), 9)
        self.assertEqual(self.ask_both(RULE, "cache 30", times=3, names=NAMES), 9)

    def test_access_list(self) -> None:
        """A list behind the rule sees the name that is asked for then: such names are the plugins' to answer."""
        self.assertEqual(self.ask_both(RULE, "acl web.prod.svc.cluster.local {\nblock\n}"), 0)

    def test_zone_inside(self) -> None:
        """So are those where another plugin has a part of the zone."""
        hosts = 'template IN A sub.cluster.local {\nanswer "{{ .Name }} 60 IN A 192.0.2.1"\n}'
        self.assertEqual(self.ask_both(RULE, hosts), 0)

    def test_other_rules(self) -> None:
        """Rules that do something else."""
        for rules in OTHER_RULES:
            self.assertEqual(self.ask_both(rules), 0, rules)
