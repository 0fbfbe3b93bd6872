# -*- test-case-name: tests.integration.test_programs -*-
"""The programs themselves: ``kdns``, ``twistd kdns``, ``kdns.tac``, the demo, and an installed wheel, each in a process of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.request import urlopen

from twisted.names import dns
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kdns.tap.daemon import version_lines
from tests.integration.programs import PATIENCE, ROOT, Program, ask, free_port

KDNS = ["-m", "kdns"]
KDNS_AFTER = ["import sys; from kdns.cli.main import main; sys.exit(main())"]
"""The same as code, to stand after something else that a process does."""

_TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"

HOSTS = """\
.:{port} {{
    bind 127.0.0.1
    errors
    hosts {{
        {address} www.example.org
    }}
    {more}
}}
"""


def twistd(*arguments: str) -> list[str]:
    """The words that run twistd as its own script would."""
    return ["-c", _TWISTD, *arguments]


class ProgramTests(SynchronousTestCase):
    """One process each; what it is asked, what it says, and how it ends."""

    def setUp(self) -> None:
        """A port, and a Corefile that serves one name on it."""
        self.port = free_port()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.corefile = self.folder / "Corefile"
        self.write("192.0.2.1")

    def write(self, address: str, more: str = "") -> None:
        """Write the Corefile."""
        self.corefile.write_text(HOSTS.format(port=self.port, address=address, more=more))

    def address(self, tcp: bool = False) -> str:
        """What the server says to the question for ``www.example.org``."""
        reply = ask(self.port, "www.example.org", tcp=tcp)
        return _shown(reply.answers[0])

    def serves(self, command: list[str], environment: dict[str, str] | None = None, folder: Path = ROOT) -> None:
        """The program answers over UDP and TCP, shows what CoreDNS would show, and ends with 0 on SIGTERM."""
        with Program(command, environment, folder) as program:
            program.wait_for(version_lines()[1])
            self.assertEqual((self.address(), self.address(tcp=True)), ("192.0.2.1", "192.0.2.1"))
            program.send(signal.SIGTERM)
            status, said, errors = program.end()
        wanted = [
            f".:{self.port} on 127.0.0.1",
            *version_lines(),
            "[INFO] SIGTERM: Shutting down servers then terminating",
        ]
        self.assertEqual((status, said.splitlines(), errors), (0, wanted, ""))

    def test_kdns(self) -> None:
        """``kdns`` serves; the port comes from the flag where the Corefile names none."""
        self.corefile.write_text(self.corefile.read_text().replace(f".:{self.port}", "."))
        self.serves([*KDNS, "-conf", str(self.corefile), f"--dns.port={self.port}"])

    def test_default_corefile(self) -> None:
        """Without ``-conf`` it is the Corefile in the working directory."""
        self.serves(KDNS, folder=self.folder)

    def test_twistd(self) -> None:
        """``twistd kdns`` serves the same, and its log is the same."""
        self.serves(twistd("-n", "--pidfile=", "kdns", "--conf", str(self.corefile)))

    def test_application_file(self) -> None:
        """``tap/kdns.tac`` serves the same."""
        environment = {"KDNS_CONF": str(self.corefile)}
        self.serves(twistd("-n", "--pidfile=", "-y", str(ROOT / "tap" / "kdns.tac")), environment)

    def test_standard_input(self) -> None:
        """``-conf stdin`` reads standard input, ``-quiet`` says nothing, and the pid file goes with the process."""
        pidfile = self.folder / "pid"
        words = [*KDNS, "-conf", "stdin", "-quiet", "-pidfile", str(pidfile)]
        with Program([*words], text=HOSTS.format(port=self.port, address="192.0.2.9", more="log")) as program:
            end = monotonic() + PATIENCE
            while not self.listening():
                self.assertIsNone(program.process.poll())
                self.assertLess(monotonic(), end)
            # TCP was opened first; by the time that it answers, UDP is open, too.
            self.assertEqual((self.address(tcp=True), self.address()), ("192.0.2.9", "192.0.2.9"))
            self.assertEqual(pidfile.read_text(), f"{program.process.pid}\n")
            program.wait_for('"A IN www.example.org. udp 33')
            program.send(signal.SIGINT)
            status, said, _ = program.end()
        self.assertEqual((status, pidfile.exists(), said.splitlines()[-1]), (0, False, "[INFO] SIGINT: Shutting down"))
        self.assertTrue(said.startswith("[INFO] 127.0.0.1:"), said)

    def listening(self) -> bool:
        """Whether the server's TCP port is open."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def test_signals(self) -> None:
        """SIGHUP is nothing, SIGUSR1 takes a new Corefile over or keeps the old one, SIGQUIT ends at once."""
        with Program([*KDNS, "-conf", str(self.corefile)]) as program:
            program.wait_for(version_lines()[1])
            program.send(signal.SIGHUP)
            self.write("192.0.2.2")
            program.send(signal.SIGUSR1)
            said = program.wait_for("[INFO] Reloading complete\n")
            self.assertIn("[INFO] SIGUSR1: Reloading\n[INFO] Reloading\n", said)
            self.assertEqual(self.address(), "192.0.2.2")
            self.write("192.0.2.3", "cach 30")
            program.send(signal.SIGUSR1)
            program.wait_for("Unknown directive 'cach' (did you mean 'cache'?)\n")
            self.assertEqual(self.address(), "192.0.2.2")
            program.send(signal.SIGQUIT)
            status, said, _ = program.end()
        self.assertEqual((status, said.splitlines()[-1]), (0, "[INFO] SIGQUIT: Quitting process immediately"))

    def test_second_interrupt(self) -> None:
        """While it waits to end it still answers; a second SIGINT ends it at once, with 2."""
        self.write("192.0.2.1", f"health 127.0.0.1:{free_port()} {{\n lameduck 60s\n }}")
        with Program([*KDNS, "-conf", str(self.corefile)]) as program:
            program.wait_for(version_lines()[1])
            program.send(signal.SIGINT)
            program.wait_for("lameduck mode for 1m0s\n")
            self.assertEqual(self.address(), "192.0.2.1")
            program.send(signal.SIGINT)
            status, said, _ = program.end()
        self.assertEqual((status, said.splitlines()[-1]), (2, "[INFO] SIGINT: Force quit"))

    def test_cannot_start(self) -> None:
        """
        What prevents a start is on standard error, nothing on standard output, and the status is 1; under twistd too.

        Of a Corefile it is all that is wrong, as kdns check says it.
        """
        self.corefile.write_text(". {\n bind 127.0.0.1\n cach 30\n forward . 192.0.2.1 {\n  expire 5\n }\n}\n")
        wrong = (
            f"{self.corefile}:3 - Error during parsing: Unknown directive 'cach' (did you mean 'cache'?)\n"
            "    wanted:     the name of a directive\n"
            "    found:      cach\n"
            f'{self.corefile}:5: fault: forward: time: missing unit in duration "5"\n'
            "    wanted:     expire DURATION\n"
            "    found:      expire 5\n"
        )
        missing = "loading Corefile via flag: open /does/not/exist: no such file or directory\n"
        holder = socket.create_server(("127.0.0.1", 0))  # which does not share its port
        self.addCleanup(holder.close)
        held = holder.getsockname()[1]
        taken = (
            f"Listen: listen tcp 127.0.0.1:{held}: bind: address already in use: TESTS (pid {os.getpid()}) holds it\n"
        )
        elsewhere = self.folder / "elsewhere"
        elsewhere.write_text(f".:{held} {{\n bind 127.0.0.1\n whoami\n}}\n")
        cases = (
            ([*KDNS, "-conf", str(self.corefile)], wrong),
            ([*KDNS, "-conf", "/does/not/exist"], missing),
            ([*KDNS, "-conf", str(elsewhere)], taken),
            ([*KDNS, "-conf", str(self.corefile), "x"], "extra command line arguments: [x]\n"),
            (twistd("-n", "--pidfile=", "kdns", "--conf", str(self.corefile)), wrong),
        )
        for command, error in cases:
            with Program(command) as program:
                status, said, errors = program.end()
                errors = re.sub(r"use: \S+ [(]pid", "use: TESTS (pid", errors)  # however the tests were started
                self.assertEqual((status, said, errors), (1, "", error))

    def test_wall_clock_steps_back(self) -> None:
        """When the wall clock steps back by an hour, timers go on: here the one that ends the process."""
        self.write("192.0.2.1", f"health 127.0.0.1:{free_port()} {{\n lameduck 500ms\n }}")
        step = self.folder / "step"
        stepping = (
            "import os, sys, time; wall = time.time\n"
            f"time.time = lambda: wall() - 3600 * os.path.exists({str(step)!r})\n"
        )
        kdns = [*KDNS_AFTER, "-conf", str(self.corefile)]
        twisted = twistd("-n", "--pidfile=", "kdns", "--conf", str(self.corefile))
        for command in (["-c", stepping + kdns[0], *kdns[1:]], ["-c", stepping + twisted[1], *twisted[2:]]):
            with Program(command) as program:
                program.wait_for(version_lines()[1])
                program.send(signal.SIGTERM)
                program.wait_for("Going into lameduck mode for 500ms\n")
                step.touch()
                self.assertEqual(program.end()[0], 0)
            step.unlink()

    def test_clients_leave_descriptors(self) -> None:
        """Clients that take all the connections they can leave descriptors for upstreams and pages, and the soft limit is no limit."""
        health, upstream = free_port(), socket.socket(type=socket.SOCK_DGRAM)
        self.addCleanup(upstream.close)
        upstream.bind(("127.0.0.1", 0))
        upstream.settimeout(PATIENCE)
        self.write("192.0.2.1", f"health 127.0.0.1:{health}")
        forwarded = (
            f"example.com:{self.port} {{\n bind 127.0.0.1\n forward . 127.0.0.1:{upstream.getsockname()[1]}\n}}\n"
        )
        self.corefile.write_text(self.corefile.read_text() + forwarded)
        limited = (
            "import resource, sys; from kdns.cli.main import main\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (60, 200)); sys.exit(main())"
        )
        with Program(["-c", limited, "-conf", str(self.corefile)]) as program, ExitStack() as stack:
            program.wait_for(version_lines()[1])
            for _ in range(250):
                stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))
            self.assertEqual(self.address(tcp=True), "192.0.2.1")
            self.assertGreater(len(os.listdir(f"/proc/{program.process.pid}/fd")), 100)
            with urlopen(f"http://127.0.0.1:{health}/health", timeout=PATIENCE) as response:
                self.assertEqual(response.status, 200)
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1", ("127.0.0.1", self.port))
                self.assertIn(b"\7example\3com\0", upstream.recv(512))

    def test_take_over(self) -> None:
        """
        A second process on the same ports, pages included, does not start, and says which process has them.

        One that was told to take over shares them, so that a new version can take over without a gap.
        """
        health = free_port()
        self.write("192.0.2.1", f"health 127.0.0.1:{health}")
        command = [*KDNS, "-conf", str(self.corefile)]
        with Program(command) as first:
            first.wait_for(version_lines()[1])
            held = f"address already in use: kdns (pid {first.process.pid}) holds it\n"
            page = f"listen tcp 127.0.0.1:{health}: bind: {held}"
            with Program(command) as second:
                self.assertEqual(second.end(), (1, "", page))
            self.write("192.0.2.1")
            for command_now in (command, twistd("-n", "--pidfile=", "kdns", "--conf", str(self.corefile))):
                with Program(command_now) as second:
                    self.assertEqual(second.end(), (1, "", f"Listen: listen tcp 127.0.0.1:{self.port}: bind: {held}"))
            self.write("192.0.2.1", f"health 127.0.0.1:{health}")
            with Program([*command, "-takeover"]) as second:
                said = second.wait_for(version_lines()[1])
                self.assertIn(
                    f"[INFO] Taking over udp port {self.port}: kdns (pid {first.process.pid}) holds it\n", said
                )
                first.send(signal.SIGTERM)
                self.assertEqual(first.end()[0], 0)
                self.assertEqual(self.address(), "192.0.2.1")

    def test_cannot_start_in_the_background(self) -> None:
        """twistd that cannot start kdns ends with 1 before it goes into the background; the reason is on standard error and in its log."""
        holder = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(holder.close)
        held = holder.getsockname()[1]
        on_port = f".:{held} {{\n bind 127.0.0.1\n whoami\n}}\n"
        on_page = f".:{self.port} {{\n bind 127.0.0.1\n health 127.0.0.1:{held}\n whoami\n}}\n"
        cases = (
            (". {\n bind 127.0.0.1\n cach 30\n}\n", "Corefile:3 - Error during parsing: Unknown directive 'cach'", 3),
            (on_port, f"Listen: listen tcp 127.0.0.1:{held}: bind: address already in use: ", 1),
            (on_page, f"listen tcp 127.0.0.1:{held}: bind: address already in use: ", 1),
            (None, "loading Corefile via flag: open ", 1),
        )
        for number, (text, reason, lines) in enumerate(cases):
            conf = self.folder / f"{number}" / "Corefile"
            if text is not None:
                conf.parent.mkdir()
                conf.write_text(text)
            log, pidfile = self.folder / f"{number}.log", self.folder / f"{number}.pid"
            words = ("--logfile", str(log), "--pidfile", str(pidfile), "kdns", "--conf", str(conf))
            with Program(twistd(*words)) as program:
                status, said, errors = program.end()
            self.assertEqual((status, said, errors.count("\n"), pidfile.exists()), (1, "", lines, False), errors)
            self.assertIn(reason, errors)
            for line in errors.splitlines():  # Twisted's log indents those after the first
                self.assertIn(line + "\n", log.read_text())
        environment = {"KDNS_CONF": str(self.folder / "0" / "Corefile")}
        tac = ("--pidfile", str(self.folder / "pid"), "-y", str(ROOT / "tap" / "kdns.tac"))
        with Program(twistd(*tac), environment, self.folder) as program:
            status, said, errors = program.end()
        self.assertEqual((status, said), (1, ""))
        self.assertIn("Corefile:3 - Error during parsing: Unknown directive 'cach'", errors)
        self.assertFalse(self.listening())

    def test_background(self) -> None:
        """twistd that can start it goes into the background and serves there."""
        log, pidfile = self.folder / "log", self.folder / "pid"
        words = ("--logfile", str(log), "--pidfile", str(pidfile), "kdns", "--conf", str(self.corefile))
        with Program(twistd(*words)) as program:
            self.assertEqual(program.end(), (0, "", ""))
        end = monotonic() + PATIENCE
        while not pidfile.exists() or not self.listening():
            self.assertLess(monotonic(), end)
        try:
            self.assertEqual(self.address(tcp=True), "192.0.2.1")
        finally:
            os.kill(int(pidfile.read_text()), signal.SIGTERM)
        while pidfile.exists():
            self.assertLess(monotonic(), end)
        self.assertIn("SIGTERM: Shutting down", log.read_text())


