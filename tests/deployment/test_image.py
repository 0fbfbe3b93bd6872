# -*- test-case-name: tests.deployment.test_image -*-
"""
The image, without an engine that could build it: its root is laid out from what this machine has, and run as a runtime would run it.

What is not tried here is the engine's own part: that ``COPY`` keeps the capability, and that the packages have wheels for its Python.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from urllib.request import urlopen

from twisted.names import dns
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.deployment.roots import CONTAINER, image, tree
from tests.integration.programs import ROOT, Program, ask

ADDRESS = "127.53.53.53"
"""An address of loopback that nothing else uses, so that port 53 on it is free."""

COREFILE = f"""\
.:53 {{
    bind {ADDRESS}
    errors
    health {ADDRESS}:8080
    ready {ADDRESS}:8181
    prometheus {ADDRESS}:9153
    hosts /dev/null {{
        192.0.2.1 www.example.org
    }}
}}
"""


class ImageCase(SynchronousTestCase):
    """A root file system, and a Corefile beside it."""

    def setUp(self) -> None:
        """Make them; the root is made once for all tests."""
        self.root = image()
        self.config = Path(self.mktemp()).absolute()
        self.config.mkdir()
        (self.config / "Corefile").write_text(COREFILE)

    def command(self, *words: str) -> list[str]:
        """Run these in the container."""
        return [CONTAINER, str(self.root), f"{self.config}:/etc/coredns", *words]

    def outcome(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """What came of a program that ends by itself."""
        command = [sys.executable, *self.command(*words)]
        found = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=60, check=False
        )
        if "unshare: Operation not permitted" in found.stderr:
            raise SkipTest("no new mount namespace may be made here")
        return found


DEBIAN = "/usr/bin/python3"
"""An interpreter that keeps its packages in ``dist-packages``, where this machine has one."""


class BaseTests(ImageCase):
    """Interpreters that the image can be built from."""

    def test_dist_packages(self) -> None:
        """One of Debian's, which keeps packages in dist-packages."""
        about = "import sys; print(*sys.version_info[:2], any('dist-packages' in path for path in sys.path))"
        here = "{} {}".format(*sys.version_info[:2])
        try:
            found = subprocess.run([DEBIAN, "-c", about], capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            raise SkipTest(f"no {DEBIAN}") from None
        if found != f"{here} True":
            raise SkipTest(f"{DEBIAN} is not Debian's Python {here}, for which the packages of this environment are")
        self.root = image(DEBIAN)
        ended = self.outcome("/kdns/bin/kdns", "-version")
        self.assertEqual((ended.returncode, ended.stdout.split("-")[0]), (0, "kdns"), ended.stderr)
        self.assertTrue(list(self.root.glob("kdns/lib/python3.*/dist-packages/twisted")))

    def test_no_base(self) -> None:
        """What is no fitting interpreter is told in one line, without a traceback."""
        error = self.assertRaises(SystemExit, tree().packages_folder, Path("/bin/false"), Path("/lib"))
        self.assertIn("python:3.13-slim", str(error))
        self.assertNotIn("\n", str(error))


def extras() -> list[str]:
    """What the optional parts of kdns need, by the names that are imported."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = [
        line
        for extra, text in setup["options.extras_require"].items()
        if extra not in ("dev", "docs")
        for line in text.split("\n")
    ]
    return sorted(line.split()[0] for line in lines if line and not line.startswith("#"))


class RunTests(ImageCase):
    """kdns in its image."""

    def test_serves(self) -> None:
        """
        With nothing writable and no right but one, it serves port 53 over UDP and TCP, liveness, readiness and metrics, and ends with 0.

        It complains of nothing: a Twisted that cannot write its list of plugins, say, would.
        """
        self.outcome("/kdns/bin/kdns", "-version")  # skips where there are no namespaces
        with Program(self.command("/kdns/bin/kdns", "-conf", "/etc/coredns/Corefile")) as program:
            program.wait_for("python")
            for tcp in (False, True):
                (answer,) = ask(53, "www.example.org", tcp=tcp, address=ADDRESS).answers
                self.assertEqual(answer.payload, dns.Record_A("192.0.2.1", ttl=answer.ttl))
            for page, text in (
                (":8080/health", b"OK"),
                (":8181/ready", b"OK"),
                (":9153/metrics", b"process_open_fds "),
            ):
                with urlopen(f"http://{ADDRESS}{page}", timeout=10) as reply:
                    self.assertIn(text, reply.read())
            status = Path(f"/proc/{program.process.pid}/status").read_text()
            fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
            self.assertEqual(fields["Uid"].split(), ["65532"] * 4)
            self.assertEqual([int(fields[f"Cap{kind}"], 16) for kind in ("Prm", "Eff", "Bnd")], [1 << 10] * 3)
            self.assertEqual((int(fields["CapInh"], 16), fields["NoNewPrivs"]), (0, "1"))
            program.send(signal.SIGTERM)
            code, _, errors = program.end()
        self.assertEqual((code, errors), (0, ""))

    def test_without_the_capability(self) -> None:
        """In a pod that is not given NET_BIND_SERVICE nothing starts, which docs/operations.md explains."""
        found = self.outcome("/kdns/bin/kdns", "-version", GRANT="nothing")
        self.assertIn("Operation not permitted: '/kdns/bin/kdns'", found.stderr)

    def test_capability_lost(self) -> None:
        """An image that lost its capability on the way says that it may not have the port, and ends with 1."""
        if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 53:
            raise SkipTest("everybody may have port 53 here")
        python = self.root / "kdns" / "bin" / "python"
        capability = os.getxattr(python, "security.capability")
        os.removexattr(python, "security.capability")
        self.addCleanup(os.setxattr, python, "security.capability", capability)
        found = self.outcome("/kdns/bin/kdns", "-conf", "/etc/coredns/Corefile")
        self.assertEqual(found.returncode, 1)
        self.assertIn(f"Listen: listen tcp {ADDRESS}:53: bind: permission denied", found.stderr)

    def test_twistd(self) -> None:
        """Twisted finds kdns among its plugins, and has nothing to write."""
        listing = (
            "from twisted.plugin import getPlugins as g; from twisted.application.service import IServiceMaker as I"
        )
        found = self.outcome("/kdns/bin/python", "-IB", "-c", f"{listing}; print([p.tapname for p in g(I)])")
        self.assertEqual((found.returncode, found.stderr), (0, ""))
        self.assertIn("'kdns'", found.stdout)

    def test_everything_imports(self) -> None:
        """Every module of kdns is imported by the image's own interpreter, except those that need an extra which it does not have."""
        program = (
            "import importlib, pkgutil, kdns\n"
            "for module in pkgutil.walk_packages(kdns.__path__, 'kdns.'):\n"
            "    if not module.name.endswith('__main__'):\n"
            "        try:\n"
            "            importlib.import_module(module.name)\n"
            "        except ModuleNotFoundError as error:\n"
            f"            if error.name.partition('.')[0] not in {extras()!r}:\n"
            "                raise\n"
            "import ssl, ctypes, twisted.internet.ssl, cryptography.hazmat.bindings._rust\n"
        )
        found = self.outcome("/kdns/bin/python", "-IB", "-c", program)
        self.assertEqual((found.returncode, found.stderr), (0, ""))

    def test_small(self) -> None:
        """There is no shell, no pip and no compiler in it, and nothing that 65532 could write."""
        names = {path.name for path in self.root.rglob("*")}
        self.assertEqual(names & {"sh", "bash", "busybox", "pip", "ensurepip", "gcc", "cc", "ld", "apt"}, set())
        self.assertEqual(list(self.root.glob("kdns/lib/*/site-packages/kubernetes")), [])
        self.assertEqual(sorted(path.name for path in (self.root / "kdns" / "bin").iterdir()), ["kdns", "python"])
        loose = [path for path in self.root.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o002]
        self.assertEqual(loose, [])

    def test_compiled(self) -> None:
        """All modules of kdns are compiled, and of the byte code nobody asks how old it is."""
        (package,) = self.root.glob("kdns/lib/python3*/site-packages/kdns")
        for module in package.rglob("*.py"):
            (compiled,) = (module.parent / "__pycache__").glob(f"{module.stem}.cpython-*.pyc")
            self.assertEqual(compiled.read_bytes()[4:8], b"\x01\x00\x00\x00")  # PEP 552: by a hash, unchecked


class NodeCacheTests(SynchronousTestCase):
    """What the image of node-cache has besides."""

    def test_programs(self) -> None:
        """Its programs change packet rules in a network of their own, with the extensions that they load."""
        programs = tree().PROGRAMS["node-cache"]
        if os.geteuid() or not all(Path(program).exists() for program in programs):
            raise SkipTest("only root can change the root, and iptables and nftables must be installed")
        root = Path(self.mktemp()).absolute()
        (root / "etc").mkdir(parents=True)
        tree().copy_programs(root, programs)
        tree().copy_libraries(root)
        rule = ("-I", "PREROUTING", "-t", "raw", "-p", "udp", "-m", "socket", "-j", "NOTRACK")
        for command in (
            ("/usr/sbin/iptables", *rule, "-m", "comment", "--comment", "x"),
            ("/usr/sbin/ip6tables-nft", *rule),
            ("/usr/sbin/iptables-legacy", "--version"),
            ("/usr/sbin/nft", "-j", "list", "tables"),
        ):
            words = ["unshare", "--net", "chroot", str(root), *command]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if "unshare failed" in done.stderr:
                raise SkipTest("no new network may be made here")
            self.assertEqual(done.returncode, 0, f"{command}: {done.stderr}")

    def test_packages(self) -> None:
        """Packages of the extra go in when it is named, and not otherwise."""
        site = Path(self.mktemp()).absolute()
        requires = 'Requires-Dist: one\nRequires-Dist: two >= 0.9; extra == "node-cache"\n'
        for name, more in (
            ("kdns", requires),
            ("one", 'Requires-Dist: three; extra == "node-cache"\n'),
            ("two", ""),
            ("three", ""),
        ):
            about = site / f"{name}-1.dist-info"
            about.mkdir(parents=True)
            (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{more}")
            (about / "RECORD").write_text(f"{name}.py,,\n")
            (site / f"{name}.py").write_text("")
        for extra, wanted in (("", ["kdns.py", "one.py"]), ("node-cache", ["kdns.py", "one.py", "two.py"])):
            target = Path(self.mktemp()).absolute()
            tree().copy_packages(site, target, extra)
            self.assertEqual(sorted(path.name for path in target.iterdir()), wanted)


class ContainerfileTests(SynchronousTestCase):
    """The text that engines read."""

    def setUp(self) -> None:
        """Read it, continued lines joined and comments left out."""
        text = (ROOT / "Containerfile").read_text(encoding="utf-8")
        lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
        self.steps = [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]
        self.last = self.steps[max(number for number, (word, _) in enumerate(self.steps) if word == "FROM") :]

    def test_last_stage(self) -> None:
        """What is shipped begins empty, takes the tree, and runs nothing while it is built; its user is a number."""
        found = dict(self.last)
        self.assertEqual(found["FROM"], "scratch")
        self.assertEqual(found["COPY"], "--from=build /image /")
        self.assertNotIn("RUN", found)
        self.assertEqual((found["USER"], found["WORKDIR"]), ("65532:65532", "/"))
        self.assertEqual(found["ENTRYPOINT"], '["/kdns/bin/kdns"]')

    def test_sources(self) -> None:
        """Everything that is copied from the checkout is there, and .dockerignore lets it through."""
        let_through = (ROOT / ".dockerignore").read_text(encoding="utf-8")
        for word, rest in self.steps:
            if word == "COPY" and not rest.startswith("--from"):
                for source in rest.split()[:-1]:
                    self.assertTrue((ROOT / source).exists(), source)
                    self.assertTrue(
                        any(f"!{part}\n" in let_through for part in (source, *map(str, Path(source).parents)))
                    )

    def test_python(self) -> None:
        """The Python of the image is one that kdns says it runs on."""
        (version,) = re.findall(r"python:(3\.\d+)-slim", (ROOT / "Containerfile").read_text(encoding="utf-8"))
        self.assertIn(f"Python :: {version}\n", (ROOT / "setup.cfg").read_text(encoding="utf-8"))
