# -*- test-case-name: tests.test_release -*-
"""What a release is made of: its metadata, its license, its change log."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import kdns
from kdns.cli.flags import SWITCHES, TEXTS
from kdns.cli.main import COMMANDS
from kdns.corefile.order import DIRECTIVE_ORDER
from kdns.plugin.registry import BUILT_IN

ROOT = Path(__file__).parents[1]
COMPLETION = ROOT / "conf" / "completion"


class ReleaseTests(SynchronousTestCase):
    """Files for those who install it."""

    def test_metadata(self) -> None:
        """The version is that of the program; license and authors are named, and the license is there."""
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg", encoding="utf-8")
        metadata = setup["metadata"]
        self.assertEqual(metadata["version"], kdns.__version__)
        self.assertEqual((metadata["license"], metadata["author"]), ("MIT", "kdns contributors"))
        text = (ROOT / metadata["license_files"]).read_text(encoding="utf-8")
        self.assertTrue(text.startswith("MIT License\n"))
        self.assertIn("kdns contributors", text)
        addresses = [line.partition(" = ")[2] for line in metadata["project_urls"].split("\n") if line]
        self.assertEqual([address for address in addresses if not address.startswith(f"{metadata['url']}/")], [])
        for path in (address.partition("/blob/main/")[2] for address in addresses):
            self.assertTrue(not path or (ROOT / path).is_file(), path)
        self.assertIn(f"repo_url: {metadata['url']}\n", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def test_changelog(self) -> None:
        """Every fragment is of a kind that towncrier knows, and stands in the change log of the next release."""
        command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9", "--date", "2026-01-01"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        if "No module named towncrier" in ended.stderr:
            raise SkipTest("towncrier is not installed")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("## 9.9 (2026-01-01)\n", ended.stdout)
        shown = " ".join(ended.stdout.split())
        for fragment in (ROOT / "changelog.d").glob("*.md"):
            text = " ".join(fragment.read_text(encoding="utf-8").split())
            self.assertIn(text, shown, fragment.name)


class ManTests(SynchronousTestCase):
    """Man pages made of the documents."""

    def test_pages(self) -> None:
        """The three pages have the sections that are wanted of one, and everything that the documents say of flags and plugins."""
        try:
            from tools.man import pages
        except ImportError:
            raise SkipTest("markdown-it-py is not installed") from None
        made = pages()
        self.assertEqual(set(made), {"kdns.1", "Corefile.5", "kdns-plugins.7"})
        for name, text in made.items():
            title, _, number = name.partition(".")
            self.assertTrue(
                text.startswith(f'.TH "{title}" "{number}" "" "kdns {kdns.__version__}" "kdns"\n.SH NAME\n'), name
            )
            prose = re.sub(r"^\.nf$.*?^\.fi$", "", text, flags=re.MULTILINE | re.DOTALL)
            self.assertNotRegex(prose, r"\]\(|\*\*|`", name)
            strange = [line for line in text.split("\n") if re.match(r"[.']", line) and not REQUEST.match(line)]
            self.assertEqual(strange, [], name)
        for flag in (*TEXTS, *SWITCHES):
            self.assertIn(f"-{flag}".replace("-", "\\-"), made["kdns.1"], flag)
        for name in BUILT_IN:
            self.assertIn(f".SH\n{name.upper()}\n".replace("-", "\\-"), made["kdns-plugins.7"])

    def test_shown(self) -> None:
        """man shows them without a complaint."""
        try:
            from tools.man import write
        except ImportError:
            raise SkipTest("markdown-it-py is not installed") from None
        if shutil.which("groff") is None:
            raise SkipTest("groff is not on PATH")
        for path in write(Path(self.mktemp()).absolute()):
            command = ["groff", "-man", "-Tutf8", "-ww", "-K", "utf8", str(path)]
            ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((ended.returncode, ended.stderr), (0, ""), path)


REQUEST = re.compile(r"""\.(TH|SH|SS|PP|IP "" 3|IP \\\(bu 3|RS 4|RE|TP|nf|fi)\b|\.(SH|SS|PP|TP|RE|nf|fi)$|\.TH """)


class CompletionTests(SynchronousTestCase):
    """What shells complete: it is asked of kdns itself, so that it is never behind."""

    def program(self) -> Path:
        """The command, in a folder of its own."""
        program = Path(self.mktemp()).absolute() / "kdns"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m kdns "$@"\n')
        program.chmod(0o755)
        return program

    def printed(self, *command: str) -> set[str]:
        """The words that a shell prints."""
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        return set(ended.stdout.split())

    def words(self, *typed: str) -> set[str]:
        """What bash offers after these words."""
        program = self.program()
        line = (
            f"cd {program.parent}; source {COMPLETION / 'kdns'}; COMP_WORDS=({program} {' '.join(map(shlex.quote, typed))});"
            f"COMP_CWORD={len(typed)}; _kdns {program}; echo ${{COMPREPLY[@]}}"
        )
        return self.printed("bash", "-c", line)

    def test_first(self) -> None:
        """The first word is a command or a flag of the server."""
        flags = {f"-{name}" for name in (*TEXTS, *SWITCHES)}
        self.assertEqual({*COMMANDS, "help", "version", *flags} - self.words(""), set())
        self.assertEqual(self.words("st"), {"status"})

    def test_flags(self) -> None:
        """After a command come its flags and files, after a flag of the server the others."""
        self.assertEqual({"--notes", "--strict", "--print", "kdns"} - self.words("check", ""), set())
        self.assertEqual(self.words("explain", "--no"), {"--no-forward"})
        self.assertEqual({"list", "get", "flush", "--zone"} - self.words("cache", ""), set())
        self.assertEqual(self.words("-quiet", "-log"), {"-log.format"})

    def test_zsh(self) -> None:
        """zsh offers the same."""
        if shutil.which("zsh") is None:
            raise SkipTest("zsh is not on PATH")
        for typed, wanted in (
            (("",), {*COMMANDS, "-log.format"}),
            (("cache", "get", ""), {"--socket"}),
            (("-conf", ""), {"FILES"}),
        ):
            # What zsh itself provides to completion functions is given here in its place.
            line = (
                "compadd() { shift; print -l -- $@ }; _files() { print FILES };"
                f"words=({self.program()} {' '.join(map(shlex.quote, typed))}); CURRENT=$#words;"
                f"run() {{ source {COMPLETION / '_kdns'} }}; run"
            )
            self.assertEqual(wanted - self.printed("zsh", "-f", "-c", line), set(), typed)


class ReadmeTests(SynchronousTestCase):
    """What the README says of plugins."""

    def test_missing(self) -> None:
        """It says that only plugins of other builds of CoreDNS are missing: kdns has every directive, and the table lists them."""
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        self.assertIn("\n* Plugins of other builds of CoreDNS.", text)
        self.assertEqual([name for name in DIRECTIVE_ORDER if name not in BUILT_IN], [])
        self.assertEqual([name for name in DIRECTIVE_ORDER if f"[`{name}`](docs/plugins/{name}.md)" not in text], [])
