"""Everything that is wrong with a Corefile, the first of it what a start would end with."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from subprocess import run

from twisted.trial.unittest import SynchronousTestCase

from kdns.checking.faults import MAX_FAULTS, MAX_OF_DIRECTIVE, MAX_OF_START, Read, look, why_no_start
from kdns.checking.findings import Finding, Severity
from kdns.checking.rules import find_surprises
from kdns.checking.source import Source
from kdns.corefile.errors import CorefileError
from kdns.corefile.guesses import OBSOLETE, OBSOLETE_OPTIONS
from kdns.plugin.seam import ServerContext
from kdns.server.assembly import assemble, read_text
from kdns.testing.memory import MemoryReactor
from tests.apiserver.credentials import Login, write_kubeconfig
from tests.checking.support import faults
from tests.conformance.cases import deviations
from tests.conformance.support import StartCase, start_cases
from tests.support import lack

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
                found += find_surprises(
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
            error = case.wanted.error if deviation is None else deviation.kdns["error"]
            if error is None:
                continue
            case, read, found, ended = self.looked(case)
            compared += 1
            serious = [one for one in found if one.severity is not Severity.NOTE and one.line]
            if case.name in OF_THE_MACHINE:
                serious = [one for one in found if one.severity is not Severity.FAULT and one.line]
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
            deviation = deviations().get(("corefile-errors", case.name))
            if (case.wanted.error if deviation is None else deviation.kdns["error"]) is not None:
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
        lack(self, "sign")
        found = faults(
            ". {\n cach 30\n sign a.test\n forward . 127.0.0.1 {\n  expire 5\n }\n cache {\n  sucess 5\n }\n"
            " kubernetes {\n  upstream\n }\n}\na.test {\n proxy . 1.1.1.1\n errors log.txt\n whoami x\n}\na.test {\n whoami\n}\n"
        )
        self.assertEqual(
            [(one.line, one.directive, one.found) for one in found],
            [
                (2, "cach", "cach"),
                (15, "proxy", "proxy"),
                (3, "sign", "sign"),
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
        lack(self, "sign")
        found = {one.line: one for one in faults(
            ". {\n whaomi\n sign a.test\n cache {\n  sucess 5\n }\n kubernetes {\n  resyncperiod 5m\n }\n"
            " forward . 1.1.1.1 {\n  expire 5\n }\n federation x\n errors x.log\n}\n"
        )}  # fmt: skip
        self.assertEqual(found[2].suggestion, "did you mean 'whoami'?")
        self.assertIn("does not have this plugin of CoreDNS yet", found[3].text)
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
        """That this is no pod is a note; a kubeconfig that is missing is a fault, and elsewhere a warning."""
        [found] = faults(".:53 {\n kubernetes cluster.local\n whoami\n}\n")
        self.assertEqual((found.severity, found.line), (Severity.NOTE, 2))
        self.assertIn("a start would end with: unable to load in-cluster configuration", found.text)
        self.assertEqual(faults(".:53 {\n kubernetes cluster.local\n whoami\n}\n", elsewhere=True), [])
        named = ".:53 {\n kubernetes cluster.local {\n  kubeconfig gone\n }\n}\n"
        [found] = faults(named)
        self.assertEqual((found.severity, found.line), (Severity.FAULT, 2))
        [found] = faults(named, elsewhere=True)
        self.assertEqual(found.severity, Severity.WARNING)

    def test_elsewhere(self) -> None:
        """A file that is imported by name may be there on the machine that it is for."""
        corefile = ".:53 {\n import more.conf\n whoami\n}\n"
        self.assertEqual([one.severity for one in faults(corefile)], [Severity.FAULT])
        self.assertEqual(
            [(one.severity, one.line) for one in faults(corefile, elsewhere=True)], [(Severity.WARNING, 2)]
        )

    def test_view(self) -> None:
        """Blocks that a view tells apart are not there twice; without it they are."""
        corefile = "a.test {\n view x {\n  expr true\n }\n whoami\n}\na.test {\n whoami\n}\n"
        self.assertEqual(faults(corefile), [])
        self.assertIn("already defined", faults(corefile.replace("view x", "cache"))[-1].text)
        for wrong in ("vew x", "view"):  # another fault of the block, whose mending tells
            self.assertEqual(len(faults(corefile.replace("view x", wrong))), 1, wrong)

    def test_unset(self) -> None:
        """A fault in a line with a variable that is not set says so."""
        [found] = faults("a.test:{$PORT} {\n whoami\n}\n")
        self.assertIn("set PORT", found.suggestion)

    def test_external(self) -> None:
        """A plugin of another build of CoreDNS is named as one."""
        [found] = faults(". {\n k8s_gateway a.test\n whoami\n}\n")
        self.assertIn("external plugin of CoreDNS", found.suggestion)

    def test_logged(self) -> None:
        """What plugins would log at the start is a warning at the line that it is about."""
        [found] = faults("a.test {\n hosts /etc/hosts\n}\n. {\n hosts /no/such/file\n whoami\n}\n")
        self.assertEqual((found.severity, found.line, found.directive), (Severity.WARNING, 5, "hosts"))
        both = faults("a.test {\n hosts /no/such/file\n}\n. {\n hosts /no/such/file\n whoami\n}\n")
        self.assertEqual([found.line for found in both], [2, 5])

    def test_bound(self) -> None:
        """There is an end to what is listed."""
        lines = "\n".join(f" bogus{number}" for number in range(2 * MAX_FAULTS))
        self.assertEqual(len(faults(f". {{\n{lines}\n}}\n")), MAX_FAULTS)

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
        root = Path(__file__).parents[2]
        ended = run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(ended.stdout.splitlines()[-1:], ["0 False 1 []"], ended.stderr)


class FurtherTests(SynchronousTestCase):
    """Faults behind the first of a directive."""

    def lines(self, corefile: str) -> list[tuple[int, str]]:
        """Line and directive of each fault."""
        return [(one.line, one.directive) for one in faults(corefile)]

    def test_options(self) -> None:
        """Each option at fault is told, behind the first of its directive; those between that are right are not."""
        text = (
            ". {\n forward . 192.0.2.9 {\n  policy best\n  expire 5s\n  health_chek 5s\n  max_fails x\n }\n"
            " forward a.test 192.0.2.9 {\n  expire 5\n }\n cache {\n  sucess 5\n }\n}\n"
        )
        wanted = [(12, "cache"), (3, "forward"), (5, "forward"), (6, "forward"), (9, "forward")]
        self.assertEqual(self.lines(text), wanted)

    def test_what_follows_from_another(self) -> None:
        """A fault that is there only because a line was left out is not told, and neither is one behind a head at fault."""
        self.assertEqual(
            self.lines(". {\n cache {\n  serve_stale x\n  serve_stale_policy prefer_positive\n }\n whoami\n}\n"),
            [(3, "cache")],
        )
        self.assertEqual(self.lines(". {\n cache 0 {\n  sucess 1\n }\n whoami\n}\n"), [(2, "cache")])

    def test_blocks(self) -> None:
        """Faults of the same directive in other blocks are their own."""
        text = "a.test {\n cache {\n  a\n  b\n }\n whoami\n}\nb.test {\n cache {\n  c\n }\n whoami\n}\n"
        self.assertEqual(self.lines(text), [(3, "cache"), (4, "cache"), (10, "cache")])

    def test_bound(self) -> None:
        """There is an end to it."""
        lines = "\n".join(f"  bogus{number}" for number in range(3 * MAX_OF_DIRECTIVE))
        self.assertEqual(len(self.lines(f". {{\n cache {{\n{lines}\n }}\n}}\n")), MAX_OF_DIRECTIVE + 1)


HEADS = {"kubernetes": "kubernetes cluster.local", "forward": "forward . 192.0.2.9"}


class ObsoleteTests(SynchronousTestCase):
    """Each word in a Corefile."""

    def test_directives(self) -> None:
        """A directive of old is a fault with the word that came after it."""
        for name, text in OBSOLETE.items():
            [found] = faults(f".:53 {{\n {name} . 192.0.2.9 {{\n  policy random\n }}\n}}\n")
            self.assertEqual((found.severity, found.line, found.suggestion), (Severity.FAULT, 2, text))

    def test_options(self) -> None:
        """So is an option of old."""
        for (name, option), text in OBSOLETE_OPTIONS.items():
            [found] = faults(f".:53 {{\n {HEADS[name]} {{\n  {option} x\n }}\n}}\n")
            self.assertEqual((found.severity, found.line, found.directive), (Severity.FAULT, 3, name))
            self.assertEqual(found.suggestion, text)


class StartTests(SynchronousTestCase):
    """What a start prints."""

    def lines(self, text: str) -> list[str]:
        """For the Corefile that ends it."""
        context = ServerContext(MemoryReactor(), environ={}, kernel_sockets=False)
        error = self.assertRaises(CorefileError, lambda: assemble(read_text(text, {}), context))
        return why_no_start(error, None, {}, text=text)

    def test_all_faults(self) -> None:
        """The error in CoreDNS's words, what is wanted and found there, and the other faults."""
        self.assertEqual(
            self.lines(".:53 {\n cache {\n  sucess\n }\n forward . 192.0.2.9 {\n  expire 5\n }\n}\n")[:4],
            [
                "plugin/cache: Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'sucess'",
                "    wanted:     one of: success, denial, prefetch, serve_stale, serve_stale_policy, servfail, disable, keepttl, size",
                "    found:      sucess",
                "    suggestion: did you mean 'success'?",
            ],
        )
        text = ".:53 {\n whaomi\n proxy . 192.0.2.9\n}\n"
        lines = self.lines(text)
        self.assertEqual(
            lines[0], "Corefile:2 - Error during parsing: Unknown directive 'whaomi' (did you mean 'whoami'?)"
        )
        self.assertIn("Corefile:3: fault: proxy: Unknown directive 'proxy'", lines)

    def test_bound(self) -> None:
        """Of many faults the first are printed."""
        lines = self.lines(". {\n" + "".join(f" bogus{number}\n" for number in range(50)) + "}\n")
        self.assertEqual(sum(": fault: " in line for line in lines), MAX_OF_START)
        self.assertEqual(lines[-1], f"and {49 - MAX_OF_START} more: kdns check Corefile")

    def test_unreadable(self) -> None:
        """A Corefile that cannot be read is one line; one that can be read is read again."""
        error = CorefileError("loading Corefile via flag: open x: no such file or directory")
        self.assertEqual(why_no_start(error, "no-such-file", {}), [str(error)])
        Path("Corefile-at-fault").write_text(". {\n whaomi\n cach\n}\n")
        self.addCleanup(Path("Corefile-at-fault").unlink)
        self.assertIn(
            "Corefile-at-fault:3: fault: cach: Unknown directive 'cach'", why_no_start(error, "Corefile-at-fault", {})
        )
