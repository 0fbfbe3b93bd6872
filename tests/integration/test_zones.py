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
