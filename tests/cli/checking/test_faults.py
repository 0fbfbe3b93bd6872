"""Everything that is wrong with a Corefile, the first of it what a start would end with."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from subprocess import run

from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.checking.faults import MOST, Read, look
from kdns.cli.checking.findings import Finding, Severity
from kdns.cli.checking.source import Source
from kdns.cli.checking.surprises import surprises
from kdns.corefile.errors import CorefileError
from kdns.plugin.seam import ServerContext
from kdns.server.assembly import assemble, read_text
from kdns.testing.memory import MemoryReactor
from tests.apiserver.credentials import Login, write_kubeconfig
from tests.cli.checking.support import faults
from tests.conformance.cases import deviations
from tests.conformance.support import StartCase, start_cases

PORT = "15353"

OF_THE_MACHINE = frozenset(("kubernetes-no-cluster", "forward-bad-to", "port-used-by-listener"))
"""Cases that the text does not decide: whether this is a pod, what a host name stands for, which addresses the machine has."""

_LINE = re.compile(r"^(?:plugin/\w+: )?\S+?:(\d+) - ")


class GoldenTests(SynchronousTestCase):
    """Every Corefile of ``corefile-errors.json``."""

    maxDiff = None

    def looked(self, case: StartCase) -> tuple[StartCase, Read, list[Finding], CorefileError | None]:
        """The case with its places filled in, what the check says, and what a start ends with before it opens sockets."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        kubeconfig = write_kubeconfig(folder / "kubeconfig", "http://127.0.0.1:6443", None, Login())
        case = case.filled(
            {"PORT": PORT, "DIR": str(folder), "KUBECONFIG": str(kubeconfig), "UPSTREAM": "127.0.0.1:53"}
        )
        case.write(folder)
        before = os.getcwd()
        os.chdir(folder)
        try:
            read = look(Source("Corefile", case.corefile), case.environment)
            found = list(read.findings)
            if read.configuration is not None:
                found += surprises(
                    read.configuration, Source("Corefile", case.corefile), case.environment, whole=read.first is None
                )
            ended = None
            try:
                context = ServerContext(MemoryReactor(), environ=case.environment, kernel_sockets=False)
                assemble(read_text(case.corefile, case.environment), context)
            except CorefileError as error:
                ended = error
        finally:
            os.chdir(before)
        return case, read, found, ended

    def test_errors(self) -> None:
        """Each fault is found and its line is known, also where CoreDNS does not say it; the first is what a start ends with."""
        wrong = []
        compared = 0
        for case in start_cases():
            deviation = deviations().get(("corefile-errors", case.name))
            if case.wanted.error is None and deviation is None:
                continue
            case, read, found, ended = self.looked(case)
            compared += 1
            serious = [one for one in found if one.severity is not Severity.NOTE and one.line]
            if case.name in OF_THE_MACHINE:
                serious = [one for one in serious if one.severity is Severity.WARNING]
            elif not serious or serious[0].severity is not Severity.FAULT or str(read.first) != str(ended):
                wrong.append(f"{case.name}: {ended} and not {read.first}, {found}")
                continue
            golden = _LINE.match(case.wanted.error or "")
            if not serious or (
                golden and ended is not None and str(ended) == case.wanted.error and serious[0].line != int(golden[1])
            ):
                wrong.append(f"{case.name}: no line, or not that of {case.wanted.error}: {found}")
        self.assertEqual(wrong, [], "\n".join(wrong))
        self.assertGreater(compared, 130)

    def test_accepted(self) -> None:
        """A Corefile that starts has no fault, unless a plugin is missing that CoreDNS has; that is said."""
        wrong = []
        for case in start_cases():
            if case.wanted.error is not None or ("corefile-errors", case.name) in deviations():
                continue
            case, read, found, ended = self.looked(case)
            serious = [one for one in found if one.severity is Severity.FAULT]
            if str(read.first) != str(ended) or bool(serious) != (ended is not None):
                wrong.append(f"{case.name}: {ended}, {serious}")
            if ended is not None and "does not have this plugin" not in str(ended):
                wrong.append(f"{case.name}: {ended}")
        self.assertEqual(wrong, [], "\n".join(wrong))

    def test_warned(self) -> None:
        """What a start warns of, the check warns of, with a line."""
        for case in start_cases():
            if case.wanted.error is None and case.wanted.warnings:
                case, _, found, _ = self.looked(case)
                serious = [one for one in found if one.severity is Severity.WARNING and one.line]
                self.assertTrue(serious, case.name)


