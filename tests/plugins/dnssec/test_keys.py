"""Key files: what is read, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.dnssec.keys import BadKey, base_of, read_key
from kdns.wire.names import from_text
from tests.conformance.cases import CASES
from tests.signing_keys import write_key

MAT = CASES / "mat"


class KeyTests(SynchronousTestCase):
    """A folder of keys."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.base = self.folder / "bad"
        for suffix in ("key", "private"):
            self.write(suffix, (MAT / f"csk.{suffix}").read_text())

    def write(self, suffix: str, text: str) -> None:
        self.base.with_name(f"bad.{suffix}").write_text(text)

    def reason(self) -> str:
        """Why the key cannot be used; the folder left out."""
        with self.assertRaises(BadKey) as raised:
            read_key(str(self.base))
        return str(raised.exception).replace(f"{self.folder}/", "")

    def test_golden(self) -> None:
        """The keys of the golden cases, by either file."""
        for name, tag, sep in (("csk", 50029, True), ("ksk", 21863, True), ("zsk", 54491, False)):
            for suffix in ("", ".key", ".private"):
                key = read_key(base_of(f"{MAT}/{name}{suffix}"))
                self.assertEqual((key.tag, key.sep, key.algorithm, key.ttl), (tag, sep, 13, 3600))
                self.assertEqual(key.owner, from_text("example.org"))

    def test_algorithms(self) -> None:
        """One of each; a key without a TTL has an hour."""
        for algorithm in (5, 7, 8, 10, 13, 14, 15):
            key = read_key(str(write_key(self.folder, f"k{algorithm}", algorithm=algorithm)))
            self.assertEqual((key.algorithm, key.ttl), (algorithm, 3600))

    def test_secret(self) -> None:
        """A key that is shown does not show what is private."""
        self.assertNotIn("rivate", repr(read_key(str(self.base))).replace("bad.private", ""))

    def test_missing(self) -> None:
        """Files that are not there."""
        self.base.with_name("bad.private").unlink()
        self.assertEqual(self.reason(), "open bad.private: no such file or directory")
        self.base.with_name("bad.key").unlink()
        self.assertEqual(self.reason(), "open bad.key: no such file or directory")

    def test_bad_public(self) -> None:
        """What is no DNSKEY."""
        for text, wanted in (
            ("", "no public key found"),
            ("example.org. IN A 10.0.0.1\n", "no public key found"),
            ("hello\n", 'bad.key: dns: not a TTL: "hello" at line: 1:5'),
            ("example.org. IN DNSKEY 257 3 99 AAAA\n", "dns: bad algorithm"),
            ("example.org. IN DNSKEY 257 3 16 AAAA\n", "dns: bad algorithm"),
        ):
            self.write("key", text)
            self.assertEqual(self.reason(), wanted)

    def test_bad_private(self) -> None:
        """What is no private key, or that of another public one."""
        private = (MAT / "csk.private").read_text()
        for text, wanted in (
            ("", "bad.private: no private key found"),
            ("hello\n", 'bad.private: dns: no private key seen: "hello" at line: 1:5'),
            (private.replace("v1.3", "v9"), "bad.private: dns: bad private key: its format is not v1.2 or v1.3"),
            (
                private.replace("13 (", "8 ("),
                "bad.private: dns: bad private key: its algorithm is not that of the public key",
            ),
            (
                private.replace("13 (", "x ("),
                "bad.private: dns: bad private key: invalid literal for int() with base 10: 'x'",
            ),
            (private.replace("PrivateKey", "Key"), "bad.private: dns: bad private key: there is no PrivateKey"),
            (
                private.replace("PrivateKey: ", "PrivateKey: !"),
                "bad.private: dns: bad private key: PrivateKey is not base64",
            ),
            (
                (MAT / "zsk.private").read_text(),
                "bad.private: dns: bad private key: it does not belong to the public key",
            ),
        ):
            self.write("private", text)
            self.assertEqual(self.reason(), wanted)

    def test_bad_rsa(self) -> None:
        """Numbers that are no RSA key."""
        base = write_key(self.folder, "rsa", algorithm=8)
        path = base.with_name("rsa.private")
        path.write_text(path.read_text().replace("Prime1: ", "Prime1: BBBB"))
        with self.assertRaises(BadKey):
            read_key(str(base))
