# -*- test-case-name: tests.integration.test_zones -*-
"""kdns beside NSD, each as the primary of the other, and transfers asked for with dig."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.programs import PATIENCE, ROOT, Program, free_port

HEAD = "$ORIGIN example.org.\n$TTL 300\n@ SOA ns admin {serial} 7200 1800 86400 60\n@ NS ns\nns A 192.0.2.53\n"

NSD = """\
server:
  ip-address: 127.0.0.1@{port}
  server-count: 1
  username: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  xfrdir: "{folder}"
  database: ""
remote-control:
  control-enable: no
zone:
  name: example.org
  zonefile: {zonefile}
{more}
"""


def zone_text(serial: int, *lines: str) -> str:
    """A zone file."""
    return HEAD.format(serial=serial) + "".join(f"{line}\n" for line in lines)


def dig(port: int, *words: str) -> list[str]:
    """What dig prints of the answers."""
    command = ["dig", "+noall", "+answer", "+onesoa", "+tries=1", "+time=3", "@127.0.0.1", "-p", str(port), *words]
    found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False).stdout
    return [" ".join(line.split()) for line in found.splitlines() if line and not line.startswith(";")]


class ZoneTests(SynchronousTestCase):
    """Transfers in both directions."""

    def setUp(self) -> None:
        """A folder and two ports."""
        for program in ("nsd", "dig"):
            if shutil.which(program) is None:
                raise SkipTest(f"{program} is not installed")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.port, self.nsd_port = free_port(), free_port()

    def nsd(self, zonefile: str, more: str) -> subprocess.Popen[bytes]:
        """NSD with one zone."""
        config = self.folder / "nsd.conf"
        config.write_text(NSD.format(port=self.nsd_port, folder=self.folder, zonefile=zonefile, more=more))
        with open(self.folder / "nsd.log", "wb") as log:
            running = subprocess.Popen(["nsd", "-d", "-c", str(config)], stdout=log, stderr=log)

        def end() -> None:
            running.terminate()
            running.wait(PATIENCE)

        self.addCleanup(end)
        return running

    def kdns(self, corefile: str) -> Program:
        """kdns with a Corefile."""
        path = self.folder / "Corefile"
        path.write_text(corefile)
        return Program(["-m", "kdns", "-conf", str(path)], None, ROOT)

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Wait until something is so."""
        end = monotonic() + PATIENCE
        while not done():
            self.assertLess(monotonic(), end, what)
            sleep(0.1)

    def test_nsd_is_the_primary(self) -> None:
        """The zone comes from NSD, signed types and all, and a new version with its NOTIFY."""
        (self.folder / "db").write_text(
            zone_text(5, "www A 10.0.0.1", '*.w TXT "x"', "sub NS ns.sub", "ns.sub A 10.0.0.2")
        )
        running = self.nsd("db", f"  provide-xfr: 127.0.0.1 NOKEY\n  notify: 127.0.0.1@{self.port} NOKEY\n")
        self.wait(lambda: bool(dig(self.nsd_port, "example.org", "SOA")), "NSD answers")
        block = "    transfer {\n        to *\n    }\n    secondary example.org {\n        transfer from 127.0.0.1:%d\n    }\n"
        with self.kdns(f".:{self.port} {{\n    bind 127.0.0.1\n{block % self.nsd_port}}}\n"):
            self.wait(lambda: dig(self.port, "www.example.org", "+short") == ["10.0.0.1"], "kdns has the zone")
            theirs, ours = (sorted(dig(port, "example.org", "AXFR")) for port in (self.nsd_port, self.port))
            self.assertEqual((ours, len(ours)), (theirs, 7))
            (self.folder / "db").write_text(zone_text(6, "www A 10.0.0.9"))
            running.send_signal(1)
            self.wait(lambda: dig(self.port, "www.example.org", "+short") == ["10.0.0.9"], "kdns has the new version")

    def test_nsd_is_the_secondary(self) -> None:
        """NSD takes the zone from kdns, and is told of a new version, of which it takes what changed."""
        hosts = [f"h{n} A 10.0.0.{n}" for n in range(200)]
        (self.folder / "db").write_text(zone_text(5, *hosts))
        corefile = (
            f".:{self.port} {{\n    bind 127.0.0.1\n    transfer {{\n        to 127.0.0.1:{self.nsd_port}\n    }}\n"
            f"    file {self.folder}/db example.org {{\n        reload 1s\n    }}\n}}\n"
        )
        with self.kdns(corefile) as program:
            self.wait(lambda: bool(dig(self.port, "example.org", "SOA")), "kdns answers")
            self.nsd(
                "copy",
                f"  request-xfr: 127.0.0.1@{self.port} NOKEY\n  allow-notify: 127.0.0.1 NOKEY\n  provide-xfr: 127.0.0.1 NOKEY\n",
            )
            self.wait(lambda: dig(self.nsd_port, "h7.example.org", "+short") == ["10.0.0.7"], "NSD has the zone")
            (self.folder / "db").write_text(zone_text(6, *hosts[:-1], "new A 10.0.1.1"))
            self.wait(
                lambda: dig(self.nsd_port, "new.example.org", "+short") == ["10.0.1.1"], "NSD has the new version"
            )
            theirs, ours = (sorted(dig(port, "example.org", "AXFR")) for port in (self.nsd_port, self.port))
            self.assertEqual((theirs, len(ours)), (ours, 203))
            program.wait_for('Outgoing transfer of 6 records of zone "example.org."')

    def test_dig(self) -> None:
        """AXFR and IXFR, whole and incremental, as dig reads them."""
        (self.folder / "db").write_text(zone_text(5, *(f'h{n} TXT "{"x" * 200}"' for n in range(2000))))
        corefile = (
            f".:{self.port} {{\n    bind 127.0.0.1\n    transfer {{\n        to *\n    }}\n"
            f"    file {self.folder}/db example.org {{\n        reload 1s\n    }}\n}}\n"
        )
        with self.kdns(corefile):
            self.wait(lambda: bool(dig(self.port, "example.org", "SOA")), "kdns answers")
            self.assertEqual(len(dig(self.port, "example.org", "AXFR")), 2003)
            self.assertEqual(len(dig(self.port, "example.org", "IXFR=5")), 1)
            (self.folder / "db").write_text(zone_text(6, *(f'h{n} TXT "{"x" * 200}"' for n in range(1999))))
            self.wait(lambda: " 6 7200 " in dig(self.port, "example.org", "SOA")[0], "kdns has the new version")
            self.assertEqual(len(dig(self.port, "example.org", "IXFR=5")), 5)
            self.assertEqual(len(dig(self.port, "example.org", "IXFR=4")), 2003)


