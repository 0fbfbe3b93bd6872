"""The deviations from CoreDNS: each is a real one, and the documentation lists the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.cases import CASES, case_file, deviations
from tests.conformance.support import start_cases

STANDARDS = Path(__file__).parent.parent.parent / "docs" / "standards.md"

_ROW = re.compile(r"^\| `([\w-]+)` \| `([\w-]+)` \| (.+?) \|$", re.MULTILINE)

_ROW_OF_MANY = re.compile(r"^\| ((?:`[\w-]+/[\w-]+`(?:, )?)+) \| (.+?) \|$", re.MULTILINE)


class DeviationsTests(SynchronousTestCase):
    """``deviations.json`` against the golden cases and against ``docs/standards.md``."""

    def test_each_is_one(self) -> None:
        """Every deviation names a case, and wants something else than the golden answer."""
        for (file, identity), deviation in deviations().items():
            golden = self.golden(file, identity)
            self.assertEqual(len(golden), 1, (file, identity))
            self.assertNotEqual(golden[0], dict(deviation.kdns), (file, identity))
            if "no_reply" not in golden[0]:
                self.assertEqual(golden[0].keys() | {"question"}, deviation.kdns.keys() - {"warnings"} | {"question"})

    def golden(self, file: str, identity: str) -> list[dict[str, Any]]:
        """What CoreDNS answered to the cases of that name."""
        if file == "messages":
            rows = json.loads((CASES / "messages.json").read_text(encoding="utf-8"))["messages"]
            return [{"reply": row["reply"]} for row in rows if row["id"] == identity]
        if file == "transports":
            rows = json.loads((CASES / "transports.json").read_text(encoding="utf-8"))["cases"]
            return [row["expect"] for row in rows if row["id"] == identity]
        if file.startswith("corefile-errors"):
            outcomes = [case.wanted for case in start_cases(file) if case.name == identity]
            return [{"error": outcome.error, "listeners": list(outcome.listeners)} for outcome in outcomes]
        return [dict(case.golden) for case in case_file(file).cases if case.id == identity]

    def test_documented(self) -> None:
        """The table of the documentation has the same cases with the same reasons."""
        text = STANDARDS.read_text("utf-8")
        listed = {(file, identity): reason for file, identity, reason in _ROW.findall(text)}
        for cases, reason in _ROW_OF_MANY.findall(text):
            listed |= dict.fromkeys(re.findall(r"`([\w-]+)/([\w-]+)`", cases), reason)
        known = {key: deviation.reason for key, deviation in deviations().items()}
        self.assertEqual(listed, known)
