"""Label and field selectors choose as those of Kubernetes do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.apiserver.selectors import SelectorError, field_selector, label_selector

LABELS = {"app": "web", "tier": "front", "weight": "7", "example.com/owner": "blue"}
FIELDS = frozenset({"metadata.name", "metadata.namespace", "status.phase"})


class LabelSelectorTests(SynchronousTestCase):
    """label_selector."""

    def test_table(self) -> None:
        """Each operator takes and leaves what it should."""
        for text, wanted in (
            ("", True),
            ("app=web", True),
            ("app==web", True),
            ("app=api", False),
            ("app!=web", False),
            ("app!=api", True),
            ("absent!=x", True),
            ("absent=x", False),
            ("app", True),
            ("absent", False),
            ("!app", False),
            ("!absent", True),
            ("app in (web,api)", True),
            ("app in (api)", False),
            ("absent in (web)", False),
            ("app notin (web)", False),
            ("app notin (api, db)", True),
            ("absent notin (web)", True),
            ("weight>6", True),
            ("weight>7", False),
            ("weight<8", True),
            ("app>1", False),
            ("example.com/owner=blue", True),
            ("app=web,tier in (front,back),!absent", True),
            ("app=web,tier in (back)", False),
        ):
            self.assertIs(label_selector(text)(LABELS), wanted, text)

    def test_unreadable(self) -> None:
        """What is no selector is refused, not taken for everything."""
        for text in ("app=web,", "=x", "app in web", "app in (a", "a b", "a>x", "-a=b", "app in (a b)", "a=/"):
            self.assertRaises(SelectorError, label_selector, text)

    @given(st.text(alphabet="ab=!,() in<>1/-", max_size=30))
    def test_any_text(self, text: str) -> None:
        """Any text is either read or refused cleanly."""
        try:
            selector = label_selector(text)
        except SelectorError:
            return
        self.assertIn(selector(LABELS), (True, False))


class FieldSelectorTests(SynchronousTestCase):
    """field_selector."""

    def test_pods_that_run(self) -> None:
        """The selector for pods that may have an address leaves finished ones out."""
        text = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"
        selector = field_selector(text, FIELDS)
        self.assertTrue(selector({"status.phase": "Running"}))
        self.assertTrue(selector({"status.phase": "Pending"}))
        self.assertFalse(selector({"status.phase": "Succeeded"}))
        self.assertFalse(selector({"status.phase": "Failed"}))

    def test_equality(self) -> None:
        """Both spellings of equality are read."""
        self.assertTrue(field_selector("metadata.name=web", FIELDS)({"metadata.name": "web"}))
        self.assertFalse(field_selector("metadata.name==web", FIELDS)({"metadata.name": "api"}))

    def test_refused(self) -> None:
        """A field that cannot be selected by is refused."""
        self.assertRaises(SelectorError, field_selector, "spec.clusterIP=None", FIELDS)
        self.assertRaises(SelectorError, field_selector, "metadata.name", FIELDS)
