# -*- test-case-name: tests.test_recipes -*-
"""Every Corefile of ``docs/recipes.md`` is started, and asked what the page asks it."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.rcode
import dns.reversename
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.cases import CASES
from tests.conformance.world import SERVER, UPSTREAM, MemoryWorld

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"

_COREFILE = re.compile(r"^```corefile\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^`(/etc/kdns/\S+)`:\n\n```txt\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MODULE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FORWARD = re.compile(r"^( *forward \S+) [^{\n]*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Question:
    """A line that begins with a dollar sign, and what stands below it."""

    name: str
    qtype: str
    rcode: str
    answers: tuple[str, ...]
    client: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """A Corefile of the page, the files that it names, and what it is asked."""

    line: int
    corefile: str
    modules: tuple[str, ...]
    files: dict[str, str]
    questions: tuple[Question, ...]


def recipes() -> list[Recipe]:
    """Everything up to the next Corefile belongs to one."""
    text = PAGE.read_text(encoding="utf-8")
    starts = [*_COREFILE.finditer(text)]
    ends = [*(found.start() for found in starts[1:]), len(text)]
    made = []
    begin = 0
    for found, end in zip(starts, ends, strict=True):
        rest = text[found.end() : end]
        questions = [question for fence in _CONSOLE.findall(rest) for question in questions_of(fence)]
        line = text.count("\n", 0, found.start()) + 2
        modules = tuple(_MODULE.findall(text, begin, found.start()))
        made.append(Recipe(line, found[1], modules, dict(_FILE.findall(rest)), tuple(questions)))
        begin = found.end()
    return made


def questions_of(fence: str) -> list[Question]:
    """The questions of a console."""
    made = []
    for part in re.split(r"^\$ ", fence, flags=re.MULTILINE)[1:]:
        command, *answers = part.splitlines()
        command, _, rcode = command.partition("#")
        words = [word for word in shlex.split(command) if word not in ("dig", "+short")]
        client = "127.0.0.1"
        if words[0] == "-b":
            client, words = words[1], words[2:]
        elif words[0] == "-6":
            client, words = "2001:db8::7", words[1:]
        if words[0] == "-x":
            words = [str(dns.reversename.from_address(words[1])), "PTR"]
        qtype = words[1] if len(words) > 1 else "A"
        made.append(Question(words[0], qtype, rcode.strip() or "NOERROR", tuple(answers), client))
    return made


class RecipeTests(SynchronousTestCase):
    """The page against a server in memory."""

    def started(self, recipe: Recipe) -> MemoryWorld:
        """A server with the recipe's Corefile, its upstreams and its cluster being those of the golden cases."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        text = recipe.corefile.replace(":53 {", ":{{PORT}} {")
        text = _FORWARD.sub(rf"\1 {UPSTREAM[0]}:{UPSTREAM[1]} ", text)
        text = re.sub(
            r"^ *(loop|ready|reload)\n", "", text, flags=re.MULTILINE
        )  # they ask, listen and look on their own
        text = text.replace("ip6.arpa {", "ip6.arpa {\n        kubeconfig {{KUBECONFIG}}")
        for path, content in recipe.files.items():
            (folder / Path(path).name).write_text(content, encoding="utf-8")
            text = text.replace(path, str(folder / Path(path).name))
        self.assertNotIn("/etc/kdns/", text)
        for module in recipe.modules:
            name = re.search(r"``(\w+)\.directive", module)
            assert name is not None, module
            (folder / f"{name[1]}.py").write_text(module, encoding="utf-8")
            sys.path.insert(0, str(folder))
            self.addCleanup(sys.path.remove, str(folder))
            self.addCleanup(sys.modules.pop, name[1], None)
        world = MemoryWorld(text, (CASES / "cluster.yaml",) if "kubernetes" in text else (), folder)
        world.start()
        self.addCleanup(world.stop)
        return world

    def test_page(self) -> None:
        """Each recipe has questions, and gives the answers that stand there, the first time and repeated."""
        wrong = []
        for recipe in recipes():
            self.assertTrue(recipe.questions, recipe.line)
            world = self.started(recipe)
            for question in (*recipe.questions, *recipe.questions):
                query = dns.message.make_query(question.name, question.qtype).to_wire()
                server = "2001:db8::1" if ":" in question.client else SERVER[0]
                reply, _ = world.ask(query, source=question.client, to=server)
                assert reply is not None, question
                message = dns.message.from_wire(reply)
                answers = tuple(sorted(str(rdata) for rrset in message.answer for rdata in rrset))
                found = dns.rcode.to_text(message.rcode()), answers
                if found != (question.rcode, tuple(sorted(question.answers))):
                    wrong.append(f"recipes.md:{recipe.line}: {question}: {found}")
        self.assertEqual(wrong, [])
        self.assertGreater(len(recipes()), 16)
