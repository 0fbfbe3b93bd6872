"""The golden Corefiles, given to a whole server: what it says at the start, or what it ends with."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError, Place
from kdns.plugin import registry
from kdns.server.assembly import read_text
from kdns.server.logs import OperatorLog
from tests.apiserver.credentials import Login, write_kubeconfig
from tests.conformance.cases import deviations
from tests.conformance.support import Outcome, StartCase, start_cases
from tests.conformance.world import OWN_ADDRESS, MemoryWorld
from tests.support import lack

PORT = "15353"
ADDRESSES = ("127.0.0.1", "127.0.0.2", "::1", OWN_ADDRESS)

MORE = (
    "acl", "any", "auto", "bufsize", "cancel", "chaos", "dns64", "erratic", "file", "header", "k8s_external", "local", "minimal",
    "multisocket", "nsid", "rewrite", "secondary", "template", "timeouts", "transfer", "autopath",
    "errors", "loadbalance", "pprof", "prometheus", "proxyproto", "shed", "view",
    "https", "tls", "geoip", "dnstap", "trace", "https3", "quic", "grpc_server", "grpc", "etcd",
    "metadata", "root",
    "dnssec", "sign", "tsig",
)  # fmt: skip
"""Plugins whose cases of ``corefile-errors-more.json`` are started: a case's name begins with the plugin's."""

REFUSED = ("tls-acme-",)
"""Cases of options that kdns refuses as a whole, whatever else is wrong with them."""

_MISSING = re.compile(r"plugin/(\w+): (.*kdns does not have this plugin of CoreDNS yet.*)", re.DOTALL)


def lacking(corefile: str) -> set[str]:
    """The directives of a Corefile that CoreDNS has and kdns does not; none where it is no Corefile."""
    try:
        blocks = read_text(corefile, {}).blocks
    except CorefileError:
        return set()
    return {name for block in blocks for name in block.directives if name not in registry.BUILT_IN}


class GoldenStartTests(SynchronousTestCase):
    """Every Corefile of ``corefile-errors.json``."""

    maxDiff = None

    def outcome(self, case: StartCase) -> tuple[StartCase, Outcome]:
        """Start a server in a folder of its own, and the case with its places filled in."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        kubeconfig = write_kubeconfig(folder / "kubeconfig", "http://127.0.0.1:6443", None, Login())
        places = {"PORT": PORT, "DIR": str(folder), "KUBECONFIG": str(kubeconfig), "UPSTREAM": "127.0.0.1:5300"}
        case = case.filled(places)
        case.write(folder)
        before = os.getcwd()
        os.chdir(folder)
        try:
            return case, self.started(case)
        finally:
            os.chdir(before)

    def started(self, case: StartCase) -> Outcome:
        """Start a server with the case's Corefile in the working directory, and end it again."""
        world = MemoryWorld(case.corefile, interfaces=ADDRESSES, environment=case.environment, path="Corefile")
        observer: Any = OperatorLog(world.lines.append, world.reactor)  # Twisted's stubs do not see its interface
        globalLogPublisher.addObserver(observer)
        try:
            try:
                world.start()
            except Exception as error:
                self.assertEqual(world.stop(), [], case.name)
                return Outcome(str(error))
            listeners = tuple(sorted(world.announced))
            warnings = tuple(
                line
                for line in world.lines
                if "[WARNING] plugin/kubernetes" not in line and "[WARNING] plugin/etcd" not in line
            )
            self.assertEqual(world.stop(), [], case.name)
        finally:
            observer.close()
            globalLogPublisher.removeObserver(observer)
        return Outcome(
            None,
            listeners,
            tuple(
                line
                for line in warnings
                if ("arning" in line.lower() or "[ERROR] plugin/dnstap" in line) and line not in listeners
            ),
        )

    def test_starts(self) -> None:
        """Errors, announced zones and warnings are the golden ones, wherever kdns has the plugins."""
        wrong = []
        compared = 0
        for case in start_cases():
            if lacking(case.corefile) and not self.of_language(case):
                continue
            case, outcome = self.outcome(case)
            compared += 1
            wrong += self.differences(case, outcome)
        self.flushLoggedErrors()
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
        self.assertGreater(compared, 150)

    def test_more_starts(self) -> None:
        """So are those of the later recording, for the plugins that are listed here."""
        prefixes = tuple(f"{name.replace('_', '-')}-" for name in MORE)
        found = [case for case in start_cases("corefile-errors-more") if case.name.startswith(prefixes)]
        cases = [case for case in found if not lacking(case.corefile)]
        cases = [case for case in cases if not case.name.startswith(REFUSED) or case.name == "tls-acme-none"]
        wrong = [difference for case in cases for difference in self.differences(*self.outcome(case))]
        self.flushLoggedErrors()
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
        self.assertGreater(len(cases), 8 * len(MORE))

    def differences(self, case: StartCase, outcome: Outcome) -> list[str]:
        """What of an outcome is not as wanted."""
        deviation = deviations().get((case.file, case.name))
        wanted = case.wanted
        if deviation is not None:
            listeners = tuple(line.replace("{{PORT}}", PORT) for line in deviation.kdns.get("listeners", ()))
            wanted = Outcome(deviation.kdns["error"], listeners, tuple(deviation.kdns.get("warnings", ())))
        return [] if self.alike(wanted, outcome) else [f"{case.name}: wanted {wanted}\n    got {outcome}"]

    def test_refused(self) -> None:
        """A Corefile with a directive that kdns lacks is refused, with the place and with what there is instead."""
        lack(self, "dnssec", "sign", "tsig")
        compared: set[str] = set()
        for case in (*start_cases(), *start_cases("corefile-errors-more")):
            missing = lacking(case.corefile)
            if missing <= compared or self.of_language(case):
                continue
            compared |= missing
            case, outcome = self.outcome(case)
            found = _MISSING.fullmatch(outcome.error or "")
            assert found is not None, (case.name, outcome)
            self.assertIn(found[1], missing, case.name)
            line = int(re.search(r":(\d+) - ", found[2])[1]) if " - " in found[2] else 0  # type: ignore[index]  # it matches
            with self.assertRaises(Exception) as raised:
                registry.find(found[1], Place("Corefile", line))
            self.assertEqual(outcome.error, str(raised.exception), case.name)
        self.assertEqual(compared, {"dnssec", "sign", "tsig"})

    def alike(self, wanted: Outcome, got: Outcome) -> bool:
        """Whether both are the same, with any words where the golden text says ``REASON``."""
        if wanted.error is None or got.error is None or not wanted.error.endswith("REASON"):
            return wanted == got
        stem = wanted.error.removesuffix("REASON")
        return got.error.startswith(stem) and len(got.error) > len(stem)

    def of_language(self, case: StartCase) -> bool:
        """Whether the Corefile fails before any directive is looked up."""
        error = case.wanted.error or ""
        return error.startswith(("Corefile", "{{DIR}}", "error inspecting", "address")) and "event" not in error