class DemoTests(SynchronousTestCase):
    """``make run``."""

    def environment(self) -> dict[str, str]:
        """The demo's ports, all free."""
        names = ("PORT", "HEALTH_PORT", "READY_PORT", "METRICS_PORT")
        ports: dict[str, str] = {}
        while len(set(ports.values())) < len(names):
            ports = {name: str(free_port()) for name in names}
        return ports

    def test_every_kind_of_name(self) -> None:
        """It answers names of every kind, reports health and readiness, and says what to type."""
        environment = self.environment()
        port = int(environment["PORT"])
        with Program(["conf/demo/run.py"], environment) as program:
            said = program.wait_for("Ctrl-C ends it.")
            self.assertIn(f"dig @127.0.0.1 -p {port} web.shop.svc.cluster.local", said)
            self.assertIn(f"curl http://127.0.0.1:{environment['READY_PORT']}/ready", said)
            for name, qtype, wanted in (
                ("web.shop.svc.cluster.local", dns.A, ["10.96.20.30"]),
                ("web.shop.svc.cluster.local", dns.AAAA, ["fd00:96::1e"]),
                ("db.shop.svc.cluster.local", dns.A, ["10.244.1.20", "10.244.2.20"]),
                ("db-0.db.shop.svc.cluster.local", dns.A, ["10.244.1.20"]),
                ("_postgres._tcp.db.shop.svc.cluster.local", dns.SRV, ["db-0.db", "db-1.db"]),
                ("10-244-1-17.shop.pod.cluster.local", dns.A, ["10.244.1.17"]),
                ("30.20.96.10.in-addr.arpa", dns.PTR, ["web"]),
                ("payments.shop.svc.cluster.local", dns.A, ["203.0.113.7", "api.payments.example"]),
                ("www.example.org", dns.A, ["198.51.100.20"]),
            ):
                reply = ask(port, name, qtype)
                self.assertEqual(sorted(map(_shown, reply.answers)), wanted, name)
            denial = ask(port, "nothing.shop.svc.cluster.local", tcp=True)
            self.assertEqual((denial.rCode, [header.type for header in denial.authority]), (dns.ENAME, [dns.SOA]))
            for page, variable in (("health", "HEALTH_PORT"), ("ready", "READY_PORT")):
                with urlopen(f"http://127.0.0.1:{environment[variable]}/{page}", timeout=PATIENCE) as response:
                    self.assertEqual(response.status, 200)
            with urlopen(f"http://127.0.0.1:{environment['METRICS_PORT']}/metrics", timeout=PATIENCE) as response:
                metrics = response.read().decode()
            self.assertIn(f'coredns_dns_requests_total{{server="dns://127.0.0.1:{port}",zone="."', metrics)
            program.send(signal.SIGINT)
            status, _, errors = program.end()
        self.assertEqual((status, errors), (0, ""))

    def test_interrupt_at_a_terminal(self) -> None:
        """Ctrl-C at a terminal ends ``make run`` with 0, make included."""
        make = shutil.which("make")
        if make is None:
            raise SkipTest("there is no make")
        environment = {**os.environ, **self.environment(), "PYTHONPATH": str(ROOT)}
        words = [
            make,
            "--no-print-directory",
            "run",
            f"PORT={environment['PORT']}",
            "READY=",
            f"BIN={Path(sys.executable).parent}",
        ]
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(ROOT)
            os.execve(make, words, environment)
        said = b""
        try:
            while b"Ctrl-C ends it." not in said and (octets := _read(terminal)):
                said += octets
            os.write(terminal, b"\x03")
            while octets := _read(terminal):
                said += octets
        finally:
            os.close(terminal)  # whoever still runs gets SIGHUP
            _, status = os.waitpid(child, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0, said.decode())
        self.assertIn(b"[INFO] SIGINT: Shutting down", said)


