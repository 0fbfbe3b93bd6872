"""The golden Corefiles, as far as the language alone decides about them."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile import (
    DIRECTIVE_ORDER,
    CorefileError,
    Dispenser,
    ServerBlock,
    Surroundings,
    load_file,
    server_keys,
)
from kdns.corefile.files import DiskFiles
from kdns.corefile.keys import syntax_warning
from kdns.corefile.overlap import Claim, check_overlaps
from tests.conformance.support import Outcome, StartCase, start_cases

PORT = "15353"


def bound_addresses(block: ServerBlock) -> tuple[str, ...]:
    """The arguments of ``bind``, as far as this test needs them."""
    if "bind" not in block.directives:
        return ()
    directive = Dispenser(block.directives["bind"])
    return tuple(address for _ in directive.invocations() for address in directive.remaining_args())


def outcome_by_language(case: StartCase, folder: Path) -> Outcome:
    """What the language says of a case whose files stand in *folder*."""
    surroundings = Surroundings(frozenset(DIRECTIVE_ORDER), case.environment, DiskFiles(str(folder)))
    try:
        corefile = load_file("Corefile", surroundings)
        claims = [
            Claim(server_keys(block), bound_addresses(block), "view" in block.directives) for block in corefile.blocks
        ]
        check_overlaps(claims)
    except CorefileError as error:
        return Outcome(str(error))
    listeners: set[str] = set()
    warnings = [f"[WARNING] {text}" for text in corefile.warnings]
    for claim in claims:
        for key in claim.keys:
            listeners.update(f"{key} on {address}" for address in claim.addresses)
            if not claim.addresses:
                listeners.add(str(key))
            warning = syntax_warning(key.zone_text)
            if warning is not None:
                warnings.append(warning)
    return Outcome(None, tuple(sorted(listeners)), tuple(warnings))


class CorefileErrorsTests(SynchronousTestCase):
    """Every golden Corefile."""

    def outcomes(self, *, language_alone: bool) -> list[tuple[StartCase, Outcome]]:
        """Each case of one kind with what the language makes of it."""
        found = []
        for case in start_cases():
            if case.concerns_language_alone is language_alone:
                folder = Path(self.mktemp()).absolute()
                folder.mkdir()
                case = case.filled({"PORT": PORT, "DIR": str(folder), "KUBECONFIG": "kubeconfig"})
                case.write(folder)
                found.append((case, outcome_by_language(case, folder)))
        return found

    def test_language(self) -> None:
        """Where no plugin decides, errors, announced zones and warnings are the golden ones."""
        outcomes = self.outcomes(language_alone=True)
        self.assertGreater(len(outcomes), 70)
        for case, outcome in outcomes:
            of_language = tuple(line for line in case.wanted.warnings if "plugin/" not in line)
            wanted = Outcome(case.wanted.error, case.wanted.listeners, of_language)
            self.assertEqual(outcome, wanted, case.name)

    def test_set_up(self) -> None:
        """What a plugin or a socket refuses is a Corefile to the language."""
        outcomes = self.outcomes(language_alone=False)
        self.assertGreater(len(outcomes), 100)
        for case, outcome in outcomes:
            self.assertIsNone(outcome.error, case.name)
