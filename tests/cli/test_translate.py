"""``kdns translate``: kube-dns's ConfigMap as a Corefile."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.checking.source import KEY, source_of
from kdns.cli import translate
from kdns.cli.main import COMMANDS
from kdns.corefile.printer import format_blocks
from kdns.server.assembly import read_text
from tests.checking.support import run as checked
from tests.test_docs import ROOT

DOMAINS = st.from_regex(r"[a-z]{1,9}(\.[a-z]{1,9}){0,2}", fullmatch=True)
SERVERS = st.one_of(
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str), st.ip_addresses(v=6).map(lambda ip: f"[{ip}]:5353")
)


def config_map(**data: object) -> str:
    """The ConfigMap as JSON, which is YAML."""
    return json.dumps({"kind": "ConfigMap", "data": {key: json.dumps(value) for key, value in data.items()}})


class TranslateTests(SynchronousTestCase):
    """The command."""

    def ended(self, text: str, *words: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        out, err = io.StringIO(), io.StringIO()
        status = translate.main(words, io.StringIO(text), out, err)
        return status, out.getvalue(), err.getvalue()

    def test_known(self) -> None:
        """It is a command of kdns."""
        self.assertEqual(COMMANDS["translate"], "kdns.cli.translate")

    def test_page(self) -> None:
        """The example of docs/operations.md becomes the Corefile that stands there."""
        text = config_map(
            stubDomains={"acme.local": ["10.0.0.1", "10.0.0.2:5353"]}, upstreamNameservers=["8.8.8.8", "8.8.4.4"]
        )
        status, out, err = self.ended(text)
        self.assertEqual((status, err), (0, ""))
        page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        examples = re.findall(r"^ *```corefile\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
        printed = [format_blocks(read_text(example, {}).blocks) for example in examples if "acme.local" in example]
        self.assertIn(format_blocks(read_text(out, {}).blocks), printed)

    def test_nothing(self) -> None:
        """An empty ConfigMap is the default Corefile of clusters."""
        default = (
            source_of((ROOT / "conf" / "kubernetes" / "base" / "configmap.yaml").read_text(), "file").keys[KEY].text
        )
        for text in ("kind: ConfigMap\n", config_map(stubDomains={}, upstreamNameservers=[])):
            _, out, _ = self.ended(text)
            self.assertEqual(format_blocks(read_text(out, {}).blocks), format_blocks(read_text(default, {}).blocks))

    def test_merged(self) -> None:
        """Domains with the same servers are one block; a server that is named twice is asked once."""
        text = config_map(
            stubDomains={"a.test": ["192.0.2.1"], "B.test.": ["192.0.2.1", "192.0.2.1"], "c.test": ["::1"]}
        )
        _, out, _ = self.ended(text)
        keys = [block.key_texts for block in read_text(out, {}).blocks]
        self.assertEqual(keys, [("a.test:53", "b.test:53"), ("c.test:53",), (".:53",)])

    def test_left(self) -> None:
        """Federations are named on standard error."""
        status, out, err = self.ended(config_map(federations="f1=acme.com"))
        self.assertEqual((status, "federation" in out), (0, False))
        self.assertIn("federations: there is no such thing any more", err)

    def test_refused(self) -> None:
        """What kube-dns would not take is 1, with the key and what was found; a bad command line is 2."""
        for text, *words in (
            ("[1", "no YAML"),
            ("kind: Pod", "wanted a ConfigMap"),
            ("kind: ConfigMap\ndata: [x]\n", "data", "x"),
            ("kind: ConfigMap\ndata: {stubDomains: '{'}\n", "stubDomains", "wanted JSON"),
            (config_map(stubDomains=["x"]), "stubDomains", "an object"),
            (config_map(stubDomains={"a b": ["192.0.2.1"]}), "a b"),
            (config_map(stubDomains={"a..b": ["192.0.2.1"]}), "a..b"),
            (config_map(stubDomains={"a.test": []}), "a.test", "list of addresses"),
            (config_map(upstreamNameservers=["dns.example"]), "upstreamNameservers", "dns.example"),
            (config_map(upstreamNameservers=["192.0.2.1:x"]), "192.0.2.1:x"),
            (config_map(upstreamNameservers=[f"192.0.2.{n}" for n in range(16)]), "15", "16"),
        ):
            status, out, err = self.ended(text)
            self.assertEqual((status, out), (1, ""), text)
            for word in words:
                self.assertIn(word, err)
        self.assertEqual(self.ended("", "/no/such")[0], 1)
        self.assertEqual((self.ended("", "a", "b")[0], self.ended("", "-x")[0], self.ended("", "-h")[0]), (2, 2, 0))
        file = Path(self.mktemp())
        file.write_text("kind: ConfigMap\n")
        self.assertEqual(self.ended("", str(file))[0], 0)

    @settings(deadline=None, derandomize=True, max_examples=50)  # the first call imports all plugins
    @given(
        st.dictionaries(DOMAINS, st.lists(SERVERS, min_size=1, max_size=4), max_size=5), st.lists(SERVERS, max_size=3)
    )
    def test_every(self, stubs: dict[str, list[str]], upstreams: list[str]) -> None:
        """Whatever kube-dns forwards, the Corefile forwards to the same servers, and starts."""
        status, out, _ = self.ended(config_map(stubDomains=stubs, upstreamNameservers=upstreams))
        self.assertEqual(status, 0)
        forwarded = {}
        for block in read_text(out, {}).blocks:
            words = [token.text for token in block.directives["forward"].tokens]
            for key in block.key_texts:
                forwarded[key.removesuffix(":53")] = words[2 : words.index("{")]
        wanted = {domain: list(dict.fromkeys(servers)) for domain, servers in stubs.items()}
        wanted["."] = list(dict.fromkeys(upstreams)) or ["/etc/resolv.conf"]
        self.assertEqual(forwarded, wanted)
        ended = checked("-", "--quiet", "--elsewhere", stdin=out.replace("/etc/resolv.conf", "192.0.2.53"))
        self.assertEqual(ended.status, 0, ended.out)