def _read(terminal: int) -> bytes:
    """What comes from a terminal next; nothing when its other end was closed, or says nothing for too long."""
    readable, _, _ = select.select([terminal], [], [], PATIENCE)
    try:
        return os.read(terminal, 4096) if readable else b""
    except OSError:
        return b""


def _shown(header: dns.RRHeader) -> str:
    """The point of a record, short."""
    payload: Any = header.payload
    if isinstance(payload, dns.Record_A):
        return str(payload.dottedQuad())
    if isinstance(payload, dns.Record_AAAA):
        return str(ip_address(payload.address))
    target = payload.target.name if isinstance(payload, dns.Record_SRV) else payload.name.name
    return str(target.decode().removesuffix(".shop.svc.cluster.local"))


class WheelTests(SynchronousTestCase):
    """A wheel where kdns's dependencies are installed and no checkout is: the same programs, the same server."""

    def test_installed(self) -> None:
        """Built, installed into an empty folder and run from there, ``kdns`` and ``twistd kdns`` serve what the checkout serves."""
        folder = Path(self.mktemp()).absolute()
        site = _install(folder)
        port = free_port()
        (folder / "Corefile").write_text(HOSTS.format(port=port, address="192.0.2.1", more=""))
        # -S: no .pth file brings the checkout back. The dependencies are a folder on the path like any other.
        environment = {"PYTHONPATH": os.pathsep.join((str(site), sysconfig.get_path("purelib")))}
        script = site / "bin" / "kdns"
        for command in (
            ["-S", str(script)],
            ["-S", *twistd("-n", "--pidfile=", "kdns", "--conf", "Corefile")],
        ):
            with Program(command, environment, folder) as program:
                program.wait_for(version_lines()[1])
                reply = ask(port, "www.example.org")
                self.assertEqual(_shown(reply.answers[0]), "192.0.2.1")
                program.send(signal.SIGTERM)
                self.assertEqual(program.end()[0], 0)
        where = [sys.executable, "-S", "-c", "import kdns.cli; print(kdns.cli.__file__)"]
        found = subprocess.run(
            where, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=True
        )
        self.assertEqual(found.stdout.strip(), str(site / "kdns" / "cli" / "__init__.py"))


def _install(folder: Path) -> Path:
    """Build a wheel from a copy of the sources, and install it into a new folder below *folder*, without any network."""
    sources = folder / "sources"
    sources.mkdir(parents=True)
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, sources)
    for name in ("kdns", "twisted"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    offline = ["--no-deps", "--no-index"]
    commands = (
        [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(folder), str(sources)],
        [
            *pip,
            "install",
            *offline,
            "--no-compile",
            "--target",
            str(folder / "site"),
            "kdns",
            "--find-links",
            str(folder),
        ],
    )
    for command in commands:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode and "setuptools" in done.stderr:
            raise SkipTest(f"no setuptools to build with: {done.stderr.strip().splitlines()[-1]}")
        if done.returncode:
            raise AssertionError(done.stderr)
    return folder / "site"
