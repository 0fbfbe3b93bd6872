"""
What a large zone costs: time and memory to read it, the longest step of that, a transfer, and a question; beside NSD where it is installed.

The zone is written to a file first. Memory is resident memory of this process, less what it had before; NSD's is the proportional share of
its processes together, when it answers. Run it as ``python -m bench.zones [--quick]``.
"""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from bench.processes import table
from kdns.core.config_files import open_config_file
from kdns.wire.constants import QR, A
from kdns.wire.names import from_text
from kdns.zones.lookup import look_up
from kdns.zones.master import MasterReader
from kdns.zones.outgoing import Reply, full, messages
from kdns.zones.zone import Zone, ZoneBuilder

ORIGIN = from_text("example.org")
HEAD = "$ORIGIN example.org.\n$TTL 300\n@ SOA ns admin 5 7200 1800 86400 60\n@ NS ns\nns A 192.0.2.53\n"
RECORDS = 1_000_000
QUESTIONS = 20_000

NSD = """\
server:
  ip-address: 127.0.0.1@5399
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
  zonefile: {zone}
"""


def hosts(records: int) -> Iterator[str]:
    """One address for each name."""
    for number in range(records):
        yield f"host{number} A 10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}\n"


def delegations(records: int) -> Iterator[str]:
    """Two name servers for each name, and the address of one."""
    for number in range(records // 3):
        yield f"d{number} NS ns.d{number}\nd{number} NS ns{number % 50}.example.net.\nns.d{number} A 10.0.0.{number % 250}\n"


def resident() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def loaded(path: Path) -> tuple[Zone, float, float]:
    """The zone of a file, seconds of processor time, and those of the longest step."""
    builder = ZoneBuilder(ORIGIN)

    def opened(name: str) -> BinaryIO:
        return open_config_file(name)

    def steps() -> Iterable[None]:
        yield from MasterReader(opened, str(path), ORIGIN, builder.add).read()
        yield from builder.finish()

    begin = last = time.process_time()
    longest = 0.0
    for _ in steps():
        now = time.process_time()
        longest, last = max(longest, now - last), now
    return builder.zone, time.process_time() - begin, longest


def transferred(zone: Zone) -> tuple[float, float]:
    """Seconds of processor time for all messages of an AXFR, and for the longest."""
    reply = Reply(1, QR, ORIGIN + b"\x00\xfc\x00\x01", b"")
    begin = last = time.process_time()
    longest = 0.0
    for _ in messages(reply, ORIGIN, full(zone)):
        now = time.process_time()
        longest, last = max(longest, now - last), now
    return time.process_time() - begin, longest


def asked(zone: Zone, names: list[bytes]) -> float:
    """Microseconds of processor time for a question."""
    begin = time.process_time()
    for name in names:
        look_up(zone, name, A, False)
    return (time.process_time() - begin) / len(names) * 1e6


def nsd_bytes(path: Path) -> int | None:
    """What NSD's processes take with the same file; None where there is no NSD."""
    if shutil.which("nsd") is None:
        return None
    config = path.with_name("nsd.conf")
    config.write_text(NSD.format(folder=path.parent, zone=path.name), encoding="ascii")
    with subprocess.Popen(["nsd", "-d", "-c", str(config)], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "nsd started" in line:
                break
        pids = [running.pid]
        for pid in pids:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
            pids += map(int, children.split())
        shares = [Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii") for pid in pids]
        running.terminate()
    return sum(
        int(line.split()[1]) * 1024 for share in shares for line in share.splitlines() if line.startswith("Pss:")
    )


def main(arguments: list[str]) -> None:
    """Measure."""
    records = 20_000 if "--quick" in arguments else RECORDS
    rows = []
    gc.disable()  # the daemon has a plan of its own for it
    for name, lines in (("addresses", hosts), ("delegations", delegations)):
        with TemporaryDirectory() as folder:
            path = Path(folder, "zone")
            with path.open(
                "w", encoding="ascii"
            ) as file:  # a line at a time: what was freed would hide what the zone takes
                file.write(HEAD)
                file.writelines(lines(records))
            before = resident()
            zone, seconds, longest = loaded(path)
            taken = resident() - before
            sending, slowest = transferred(zone)
            first = name[0] if name == "delegations" else "host"
            names = [from_text(f"{first}{number * 7919 % (records // 3)}.example.org") for number in range(QUESTIONS)]
            theirs = nsd_bytes(path)
            rows.append(
                (
                    f"{zone.records:,} records, {name}",
                    f"{seconds:.1f} s",
                    f"{longest * 1000:.1f} ms",
                    f"{taken / 1e6:.0f} MB",
                    "-" if theirs is None else f"{theirs / 1e6:.0f} MB",
                    f"{sending:.1f} s",
                    f"{slowest * 1000:.1f} ms",
                    f"{asked(zone, names):.1f} µs",
                )
            )
            del zone
    table(("zone", "reading", "step", "memory", "NSD's", "AXFR", "message", "question"), rows)


if __name__ == "__main__":
    main(sys.argv[1:])
