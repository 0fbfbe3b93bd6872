# -*- test-case-name: tests.conformance.test_public_corefiles -*-
"""
Corefiles of Kubernetes distributions, homes and companies: each starts, and answers a name of the cluster and one from outside.

They stand in ``corefiles/``, a folder each, with the files that they name; ``index.json`` there says where each is from and what it is
asked. Two things change for the test: upstreams become the fake one, and the cluster comes from manifests in place of the API.
"""

from __future__ import annotations

import re
import shutil
from contextlib import chdir
from functools import partial
from pathlib import Path

import dns.message
import dns.rcode
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.kubeconfig import find_credentials
from kdns.plugin.seam import ServerContext
from kdns.plugins.kubernetes import cluster
from kdns.server.assembly import assemble, read
from kdns.testing.certificates import Authority
from kdns.testing.memory import MemoryReactor
from tests.conformance.cases import CASES
from tests.conformance.world import UPSTREAM, MemoryWorld

FOLDER = Path(__file__).parent / "corefiles"
COMPATIBILITY = Path(__file__).parents[2] / "docs" / "compatibility.md"

ENVIRONMENT = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}

INTERFACES = ("lan0", "lo")
"""Names of interfaces that Corefiles bind to: another machine has others."""

_FORWARD = re.compile(r"^( *|\t*)forward (\S+) ([^{\n]+?)( \{)?$", re.MULTILINE)
_KUBERNETES = re.compile(r"^( *)kubernetes [^{\n]+\{$", re.MULTILINE)
_BIND = re.compile(r"^(\s*)bind (.+)$", re.MULTILINE)
_PATH = re.compile(r"(?<=\s)/(?:config|etc|opt|rootfs|zones)/\S+")
_SERVER_PORT = re.compile(r"^\S+:(\d+) \{$", re.MULTILINE)


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"qtype": "type", "qclass": "class"}):
    """What a Corefile is asked, and what is wanted."""

    name: str
    qtype: str
    answers: list[str]
    qclass: str = "IN"
    rcode: str = "NOERROR"
    proto: str = "udp"
    client: str = ""
    to: str = ""


class PublicCorefile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of ``index.json``."""

    name: str
    kind: str
    source: str
    questions: list[Question]
    note: str = ""
    missing: list[str] = []
    """What it needs and kdns does not have: it does not start."""

    environment: dict[str, str] = {}
    client: str = ""
    port: int = 0
    """Where it is asked; by default its lowest port."""

    upstream: list[str] = []
    """Records that the upstream has for it."""

    @property
    def text(self) -> str:
        return (FOLDER / self.name / "Corefile").read_text(encoding="utf-8")


def public_corefiles() -> list[PublicCorefile]:
    """All of them."""
    return msgspec.json.decode((FOLDER / "index.json").read_bytes(), type=list[PublicCorefile])


def sources_table() -> str:
    """The table of ``corefiles/README.md``."""
    rows = []
    for row in public_corefiles():
        repository, _, path = row.source.partition(" ")
        rows.append(f"| `{row.name}` | {repository} | {path and f'`{path}`'} | {row.note} |")
    return "\n".join(("| Folder | Repository | Path | |", "|---|---|---|---|", *rows))


def outcome_table() -> str:
    """The table of ``docs/compatibility.md``."""
    rows = [
        f"| {row.name} | {row.kind} | {'no' if row.missing else 'yes'} | {', '.join(f'`{word}`' for word in row.missing)} |"
        for row in public_corefiles()
    ]
    return "\n".join(("| Corefile | Of a | Starts | Needs and does not get |", "|---|---|---|---|", *rows))


def summary() -> str:
    """The sentence above that table."""
    rows = public_corefiles()
    starting = sum(not row.missing for row in rows)
    shipped = [row for row in rows if row.kind == "distribution"]
    return (
        f"Of {len(rows)} Corefiles {starting} start and answer, "
        f"among them all {len(shipped)} of Kubernetes distributions."
    )


def on_this_machine(text: str) -> str:
    """A Corefile without names of another machine's interfaces."""
    return _BIND.sub(lambda found: f"{found[1]}bind {'127.0.0.1' if found[2] in INTERFACES else found[2]}", text)


