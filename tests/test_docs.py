# -*- test-case-name: tests.test_docs -*-
"""What the documents say is run: Corefiles load, programs print what stands under them, every plugin has its page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.kubeconfig import find_credentials
from kdns.plugin.registry import BUILT_IN
from kdns.plugin.seam import ServerContext
from kdns.plugins.kubernetes import cluster
from kdns.server.assembly import Configuration, assemble, read_text
from kdns.testing.certificates import Authority
from kdns.testing.memory import MemoryReactor
from kdns.testing.plugin import PluginBench
from tests.databases import DATABASES

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "plugins"

SECTIONS = ("Name", "Description", "Syntax", "Metrics", "Ready", "Examples")
"""What the page of a plugin has, in this order; it may have more."""

ENVIRONMENT = {
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
    "PORT": "1053",
    "HEALTH_PORT": "8080",
    "READY_PORT": "8181",
    "METRICS_PORT": "9153",
    "DEMO": str(ROOT / "conf" / "demo"),
}
"""As in a pod, and as the demo sets it."""

_FENCE = re.compile(r"^``` ?(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def fences(page: Path, *languages: str) -> Iterator[tuple[int, str, str]]:
    """The fenced texts of a page in these languages, each with the line it begins in and its language."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if found[1] in languages:
            yield text.count("\n", 0, found.start()) + 2, found[1], found[2]


def run(program: str, *, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program as a reader would, from the folder of the checkout."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in (path, str(ROOT)) if part)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)


class CorefileTests(SynchronousTestCase):
    """Corefiles are read and all their plugins built; nothing is started."""

    def setUp(self) -> None:
        """Stand in a folder with what examples name, as if in a pod."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        account = self.folder / "account"
        account.mkdir()
        (account / "token").write_text("token")
        (account / "ca.crt").write_bytes(Authority().certificate_pem)
        (self.folder / "resolv.conf").write_text("nameserver 192.0.2.53\n")
        authority = Authority()
        server = authority.server("dns.example.org")
        pems = {"cert": server.certificate_pem, "key": server.key_pem, "ca": authority.certificate_pem}
        for name, pem in pems.items():
            (self.folder / f"{name}.pem").write_bytes(pem)
        for name, database in DATABASES.items():
            (self.folder / name).write_bytes(database())
        self.patch(cluster, "find_credentials", partial(find_credentials, service_account=str(account)))

    def load(self, corefile: str | Path) -> Configuration:
        """Assemble a text or a file; whatever this machine's resolv.conf says stays out of it."""
        text = corefile.read_text(encoding="utf-8") if isinstance(corefile, Path) else corefile
        text = text.replace("/etc/resolv.conf", str(self.folder / "resolv.conf"))
        text = re.sub(
            r"\b(?:(?:cert|key|ca)\.pem|(?:city|asn)\.mmdb)\b",
            lambda found: str(self.folder.absolute() / found[0]),
            text,
        )
        context = ServerContext(MemoryReactor(), environ=ENVIRONMENT, kernel_sockets=False, programs=True)
        return assemble(read_text(text, ENVIRONMENT), context)

    def test_examples(self) -> None:
        """Each example on a plugin's page and in the README is a Corefile that kdns takes."""
        wrong = []
        for page in (*sorted(PAGES.glob("*.md")), ROOT / "README.md", ROOT / "docs" / "operations.md"):
            for line, _, text in fences(page, "corefile"):
                try:
                    self.load(text)
                except Exception as error:
                    wrong.append(f"{page.relative_to(ROOT)}:{line}: {error}")
        self.assertEqual(wrong, [])

    def test_shipped(self) -> None:
        """The Corefiles in conf/ are taken, with the listeners that their comments promise."""
        wanted = {
            "cluster": [".:53"],
            "demo": [".:1053 on 127.0.0.1", ".:1053 on 127.0.0.2"],
            "node-local": [
                f"{zone}:53 on {address}"
                for zone in ("cluster.local.", "in-addr.arpa.", "ip6.arpa.", ".")
                for address in ("169.254.20.10", "10.96.0.10")
            ],
        }
        found = {file.parent.name: file for file in ROOT.glob("conf/*/Corefile")}
        self.assertEqual(sorted(found), sorted(wanted))
        for name, file in found.items():
            self.assertEqual(self.load(file).announcements, wanted[name])

    def test_examples_of_every_page(self) -> None:
        """Every page of a plugin has an example that uses it."""
        for name in BUILT_IN:
            page = PAGES / f"{name}.md"
            used = [text for _, _, text in fences(page, "corefile") if re.search(rf"^\s*{name}\b", text, re.MULTILINE)]
            self.assertTrue(used, f"no example in {page}")


class PageTests(SynchronousTestCase):
    """The pages of plugins."""

    def test_sections(self) -> None:
        """Each plugin that kdns has has a page, with its sections in their order."""
        for name in BUILT_IN:
            text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
            headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
            self.assertEqual([heading for heading in headings if heading in SECTIONS], list(SECTIONS), name)

    def test_no_page_of_nothing(self) -> None:
        """No page describes a plugin that there is not."""
        self.assertEqual({page.stem for page in PAGES.glob("*.md")} - set(BUILT_IN), set())

    def test_readme_table(self) -> None:
        """The README's table names every plugin, and each name leads to its page."""
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        linked = set(re.findall(r"\[`(\w+)`\]\(docs/plugins/(\w+)\.md\)", text))
        self.assertEqual(linked, {(name, name) for name in BUILT_IN})

    def test_links(self) -> None:
        """Links from one document to a file of the project lead somewhere."""
        broken = []
        pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("conf/**/*.md")]
        for page in pages:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
                if not (page.parent / target).exists():
                    broken.append(f"{page.relative_to(ROOT)}: {target}")
        self.assertEqual(broken, [])


