"""What a Corefile says about the order of addresses."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugins.loadbalance import directive
from kdns.plugins.loadbalance.config import LoadbalanceConfig
from tests.support import blocks_of, parsed


def config(words: str) -> LoadbalanceConfig:
    """The config of a block with these words in it."""
    made = parsed(directive, f".:53 {{\n    {words}\n}}\n")
    assert isinstance(made, LoadbalanceConfig)
    return made


class ConfigTests(SynchronousTestCase):
    """Syntax, defaults and errors."""

    def test_round_robin(self) -> None:
        """It is the policy when none is named."""
        self.assertEqual(config("loadbalance"), LoadbalanceConfig())
        self.assertEqual(config("loadbalance round_robin"), LoadbalanceConfig())

    def test_prefer(self) -> None:
        """Networks of both families; host bits are dropped."""
        made = config("loadbalance {\n prefer 10.1.0.0/16 192.0.2.7/24\n prefer 2001:db8::/32\n}")
        self.assertEqual(
            made.prefer, (ip_network("10.1.0.0/16"), ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
        )

    def test_weighted(self) -> None:
        """The file is looked for below the block's root, and looked at every half minute."""
        self.assertEqual(config("loadbalance weighted /w"), LoadbalanceConfig("/w", 30.0))
        self.assertEqual(config("loadbalance weighted /w {\n reload 0\n}"), LoadbalanceConfig("/w", 0.0))
        block, words = blocks_of(".:53 {\n loadbalance weighted w\n}\n", ("loadbalance",))[0]
        made = directive.parse(words["loadbalance"], replace(block, root="/etc/kdns"))
        self.assertEqual(made.weights, "/etc/kdns/w")

    def test_errors(self) -> None:
        """What cannot be is refused in the words that operators know."""
        place = "plugin/loadbalance: Corefile:2 - Error during parsing: "
        option = "plugin/loadbalance: Corefile:3 - Error during parsing: "
        for words, text in (
            ("loadbalance best", "plugin/loadbalance: unknown policy: best"),
            ("loadbalance weighted", place + "missing weight file argument"),
            ("loadbalance weighted a b", place + "unexpected argument(s)"),
            ("loadbalance round_robin a", place + "unknown property for round_robin"),
            ("loadbalance {\nfrob\n}", option + "unknown property 'frob'"),
            ("loadbalance {\nreload 5s\n}", option + "unknown property 'reload'"),
            ("loadbalance weighted a {\nreload -5s\n}", option + "invalid reload duration '-5s'"),
            ("loadbalance weighted a {\nreload\n}", option + "reload duration value is missing"),
            ("loadbalance weighted a {\nreload 1s 2s\n}", option + "unexpected argument"),
            ("loadbalance weighted a {\nreload x\n}", option + "invalid reload duration 'x'"),
            ("loadbalance weighted a {\nprefer 10.0.0.0/8\n}", option + "unknown property 'prefer'"),
            ("loadbalance {\nprefer 10.0.0.1\n}", option + 'invalid CIDR "10.0.0.1": invalid CIDR address: 10.0.0.1'),
            ("loadbalance {\nprefer x/8\n}", option + 'invalid CIDR "x/8": invalid CIDR address: x/8'),
        ):
            self.assertEqual(str(self.assertRaises(CorefileError, config, words)), text)