class PublicCorefileTests(SynchronousTestCase):
    """Every Corefile in ``corefiles/``."""

    maxDiff = None

    def placed(self, row: PublicCorefile) -> Path:
        """A copy of its folder, with absolute paths leading into it."""
        folder = Path(self.mktemp()).absolute()
        shutil.copytree(FOLDER / row.name, folder)
        (folder / "etc").mkdir(exist_ok=True)
        (folder / "etc" / "resolv.conf").write_text("nameserver 192.0.2.53\n")
        for name in ("etc/config/coredns_resolv.conf", "run/pppd/resolv.conf"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("nameserver 192.0.2.53\n")
        for file in [
            path for path in folder.rglob("*") if path.name == "Corefile" or path.suffix in (".server", ".override")
        ]:
            text = _PATH.sub(lambda found: str(folder) + found[0], file.read_text(encoding="utf-8"))
            file.write_text(text.replace(" /run/", f" {folder}/run/"), encoding="utf-8")
        return folder

    def faked(self, text: str) -> str:
        """A Corefile with the fake upstream and the cluster from manifests."""
        manifests = " ".join(str(CASES / name) for name in ("every-cluster.yaml", "cluster.yaml"))

        fake = f"{UPSTREAM[0]}:{UPSTREAM[1]}"

        def forward(found: re.Match[str]) -> str:
            own = [word for word in found[3].split() if word.startswith(("127.0.0.1", "{$"))]
            return f"{found[1]}forward {found[2]} {' '.join(own) or fake}{found[4] or ''}"

        text = _FORWARD.sub(forward, text)
        text = _KUBERNETES.sub(rf"\g<0>\n\1  manifests {manifests}", text)
        return on_this_machine(text)

    def started(self, row: PublicCorefile, folder: Path) -> MemoryWorld:
        """A server with the Corefile in that folder."""
        for file in [path for path in folder.rglob("*") if path.name == "Corefile" or path.suffix == ".server"]:
            file.write_text(self.faked(file.read_text(encoding="utf-8")), encoding="utf-8")
        ports = {int(found) for found in _SERVER_PORT.findall(row.text)} or {53}
        world = MemoryWorld("", environment=row.environment, path=str(folder / "Corefile"), port=row.port or min(ports))
        for record in row.upstream:
            world.upstream.upstream.say(record.split()[0], record)
        world.start()
        return world

    def differences(self, row: PublicCorefile, world: MemoryWorld) -> list[str]:
        """What is answered otherwise than wanted, the first time or repeated."""
        bound = _BIND.search(row.text)
        usual = bound[2].split()[0] if bound and bound[2] not in INTERFACES else "127.0.0.1"
        wrong = []
        for question in (*row.questions, *row.questions):
            query = dns.message.make_query(question.name, question.qtype, question.qclass).to_wire()
            source = question.client or row.client or "127.0.0.1"
            reply, _ = world.ask(query, question.proto, source, question.to or usual)
            if reply is None:
                wrong.append(f"{row.name}: {question}: no reply")
                continue
            message = dns.message.from_wire(reply)
            answers = sorted(str(rdata) for rrset in message.answer for rdata in rrset)
            found = dns.rcode.to_text(message.rcode()), answers
            if found != (question.rcode, sorted(question.answers)):
                wrong.append(f"{row.name}: {question}: {found}")
        return wrong

    def test_answers(self) -> None:
        """It starts, gives the same answers twice, and ends with nothing left behind."""
        wrong = []
        for row in public_corefiles():
            if row.missing:
                continue
            folder = self.placed(row)
            with chdir(folder):
                world = self.started(row, folder)
                wrong += self.differences(row, world)
                self.assertEqual(world.stop(), [], row.name)
        self.flushLoggedErrors()
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    def test_loads_unchanged(self) -> None:
        """As it is, but for where its files are, it is a configuration; upstreams over TLS stay upstreams over TLS."""
        account = Path(self.mktemp()).absolute()
        account.mkdir()
        (account / "token").write_text("token")
        (account / "ca.crt").write_bytes(Authority().certificate_pem)
        self.patch(cluster, "find_credentials", partial(find_credentials, service_account=str(account)))
        wrong = []
        for row in public_corefiles():
            folder = self.placed(row)
            file = folder / "Corefile"
            file.write_text(on_this_machine(file.read_text(encoding="utf-8")), encoding="utf-8")
            context = ServerContext(MemoryReactor(), environ=ENVIRONMENT | row.environment, kernel_sockets=False)
            try:
                with chdir(folder):
                    assemble(read(str(folder / "Corefile"), row.environment), context)
            except Exception as error:
                if not row.missing or not any(word in str(error) for word in row.missing):
                    wrong.append(f"{row.name}: {error!r}")
            else:
                if row.missing:
                    wrong.append(f"{row.name} starts")
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    def test_documented(self) -> None:
        """The pages have the tables, and each folder has a row."""
        self.assertEqual(
            sorted(row.name for row in public_corefiles()),
            sorted(path.name for path in FOLDER.iterdir() if path.is_dir()),
        )
        self.assertIn(sources_table(), (FOLDER / "README.md").read_text(encoding="utf-8"))
        page = COMPATIBILITY.read_text(encoding="utf-8")
        self.assertIn(outcome_table(), page)
        self.assertIn(summary(), page)

    def test_asked(self) -> None:
        """Each that starts is asked for an outside name if it forwards, and for a name of the cluster if it has one."""
        for row in public_corefiles():
            if not row.missing:
                names = {question.name for question in row.questions}
                self.assertEqual(
                    "web.prod.svc.cluster.local" in names,
                    "kubernetes " in row.text or row.name == "gke-node-local",
                    row.name,
                )
                self.assertEqual("www.example.com" in names, "forward . " in row.text, row.name)