class SignedTests(SynchronousTestCase):
    """Zones signed by ldns, and validated by BIND's delv."""

    def setUp(self) -> None:
        """A zone, its keys, and a trust anchor."""
        for program in ("ldns-keygen", "ldns-signzone", "delv"):
            if shutil.which(program) is None:
                raise SkipTest(f"{program} is not installed")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        lines = (
            "www A 10.0.0.1",
            "*.w A 10.0.0.2",
            "deep.ent A 10.0.0.3",
            "sub NS ns.sub",
            "ns.sub A 10.0.0.4",
            "c CNAME www",
        )
        (self.folder / "db").write_text(zone_text(5, *lines))
        self.keys = [
            self.run_in_folder("ldns-keygen", "-a", "ECDSAP256SHA256", *k, "example.org").strip() for k in (["-k"], [])
        ]
        words = (self.folder / f"{self.keys[0]}.key").read_text().partition(";")[0].split("DNSKEY")[1].split()
        anchor = f'trust-anchors {{ example.org. static-key {" ".join(words[:3])} "{"".join(words[3:])}"; }};\n'
        (self.folder / "anchor").write_text(anchor)

    def run_in_folder(self, *command: str) -> str:
        """What a program prints."""
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=self.folder
        ).stdout

    def check(self, *options: str) -> None:
        """Sign the zone, serve it, and have every kind of answer validated."""
        self.run_in_folder("ldns-signzone", *options, "-f", "signed", "db", *self.keys)
        port = free_port()
        path = self.folder / "Corefile"
        path.write_text(f".:{port} {{\n    bind 127.0.0.1\n    file {self.folder}/signed example.org\n}}\n")
        with Program(["-m", "kdns", "-conf", str(path)], None, ROOT) as program:
            program.wait_for("kdns-")
            for name, qtype, wanted in (
                ("www", "A", "; fully validated"),
                ("x.w", "A", "; fully validated"),
                ("c", "A", "; fully validated"),
                ("www", "TXT", "; negative response, fully validated"),
                ("x.w", "TXT", "; negative response, fully validated"),
                ("ent", "A", "; negative response, fully validated"),
                ("sub", "DS", "; negative response, fully validated"),
                ("nope", "A", "; negative response, fully validated"),
                ("x.ent", "A", "; negative response, fully validated"),
                ("a.b.c.d", "A", "; negative response, fully validated"),
            ):
                anchor = ["-a", str(self.folder / "anchor"), "+root=example.org"]
                said = self.run_in_folder("delv", "@127.0.0.1", "-p", str(port), *anchor, f"{name}.example.org", qtype)
                self.assertIn(wanted, said.splitlines(), f"{name} {qtype}: {said}")

    def test_nsec(self) -> None:
        """With NSEC."""
        self.check()

    def test_nsec3(self) -> None:
        """With NSEC3, salted and iterated."""
        self.check("-n", "-t", "2", "-s", "aabb")
