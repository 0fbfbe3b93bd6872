"""What the words of ``tsig`` become, and what is wrong with them."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.tsig import directive
from kdns.plugins.tsig.config import BadSecrets, Required, TsigConfig, read_secrets
from kdns.testing.plugin import PluginBench
from kdns.wire.constants import AXFR, IXFR
from kdns.wire.names import ROOT, from_text

AT = "Corefile:{} - Error during parsing: "
SECRET = b64encode(b"a secret of some bytes").decode()
KEYS = f"""# made by tsig-keygen
key "second.key." {{
    algorithm hmac-sha256;
    secret "{SECRET}";
}};
key third.key{{
    secret {SECRET}
}}
"""

ERRORS = {
    "tsig {\nsecret\n}": AT.format(3) + "Wrong argument count or unexpected line ending after 'secret'",
    "tsig {\nsecret a b c\n}": AT.format(3) + "Wrong argument count or unexpected line ending after 'c'",
    "tsig {\nsecret a.test !!!\n}": AT.format(3) + 'secret of key "a.test." is not base64',
    "tsig {\nsecret a..test abcd\n}": AT.format(3) + 'key "a..test" is no name',
    "tsig {\nsecret a.test abcd\nsecret A.test. abcd\n}": AT.format(4) + 'key "a.test." redefined',
    "tsig {\nsecrets nofile\n}": AT.format(3) + "open nofile: no such file or directory",
    "tsig {\nrequire\n}": AT.format(3) + "Wrong argument count or unexpected line ending after 'require'",
    "tsig {\nrequire axfr\n}": AT.format(3) + 'unknown query type "axfr"',
    "tsig {\nrequire A all\n}": AT.format(3) + 'unknown query type "all"',
    "tsig {\nrequire_opcode FROB\n}": AT.format(3) + 'unknown opcode "FROB"',
    "tsig {\nfrob x\n}": AT.format(3) + "unknown property 'frob'",
    "tsig\ntsig": "this plugin can only be used once per Server Block",
}


class ConfigTests(SynchronousTestCase):
    """Parsing."""

    def test_errors(self) -> None:
        """Errors name the line and the reason."""
        bench = PluginBench(directive, "tsig")
        found = {text: bench.error(text).removeprefix("plugin/tsig: ") for text in ERRORS}
        self.assertEqual(found, ERRORS)

    def test_empty(self) -> None:
        """Without words nothing is required, in the zones of the block."""
        self.assertEqual(PluginBench(directive, "tsig").config, TsigConfig((ROOT,)))

    def test_required(self) -> None:
        """A later line replaces a list, and leaves an ``all`` in force."""
        for text, types in (
            ("require AXFR IXFR", Required(numbers=frozenset((AXFR, IXFR)))),
            ("require AXFR\nrequire IXFR", Required(numbers=frozenset((IXFR,)))),
            ("require AXFR\nrequire none", Required()),
            ("require all", Required(everything=True)),
            ("require all\nrequire none", Required(everything=True)),
        ):
            self.assertEqual(PluginBench(directive, f"tsig {{\n{text}\n}}").config.types, types, text)
        config = PluginBench(directive, "tsig a.test b.test {\nrequire_opcode NOTIFY\n}").config
        self.assertEqual(config.zones, (from_text("a.test"), from_text("b.test")))
        self.assertIn(4, config.opcodes)
        self.assertNotIn(0, config.opcodes)

    def test_keys(self) -> None:
        """Keys of the Corefile and of files add up; secrets are not shown."""
        path = Path(self.mktemp()).absolute()
        path.write_text(KEYS)
        config = PluginBench(directive, f"tsig {{\nsecret First.key abcd\nsecrets {path}\n}}").config
        self.assertEqual(
            [name for name, _ in config.keys], [from_text(f"{n}.key") for n in ("first", "second", "third")]
        )
        self.assertEqual(dict(config.keys)[from_text("third.key")], b"a secret of some bytes")
        self.assertNotIn("secret of", repr(config))

    def test_bad_files(self) -> None:
        """What is wrong with a file of keys is said with its line."""
        for text, wanted in (
            ("frob\n", 'line 1: unexpected token "frob"'),
            ('key "a" {\n};\n', 'line 2: expected secret for key "a"'),
            ('key "a" {\n  secret "abcd";\n', 'key "a" has no end'),
            ('key "a" {\nkey "b" {\n', 'line 2: unexpected token "key b {"'),
            ("secret abcd;\n", 'line 1: unexpected token "secret abcd;"'),
        ):
            with self.assertRaises(BadSecrets) as raised:
                read_secrets(text)
            self.assertEqual(str(raised.exception), wanted)
