"""The settings of kube-dns's ConfigMap."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.kube_dns import BadSettings, KubeDnsSettings, read_settings


class SettingsTests(SynchronousTestCase):
    """What the keys may hold."""

    def test_read(self) -> None:
        """Domains in lower case, servers once each; federations and unknown keys have no effect; nothing is nothing."""
        data = {
            "stubDomains": '{"Acme.Local.": ["10.0.0.1", "10.0.0.2:5353", "10.0.0.1"], "b.test": ["[fd00::1]:53", "fd00::2"]}',
            "upstreamNameservers": '["8.8.8.8", "2001:db8::1"]',
            "federations": "not = JSON",
        }
        stubs = {"acme.local": ("10.0.0.1", "10.0.0.2:5353"), "b.test": ("[fd00::1]:53", "fd00::2")}
        self.assertEqual(read_settings(data), KubeDnsSettings(stubs, ("8.8.8.8", "2001:db8::1")))
        self.assertEqual(read_settings({}), KubeDnsSettings())
        self.assertEqual(read_settings({"stubDomains": " \n", "upstreamNameservers": "[]"}), KubeDnsSettings())

    def test_refused(self) -> None:
        """The error names the key, what was wanted and what was found."""
        for key, text, *words in (
            ("stubDomains", "{", "wanted JSON", "'{'"),
            ("stubDomains", "[]", "wanted an object"),
            ("stubDomains", '{"a b": ["192.0.2.1"]}', "a b"),
            ("stubDomains", '{"": ["192.0.2.1"]}', "not a valid domain name"),
            ("stubDomains", '{"a.test": "192.0.2.1"}', "wanted a list of addresses"),
            ("stubDomains", '{"a.test": ["tls://192.0.2.1"]}', "tls://192.0.2.1"),
            ("stubDomains", '{"a.test": ["ns.example"]}', "ns.example"),
            ("upstreamNameservers", "{}", "wanted a list"),
            ("upstreamNameservers", "[8]", "8"),
            ("upstreamNameservers", '["192.0.2.1:99999"]', "99999"),
            ("upstreamNameservers", "[" * 100_000, "wanted JSON"),
        ):
            error = self.assertRaises(BadSettings, read_settings, {key: text})
            for word in (key, *words):
                self.assertIn(word, str(error))

    @given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
    def test_anything(self, text: str) -> None:
        """Any text is settings or an error of ours."""
        for key in ("stubDomains", "upstreamNameservers"):
            try:
                read_settings({key: text})
            except BadSettings:
                pass