class FaultTests(SynchronousTestCase):
    """What a finding says."""

    def test_several(self) -> None:
        """Unknown directives, missing ones, and the first fault of each directive are found in one go."""
        found = faults(
            ". {\n cach 30\n rewrite name a b\n forward . 127.0.0.1 {\n  expire 5\n }\n cache {\n  sucess 5\n }\n"
            " kubernetes {\n  upstream\n }\n}\na.test {\n proxy . 1.1.1.1\n errors log.txt\n whoami x\n}\na.test {\n whoami\n}\n"
        )
        self.assertEqual(
            [(one.line, one.directive, one.found) for one in found],
            [
                (2, "cach", "cach"),
                (15, "proxy", "proxy"),
                (3, "rewrite", "rewrite"),
                (16, "errors", "errors log.txt"),
                (8, "cache", "sucess 5"),
                (11, "kubernetes", "upstream"),
                (5, "forward", "expire 5"),
                (17, "whoami", "whoami x"),
                (19, "", "a.test {"),
            ],
        )
        self.assertEqual({one.severity for one in found}, {Severity.FAULT})

    def test_wanted_and_suggested(self) -> None:
        """A finding says what was wanted and the nearest known word, or what replaces a word of old."""
        found = {one.line: one for one in faults(
            ". {\n whaomi\n rewrite name a b\n cache {\n  sucess 5\n }\n kubernetes {\n  resyncperiod 5m\n }\n"
            " forward . 1.1.1.1 {\n  expire 5\n }\n federation x\n errors x.log\n}\n"
        )}  # fmt: skip
        self.assertEqual(found[2].suggestion, "did you mean 'whoami'?")
        self.assertIn("does not have this plugin of CoreDNS yet", found[3].text)
        self.assertIn("use hosts", found[3].suggestion)
        self.assertEqual(found[5].suggestion, "did you mean 'success'?")
        self.assertIn("serve_stale", found[5].wanted)
        self.assertIn("resynchronization", found[8].suggestion)
        self.assertEqual((found[11].wanted, found[11].found), ("expire DURATION", "expire 5"))
        self.assertIn("1.7.0", found[13].suggestion)
        self.assertIn("standard output", found[14].suggestion)

    def test_braces(self) -> None:
        """A brace that is missing is named; what cannot be read on from there ends the check."""
        [found] = faults(".:53 {\n whoami\n cache {\n  success 5\n }\n log\n")
        self.assertEqual((found.line, found.wanted, found.found), (6, "}", "log"))

    def test_imports(self) -> None:
        """A fault in an imported file is at its place there; imports that bring nothing do not end the check."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "part").write_text("errors\nlogg\n")
        text = ". {\n import part\n import gone\n whoami x\n}\n"
        found = look(Source(str(folder / "Corefile"), text), {}).findings
        self.assertEqual(
            [(one.file, one.line, one.found) for one in found],
            [
                (str(folder / "part"), 2, "logg"),
                (str(folder / "Corefile"), 3, "import gone"),
                (str(folder / "Corefile"), 4, "whoami x"),
            ],
        )

    def test_pod(self) -> None:
        """That this is no pod is a warning; a kubeconfig that is missing is a fault, and elsewhere a warning."""
        [found] = faults(".:53 {\n kubernetes cluster.local\n whoami\n}\n")
        self.assertEqual((found.severity, found.line), (Severity.WARNING, 2))
        self.assertIn("a start would end with: unable to load in-cluster configuration", found.text)
        self.assertEqual(faults(".:53 {\n kubernetes cluster.local\n whoami\n}\n", elsewhere=True), [])
        named = ".:53 {\n kubernetes cluster.local {\n  kubeconfig gone\n }\n}\n"
        [found] = faults(named)
        self.assertEqual((found.severity, found.line), (Severity.FAULT, 2))
        [found] = faults(named, elsewhere=True)
        self.assertEqual(found.severity, Severity.WARNING)

    def test_logged(self) -> None:
        """What plugins would log at the start is a warning at the line that it is about."""
        [found] = faults("a.test {\n hosts /etc/hosts\n}\n. {\n hosts /no/such/file\n whoami\n}\n")
        self.assertEqual((found.severity, found.line, found.directive), (Severity.WARNING, 5, "hosts"))

    def test_bound(self) -> None:
        """There is an end to what is listed."""
        lines = "\n".join(f" bogus{number}" for number in range(2 * MOST))
        self.assertEqual(len(faults(f". {{\n{lines}\n}}\n")), MOST)

    def test_nothing_is_started(self) -> None:
        """A check opens no socket, starts no thread and no program, and no reactor is there when it is over."""
        program = (
            "import sys, threading\n"
            "met = []\n"
            "sys.addaudithook(lambda event, _: met.append(event) if event in "
            "('socket.__new__', 'socket.connect', 'socket.bind', 'subprocess.Popen', 'os.fork') else None)\n"
            "from kdns.cli.check import main\n"
            "status = main(['conf/node-local/Corefile', '--quiet'])\n"
            "print(status, 'twisted.internet.reactor' in sys.modules, threading.active_count(), met)\n"
        )
        root = Path(__file__).parents[3]
        ended = run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(ended.stdout.splitlines()[-1:], ["0 False 1 []"], ended.stderr)