class EmbeddingTests(SynchronousTestCase):
    """The programs of docs/embedding.md."""

    def test_programs(self) -> None:
        """Each program ends well and prints what stands under it."""
        found = list(fences(ROOT / "docs" / "embedding.md", "python", "text"))
        self.assertEqual([language for _, language, _ in found], ["python", "text"] * 5)
        for (line, _, program), (_, _, wanted) in zip(found[::2], found[1::2], strict=True):
            ended = run(program)
            self.assertEqual((ended.stdout, ended.stderr, ended.returncode), (wanted, "", 0), f"program at line {line}")


class PluginTests(SynchronousTestCase):
    """The plugin of docs/writing-a-plugin.md, word for word."""

    def setUp(self) -> None:
        """Put the page's module where Python finds it, offered by a package as its page says."""
        page = ROOT / "docs" / "writing-a-plugin.md"
        self.texts = {language: text for _, language, text in reversed(list(fences(page, "python", "corefile", "ini")))}
        self.folder = Path(self.mktemp()).absolute()
        offered = self.folder / "sinkhole-1.0.dist-info"
        offered.mkdir(parents=True)
        (self.folder / "sinkhole.py").write_text(self.texts["python"])
        (offered / "METADATA").write_text("Metadata-Version: 2.1\nName: sinkhole\nVersion: 1.0\n")
        name, _, target = self.texts["ini"].partition("kdns.plugins =")[2].strip().partition(" = ")
        (offered / "entry_points.txt").write_text(f"[kdns.plugins]\n{name} = {target}\n")
        sys.path.insert(0, str(self.folder))
        self.addCleanup(sys.path.remove, str(self.folder))
        self.addCleanup(sys.modules.pop, "sinkhole", None)

    def test_twenty_lines(self) -> None:
        """It is as short as the page says."""
        lines = [line for line in self.texts["python"].splitlines() if line.strip()]
        self.assertLessEqual(len(lines), 20)

    def test_other_examples(self) -> None:
        """The access list and the tests of the page run as they stand there."""
        page = ROOT / "docs" / "writing-a-plugin.md"
        _, refuse, explain, tests = (text for _, _, text in fences(page, "python"))
        modules: dict[str, Any] = {}
        exec(refuse, modules)
        bench = PluginBench(modules["directive"], "refuse 10.0.0.0/8")
        self.assertEqual([bench.ask("a.test", client=client).rcode for client in ("10.0.0.1", "192.0.2.1")], [5, 0])
        bench.check_repeats(["a.test"], clients=["10.0.0.1", "192.0.2.1"])
        self.assertIn("missing=True", explain)
        exec(tests, {})

    def test_typed(self) -> None:
        """It follows the seam: its directive is one, to the type checker too."""
        from mypy import api

        module = self.folder / "sinkhole.py"
        check = "\nfrom kdns.plugin.seam import Directive\n\n_: Directive = directive\n"
        module.write_text(self.texts["python"] + check)
        cache = str(ROOT / ".mypy_cache")
        out, _, status = api.run(["--config-file", str(ROOT / "pyproject.toml"), f"--cache-dir={cache}", str(module)])
        self.assertEqual((status, out.strip()), (0, "Success: no issues found in 1 source file"))

    def test_by_entry_point_and_dotted_name(self) -> None:
        """The page's Corefile finds it by its short name, and the same with its dotted name does the same."""
        for corefile in (self.texts["corefile"], self.texts["corefile"].replace("sinkhole", "sinkhole.directive")):
            reactor = MemoryReactor()
            configuration = assemble(read_text(corefile, {}), ServerContext(reactor, kernel_sockets=False))
            names = [link.name for link in configuration.builders[0].links]
            self.assertEqual(names, ["sinkhole", "cache", "hosts"])

    def test_answers(self) -> None:
        """Names below its zones do not exist; others are left to the next plugin."""
        from twisted.names.error import DNSNameError

        from kdns.embed import corefile_resolver

        reactor = MemoryReactor()
        context = ServerContext(reactor, clock=reactor.seconds, kernel_sockets=False)
        resolver = corefile_resolver(reactor, self.texts["corefile"], environment={}, context=context)
        self.failureResultOf(resolver.lookupAddress("x.ads.example"), DNSNameError)
        answers, _, _ = self.successResultOf(resolver.lookupAddress("www.example.org"))
        self.assertEqual(len(answers), 1)

    def test_refused(self) -> None:
        """What is wrong with its words is said in the words of every other plugin."""
        from kdns.corefile.errors import SetupError

        for words, text in ((" a..b", "label of 0 bytes"), ("", "Wrong argument count")):
            corefile = f". {{\n sinkhole{words}\n}}\n"
            error = self.assertRaises(
                SetupError, assemble, read_text(corefile, {}), ServerContext(MemoryReactor(), kernel_sockets=False)
            )
            self.assertIn(text, str(error))
            self.assertTrue(str(error).startswith("plugin/sinkhole: "), error)
