# -*- test-case-name: tests.integration.test_signing -*-
"""What kdns signs, in a process of its own, is asked for and validated by BIND's dig and delv and by ldns."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.programs import PATIENCE, ROOT, Program, free_port
from tests.signing_keys import write_key

SECRET = "NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk="

ZONE = """$TTL 300
@ SOA ns admin 5 7200 1800 86400 60
@ NS ns
ns A 192.0.2.53
www A 192.0.2.1
www A 192.0.2.2
alias CNAME www
dangling CNAME nobody
*.w TXT "wild"
sub NS ns.sub
ns.sub A 192.0.2.60
"""

COREFILE = """
online.test:{port} {{
    tsig {{
        secret transfer.test. {secret}
        require AXFR IXFR
    }}
    cache 30
    dnssec {{
        key file {folder}/online
    }}
    transfer {{
        to *
    }}
    file {folder}/db
}}
ahead.test:{port} {{
    sign {folder}/db {{
        key file {folder}/ahead
        directory {folder}
    }}
    file {folder}/db.ahead.test.signed {{
        reload 200ms
    }}
}}
"""


def run(*command: str) -> str:
    """What a program prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.stdout + done.stderr


class Server(NamedTuple):
    """A running kdns."""

    folder: Path
    port: int
    program: Program


@cache
def shared_server() -> Server:
    """The one server that all tests ask, with new keys; it ends with this process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    (folder / "db").write_text(ZONE)
    anchors = []
    for name in ("online", "ahead"):
        key = write_key(folder, name, f"{name}.test.").with_name(f"{name}.key").read_text()
        flags, protocol, algorithm, *parts = key.partition("DNSKEY ")[2].split()
        anchors.append(f'{name}.test. static-key {flags} {protocol} {algorithm} "{"".join(parts)}";\n')
    (folder / "anchors").write_text(f"trust-anchors {{\n{''.join(anchors)}}};\n")
    port = free_port()
    path = folder / "Corefile"
    path.write_text(COREFILE.format(port=port, folder=folder, secret=SECRET))
    program = Program(["-m", "kdns", "-conf", str(path)], None, ROOT)
    atexit.register(program.__exit__, None, None, None)
    for text in (f"online.test.:{port}", "Successfully signed zone", "Successfully reloaded zone"):
        program.wait_for(text)
    return Server(folder, port, program)


class SigningTests(SynchronousTestCase):
    """One server with a zone that is signed while it answers, and one that is signed ahead."""

    def setUp(self) -> None:
        self.folder, self.port, self.program = shared_server()

    def need(self, program: str) -> None:
        if shutil.which(program) is None:
            raise SkipTest(f"{program} is not installed")

    def delv(self, zone: str, *question: str) -> str:
        """What delv says of an answer."""
        at = ("@127.0.0.1", "-p", str(self.port))
        return run("delv", *at, "-a", str(self.folder / "anchors"), f"+root={zone}", *question)

    def check(self, zone: str) -> None:
        """Ask for all kinds of answers, two of them again."""
        asked = (
            ("www", "A", "; fully validated"),
            ("nobody", "A", "; negative response, fully validated"),
            ("alias", "A", "; fully validated"),
            ("x.w", "TXT", "; fully validated"),
            ("www", "MX", "; negative response, fully validated"),
            ("dangling", "A", ";; resolution failed: ncache"),  # validated, or it would say that it is not
            ("sub", "DS", "; negative response, fully validated"),
        )
        for name, qtype, wanted in (*asked, *asked[:2]):
            found = self.delv(zone, f"{name}.{zone}", qtype)
            self.assertIn(wanted, found, f"{name}.{zone} {qtype}")
        self.assertIn("; fully validated", self.delv(zone, zone, "DNSKEY"))

    def test_online(self) -> None:
        """delv validates what *dnssec* signs."""
        self.need("delv")
        self.check("online.test")

    def test_ahead(self) -> None:
        """It validates what *sign* signed, and ldns the whole zone."""
        self.need("delv")
        self.check("ahead.test")
        self.need("ldns-verify-zone")
        found = run("ldns-verify-zone", str(self.folder / "db.ahead.test.signed"))
        self.assertIn("Zone is verified and complete", found)

    def test_transfer(self) -> None:
        """dig transfers a zone with the key, checks the signatures, and gets nothing without it."""
        self.need("dig")
        words = ("dig", "+tries=1", "@127.0.0.1", "-p", str(self.port), "online.test")
        found = run(*words, "AXFR", "-y", f"hmac-sha256:transfer.test:{SECRET}")
        self.assertIn("www.online.test.", found)
        self.assertRegex(found, r"transfer\.test\.\s+0\s+ANY\s+TSIG\s+hmac-sha256\.\s.*NOERROR")
        for refused in ((), ("-y", f"hmac-sha256:other.test:{SECRET}")):
            self.assertNotIn("www.online.test.", run(*words, "AXFR", *refused))
        found = run(*words, "SOA", "-y", f"hmac-sha512:transfer.test:{SECRET}")
        self.assertIn("status: NOERROR", found)
        self.assertNotIn("verify", found)
