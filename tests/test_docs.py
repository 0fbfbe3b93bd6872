# -*- test-case-name: tests.test_docs -*-
"""What the documents say is run: Corefiles load, programs print what stands under them, every plugin has its page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.kubeconfig import find_credentials
from kdns.plugin import Unavailable
from kdns.plugin.registry import BUILT_IN
from kdns.plugin.seam import ServerContext
from kdns.plugins.kubernetes import cluster
from kdns.server.assembly import Configuration, assemble, read_text
from kdns.testing.certificates import Authority
from kdns.testing.memory import MemoryReactor
from kdns.testing.plugin import PluginBench, a_request
from tests.databases import DATABASES
from tests.signing_keys import write_key

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "plugins"

NOT_PLUGINS = ("README.md", "docs/corefile.md", "docs/operations.md")
"""Other documents with Corefiles that kdns takes as they are."""

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
        write_key(self.folder, "Kexample.org.+013+45330")
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
            r"\b(?:(?:cert|key|ca)\.pem|(?:city|asn)\.mmdb)\b|\bKexample\.org\.\S+",
            lambda found: str(self.folder.absolute() / found[0]),
            text,
        )
        context = ServerContext(MemoryReactor(), environ=ENVIRONMENT, kernel_sockets=False, programs=True)
        return assemble(read_text(text, ENVIRONMENT), context)

    def test_examples(self) -> None:
        """Each example on a plugin's page, in the README and in some other documents is a Corefile that kdns takes."""
        wrong = []
        for page in (*sorted(PAGES.glob("*.md")), *(ROOT / name for name in NOT_PLUGINS)):
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
        self.assertEqual([language for _, language, _ in found], ["python", "text"] * (len(found) // 2))
        self.assertGreater(len(found), 12)
        for (line, _, program), (_, _, wanted) in zip(found[::2], found[1::2], strict=True):
            ended = run(program)
            self.assertEqual((ended.stdout, ended.stderr, ended.returncode), (wanted, "", 0), f"program at line {line}")


class PluginTests(SynchronousTestCase):
    """The plugin of docs/writing-a-plugin.md, word for word, in each of its five steps."""

    page = ROOT / "docs" / "writing-a-plugin.md"

    def setUp(self) -> None:
        """Put the page's modules where Python finds them, the first offered by a package as the page says."""
        self.texts = {
            language: text for _, language, text in reversed(list(fences(self.page, "python", "corefile", "ini")))
        }
        *self.steps, self.tests, self.refuse = (text for _, _, text in fences(self.page, "python"))
        self.assertEqual(len(self.steps), 5)
        self.folder = Path(self.mktemp()).absolute()
        offered = self.folder / "sinkhole-1.0.dist-info"
        offered.mkdir(parents=True)
        self.modules = ["sinkhole", *(f"sinkhole{number}" for number in range(2, 6)), "refuse"]
        for module, text in zip(self.modules, [*self.steps, self.refuse], strict=True):
            (self.folder / f"{module}.py").write_text(text)
            self.addCleanup(sys.modules.pop, module, None)
        (offered / "METADATA").write_text("Metadata-Version: 2.1\nName: sinkhole\nVersion: 1.0\n")
        name, _, target = self.texts["ini"].partition("kdns.plugins =")[2].strip().partition(" = ")
        (offered / "entry_points.txt").write_text(f"[kdns.plugins]\n{name} = {target}\n")
        sys.path.insert(0, str(self.folder))
        self.addCleanup(sys.path.remove, str(self.folder))

    def bench(self, module: str, text: str) -> PluginBench:
        """A module of the page in the test kit, in a folder with what its words name."""
        directive = import_module(module).directive
        bench = PluginBench(directive, text)
        self.addCleanup(bench.stop)
        return bench

    def zones(self) -> Path:
        """A file with one zone."""
        path = self.folder / "zones.txt"
        path.write_text("ads.example\n")
        return path

    def test_twenty_lines(self) -> None:
        """The first step is as short as the page says."""
        lines = [line for line in self.steps[0].splitlines() if line.strip()]
        self.assertLessEqual(len(lines), 20)

    def test_options(self) -> None:
        """The second step has an address for names below its zones, or none; what is wrong is said with file and line."""
        bench = self.bench("sinkhole2", "sinkhole ads.example {\n address 192.0.2.1\n ttl 30\n}")
        (record,) = bench.ask("Www.ads.example").answer
        self.assertEqual((record.owner, record.ttl, record.rdata), (b"\x03Www\x03ads\x07example\0", 30, b"\xc0\0\2\1"))
        self.assertEqual((bench.ask("ads.example", "AAAA").rcode, bench.ask("ads.example", "AAAA").answer), (0, ()))
        bench.check_repeats(["www.ads.example", "a.test"], qtypes=["A", "AAAA"])
        self.assertEqual(self.bench("sinkhole2", "sinkhole ads.example").ask("ads.example").rcode, 3)
        for words, wanted in (
            ("adress 192.0.2.1", "Corefile:3 - Error during parsing: unknown property 'adress'"),
            ("address ::1", "'::1'"),
            ("ttl", "Corefile:3 - Error during parsing: Wrong argument count"),
        ):
            self.assertIn(wanted, bench.error(f"sinkhole a. {{\n {words}\n}}"))
        corefile = list(fences(self.page, "corefile"))[1][2].replace("sinkhole ads", "sinkhole2.directive ads")
        self.assertIn("address 192.0.2.1", corefile)
        configuration = assemble(read_text(corefile, {}), ServerContext(MemoryReactor(), kernel_sockets=False))
        self.assertEqual([link.name for link in configuration.builders[0].links], ["sinkhole", "whoami"])

    def test_file(self) -> None:
        """The third step reads its file at the start, and a file that is not there is a fault of the configuration."""
        bench = self.bench("sinkhole3", f"sinkhole {self.zones()}")
        self.assertEqual([bench.ask(name).rcode for name in ("x.ads.example", "a.test")], [3, 0])
        bench.check_repeats(["x.ads.example", "a.test"])
        error = self.assertRaises(Unavailable, self.bench, "sinkhole3", "sinkhole /not/there")
        self.assertIn("sinkhole: /not/there: ", str(error))

    def test_changes(self) -> None:
        """The fourth step follows its file, for listed and for other names; a file that is gone changes nothing."""
        path = self.zones()
        bench = self.bench("sinkhole4", f"sinkhole {path}")

        def change() -> None:
            path.write_text("a.test\n")
            bench.advance(5)

        bench.check_repeats(["x.ads.example", "a.test"], change=change)
        self.assertEqual([bench.ask(name).rcode for name in ("x.ads.example", "a.test")], [0, 3])
        path.unlink()
        with capturedLogs() as events:
            bench.advance(5)
        self.assertEqual({event["log_namespace"] for event in events}, {"plugin/sinkhole"})
        self.assertEqual(bench.ask("a.test").rcode, 3)
        bench.stop()
        self.assertEqual(bench.clock.getDelayedCalls(), [])

    def test_lies_are_found(self) -> None:
        """The test kit finds the fourth step out when it says that nothing but the question matters."""
        path = self.zones()
        lying = self.steps[3].replace("self.varies = by_data(file.changed)", "self.varies = by_data()")
        self.assertNotEqual(lying, self.steps[3])
        (self.folder / "sinkhole4.py").write_text(lying)
        bench = self.bench("sinkhole4", f"sinkhole {path}")

        def change() -> None:
            path.write_text("a.test\n")
            bench.advance(5)

        self.assertRaises(AssertionError, bench.check_repeats, ["x.ads.example", "a.test"], change=change)

    def test_counted_and_explained(self) -> None:
        """The fifth step counts repeated replies, too, and says which zone a name is below."""
        bench = self.bench("sinkhole5", f"sinkhole {self.zones()}")
        (link,) = bench.builder.links
        request = a_request("x.ads.example")
        self.assertEqual([note.missing for note in link.explain(request)], [True])
        self.assertIn("below ads.example., which ", link.explain(request)[0].text)
        self.assertEqual(link.explain(a_request("a.test")), [])
        answer = bench.ask("x.ads.example")
        for charge in answer.charges:
            charge.charge(2)
        families = {family.name: family for family in bench.context.registry.families()}
        self.assertEqual(families["sinkhole_denied_total"].counter().value, 3)

    def test_of_the_page(self) -> None:
        """The tests of the page and its access list run as they stand there."""
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        exec(self.tests, {})
        bench = self.bench("refuse", "refuse 10.0.0.0/8")
        self.assertEqual([bench.ask("a.test", client=client).rcode for client in ("10.0.0.1", "192.0.2.1")], [5, 0])
        bench.check_repeats(["a.test"], clients=["10.0.0.1", "192.0.2.1"])

    def test_typed(self) -> None:
        """Every module follows the seam: its directive is one, to the type checker too."""
        from mypy import api

        files = []
        for module in self.modules:
            file = self.folder / f"{module}.py"
            file.write_text(file.read_text() + "\nfrom kdns.plugin.seam import Directive\n\n_: Directive = directive\n")
            files.append(str(file))
        cache = str(ROOT / ".mypy_cache")
        out, _, status = api.run(["--config-file", str(ROOT / "pyproject.toml"), f"--cache-dir={cache}", *files])
        self.assertEqual((status, out.strip()), (0, f"Success: no issues found in {len(files)} source files"))

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
