"""``kdns check``: its command line, its exit status, and what it prints."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.checking.coredns_support import ROWS
from kdns.cli.check import BAD_USAGE, FAULTY, FINE
from kdns.cli.main import COMMANDS
from kdns.server.assembly import read_text
from tests.checking.support import IN_A_CLUSTER, run
from tests.conformance.support import start_cases
from tests.test_docs import ENVIRONMENT, PAGES, ROOT, fences

GOOD = ".:53 {\n    whoami\n}\n"
WARNED = "a_b.test {\n    whoami\n}\n"
WORDS = sorted(
    {word for case in start_cases() for word in re.findall(r"\S+|\n", case.corefile)} | {"{$A}", '"', "import"}
)
"""Of the golden Corefiles."""

BAD = ".:53 {\n    whaomi\n}\n"


class CheckTests(SynchronousTestCase):
    """The command."""

    def test_known(self) -> None:
        """It is a command of kdns."""
        self.assertEqual(COMMANDS["check"], "kdns.cli.check")

    def test_status(self) -> None:
        """0 when nothing is wrong, 1 when something is, or with --strict when something surprises."""
        self.assertEqual(run("-", stdin=GOOD).status, FINE)
        self.assertEqual(run("stdin", stdin=BAD).status, FAULTY)
        self.assertEqual(run("-", stdin=WARNED).status, FINE)
        self.assertEqual(run("-", "--strict", stdin=WARNED).status, FAULTY)

    def test_usage(self) -> None:
        """2 with the usage for a command line that cannot be understood; help is asked for and no mistake."""
        for words in (["-x"], ["a", "b"], ["-p"], ["-p", "x"], ["--json=1"]):
            ended = run(*words)
            self.assertEqual((ended.status, ended.out), (BAD_USAGE, ""), words)
            self.assertIn("Usage of kdns check", ended.err)
        self.assertEqual(run("-h").status, FINE)

    def test_text(self) -> None:
        """File and line, what was wanted, what was found, the nearest word; and a line that sums up."""
        self.assertEqual(
            run("-", stdin=BAD).out,
            "stdin:2: fault: whaomi: Unknown directive 'whaomi'\n"
            "    wanted:     the name of a directive\n"
            "    found:      whaomi\n"
            "    suggestion: did you mean 'whoami'?\n"
            "stdin: 1 fault, no warnings\n",
        )

    def test_json(self) -> None:
        """A list of findings, empty when there is nothing to say."""
        self.assertEqual(json.loads(run("-", "--json", stdin=GOOD).out), [])
        [found] = json.loads(run("-", "--json", stdin=BAD).out)
        self.assertEqual(
            found,
            {
                "severity": "fault",
                "file": "stdin",
                "line": 2,
                "directive": "whaomi",
                "text": "Unknown directive 'whaomi'",
                "wanted": "the name of a directive",
                "found": "whaomi",
                "suggestion": "did you mean 'whoami'?",
            },
        )

    def test_order(self) -> None:
        """Faults stand before warnings, and warnings before notes, which text shows on request, and --quiet leaves out."""
        text = "a_b.test {\n errors\n whaomi\n}\n"
        kinds = [one["severity"] for one in json.loads(run("-", "--json", stdin=text).out)]
        self.assertEqual(kinds, ["fault", "warning", *["note"] * len(ROWS["errors"].differences)])
        self.assertEqual(run("-", "--notes", stdin=text).out.count("note:"), len(ROWS["errors"].differences))
        shown = run("-", stdin=text).out
        self.assertNotIn("note:", shown)
        self.assertIn(
            f"{len(ROWS['errors'].differences)} notes, such as differences from CoreDNS; --notes shows them", shown
        )
        self.assertNotIn("note", run("-", "--quiet", stdin=text).out)

    def test_stock(self) -> None:
        """The default Corefile of clusters has two lines."""
        text = (ROOT / "conf" / "cluster" / "Corefile").read_text(encoding="utf-8")
        text = text.replace("/etc/resolv.conf", "192.0.2.53")
        first, second = run("-", stdin=text).out.splitlines()
        self.assertEqual(first, "stdin: no faults, no warnings")
        self.assertRegex(second, r"^\d+ notes, such as differences from CoreDNS; --notes shows them$")

    def test_no_commands_for_terminals(self) -> None:
        """Words of a Corefile are shown with escapes; what --print prints into a file is left as it is."""
        text = '. {\n who\x1b[2J\n}\n"a\x1b]0;x\x07" {\n whoami\n}\n'
        for words in ([], ["--json"]):
            out = run("-", *words, stdin=text).out
            self.assertNotIn("\x1b", out)
            self.assertIn("x1b" if not words else "u001b", out)
        text = '"a\x1b.test" {\n whoami\n}\n'
        self.assertIn("\x1b", run("-", "--print", stdin=text).out)
        self.assertNotIn("\x1b", run("-", "--print", stdin=text).err)

    def test_port(self) -> None:
        """The port of keys without one, as for a start."""
        text = "a.test {\n whoami\n}\na.test:1053 {\n whoami\n}\n"
        self.assertEqual(run("-", stdin=text).status, FINE)
        for words in (["-dns.port", "1053"], ["-p=1053"], ["--p", "1053"]):
            ended = run("-", *words, stdin=text)
            self.assertIn("stdin:4: fault: cannot serve dns://a.test.:1053", ended.out)

    def test_nothing_said(self) -> None:
        """A file without a server block is warned of, and nothing is said of lines that it does not have."""
        ended = run("-", stdin="# nothing\n")
        self.assertEqual((ended.status, ended.out.count("warning"), ended.out.count("note:")), (FINE, 2, 0))
        self.assertIn("there is no server block", ended.out)

    def test_schemes(self) -> None:
        """A key that cannot be served is a fault of the key, with what to do."""
        [found] = json.loads(run("-", "--json", stdin="quic://a.test {\n whoami\n}\n").out)
        self.assertEqual((found["line"], found["directive"]), (1, ""))
        self.assertIn("add tls CERTIFICATE KEY", found["suggestion"])

    def test_missing(self) -> None:
        """A file that is not there is a fault, and so is no file at all where none is named."""
        self.assertIn("no-such: fault: open no-such: no such file", run("no-such").out)
        before = os.getcwd()
        folder = Path(self.mktemp())
        folder.mkdir()
        os.chdir(folder)
        self.addCleanup(os.chdir, before)
        self.assertEqual(run().status, FAULTY)
        Path("Corefile").write_text(GOOD)
        self.assertEqual(run().status, FINE)

    def test_may_be_missing(self) -> None:
        """A directive that kdns does not have is a warning for a server that may do without it; other faults stay."""
        corefile = ".:53 {\n    k8s_gateway a.test\n    nonsense\n    whoami\n}\n"
        for words, gateway, nonsense in (
            ((), "fault", "fault"),
            (("--allow-missing", "k8s_gateway"), "warning", "fault"),
            (("--allow-missing=k8s_gateway,nonsense",), "warning", "warning"),
            (("--lenient",), "warning", "warning"),
        ):
            ended = run("-", "--json", *words, stdin=corefile)
            found = {one["directive"]: one["severity"] for one in json.loads(ended.out)}
            self.assertEqual((found["k8s_gateway"], found["nonsense"]), (gateway, nonsense), words)
            self.assertEqual(ended.status, FAULTY if nonsense == "fault" else FINE, words)
        self.assertEqual(run("-", "--lenient", stdin=".:53 {\n    whoami x y z\n}\n").status, FAULTY)

    def test_print(self) -> None:
        """--print shows the whole configuration alone on standard output, the findings beside it; nothing of a faulty one."""
        ended = run("-", "--print", stdin=WARNED)
        self.assertEqual([block.key_texts for block in read_text(ended.out, {}).blocks], [("a_b.test.:53",)])
        self.assertIn("1 warning", ended.err)
        self.assertNotIn("{", run("-", "--print", stdin=BAD).out)

    def test_unprintable(self) -> None:
        """A value of the environment that no Corefile can hold is a fault of printing, and of nothing else."""
        text, environment = ". {\n hosts f{$VALUE}\n}\n", {"VALUE": "{$OTHER}"}
        ended = run("-", "--print", stdin=text, environment=environment)
        self.assertEqual((ended.status, ended.out), (FAULTY, ""))
        self.assertIn("cannot be printed", ended.err)
        self.assertEqual(run("-", stdin=text, environment=environment).status, FINE)

    @settings(deadline=None, derandomize=True, max_examples=150)
    @given(st.lists(st.sampled_from(WORDS), max_size=40), st.sampled_from(["--json", "--print", "--strict"]))
    def test_any_words(self, words: list[str], flag: str) -> None:
        """Whatever words a file holds, in whatever order, the check ends with a status and says why."""
        ended = run("-", flag, stdin=" ".join(words))
        self.assertIn(ended.status, (FINE, FAULTY))
        self.assertTrue(ended.out)


class OursTests(SynchronousTestCase):
    """The Corefiles that come with kdns."""

    def setUp(self) -> None:
        """Stand where relative paths of examples lead nowhere, with a resolv.conf of somebody else."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "resolv.conf").write_text("nameserver 192.0.2.53\n")

    def outcome(self, text: str, *words: str) -> tuple[int, str]:
        """Status and text of a check; whatever this machine's resolv.conf says stays out of it."""
        text = text.replace("/etc/resolv.conf", str(self.folder / "resolv.conf"))
        ended = run("-", "--quiet", *words, stdin=text, environment={**IN_A_CLUSTER, **ENVIRONMENT})
        return ended.status, ended.out

    def test_shipped(self) -> None:
        """Nothing is wrong with those in conf/, and nothing surprises where they are for."""
        found = sorted((*ROOT.glob("conf/**/Corefile"), *ROOT.glob("conf/**/configmap*.yaml")))
        self.assertGreater(len(found), 3)
        for file in found:
            status, out = self.outcome(file.read_text(), "--elsewhere")
            self.assertEqual((status, "fault" in out.replace("no faults", "")), (FINE, False), f"{file}\n{out}")
            self.assertEqual(self.outcome(file.read_text())[0], FINE, f"{file}\n{out}")

    def test_examples(self) -> None:
        """Nothing is wrong with those in the documents, on the machine that they are for."""
        pages = (*sorted(PAGES.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md")
        wrong = []
        compared = 0
        for page in pages:
            for line, _, text in fences(page, "corefile"):
                if page.name == "writing-a-plugin.md":
                    continue  # its plugin is installed by the test of that page
                compared += 1
                # One plugin of these pages stands beside its Corefile.
                status, out = self.outcome(text, "--elsewhere", "--allow-missing", "listed.directive")
                if status:
                    wrong.append(f"{page.name}:{line}: {out}")
        self.assertEqual(wrong, [], "\n".join(wrong))
        self.assertGreater(compared, 30)
