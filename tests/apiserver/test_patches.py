"""Patches change what they name and leave the rest, and the object they are applied to stays as it was."""

from __future__ import annotations

import copy

from twisted.trial.unittest import SynchronousTestCase

from tests.apiserver.patches import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, apply_patch
from tests.apiserver.resources import Json
from tests.apiserver.status import ApiError

OBJECT: Json = {
    "metadata": {"name": "web", "labels": {"a/b": "1", "c": "2"}},
    "spec": {"type": "ClusterIP", "ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]},
}


class PatchTests(SynchronousTestCase):
    """apply_patch."""

    def patched(self, kind: str, patch: object) -> Json:
        """OBJECT with the patch applied; it must itself stay as it is."""
        before = copy.deepcopy(OBJECT)
        done = apply_patch(kind, OBJECT, patch)
        self.assertEqual(OBJECT, before)
        return done

    def test_merge(self) -> None:
        """A merge patch sets, removes with null, and replaces lists (RFC 7386)."""
        patch = {"metadata": {"labels": {"c": None, "d": "3"}}, "spec": {"ports": [{"port": 1}]}}
        done = self.patched(MERGE_PATCH, patch)
        self.assertEqual(done["metadata"], {"name": "web", "labels": {"a/b": "1", "d": "3"}})
        self.assertEqual(done["spec"], {"type": "ClusterIP", "ports": [{"port": 1}]})

    def test_strategic(self) -> None:
        """A strategic merge patch merges ports by number, adds new ones, deletes those it says."""
        ports = [{"port": 443, "name": "tls"}, {"port": 81}, {"port": 80, "$patch": "delete"}]
        patch = {"spec": {"$setElementOrder/ports": [{"port": 443}, {"port": 81}], "ports": ports}}
        done = self.patched(STRATEGIC_PATCH, patch)
        self.assertEqual(done["spec"], {"type": "ClusterIP", "ports": [{"port": 443, "name": "tls"}, {"port": 81}]})

    def test_strategic_directives(self) -> None:
        """Whole objects and lists can be replaced, and keys retained."""
        self.assertEqual(self.patched(STRATEGIC_PATCH, {"spec": {"$patch": "replace", "x": 1}})["spec"], {"x": 1})
        patch = {"spec": {"$retainKeys": ["type"], "type": "NodePort"}}
        self.assertEqual(self.patched(STRATEGIC_PATCH, patch)["spec"], {"type": "NodePort"})
        ports = {"spec": {"ports": [{"$patch": "replace"}, {"port": 9}]}}
        self.assertEqual(self.patched(STRATEGIC_PATCH, ports)["spec"]["ports"], [{"port": 9}])

    def test_json(self) -> None:
        """A JSON patch carries out its operations in order (RFC 6902)."""
        done = self.patched(
            JSON_PATCH,
            [
                {"op": "test", "path": "/metadata/labels/a~1b", "value": "1"},
                {"op": "replace", "path": "/metadata/labels/a~1b", "value": "9"},
                {"op": "remove", "path": "/spec/ports/0"},
                {"op": "add", "path": "/spec/ports/-", "value": {"port": 8080}},
                {"op": "add", "path": "/spec/ports/0", "value": {"port": 7}},
                {"op": "copy", "from": "/metadata/name", "path": "/spec/externalName"},
                {"op": "move", "from": "/metadata/labels/c", "path": "/metadata/labels/e"},
            ],
        )
        self.assertEqual(done["metadata"]["labels"], {"a/b": "9", "e": "2"})
        self.assertEqual([port["port"] for port in done["spec"]["ports"]], [7, 443, 8080])
        self.assertEqual(done["spec"]["externalName"], "web")

    def test_refused(self) -> None:
        """A patch that cannot be applied is refused with a code that says why."""
        for kind, patch, code in (
            (JSON_PATCH, [{"op": "test", "path": "/metadata/name", "value": "api"}], 422),
            (JSON_PATCH, [{"op": "remove", "path": "/metadata/absent"}], 422),
            (JSON_PATCH, [{"op": "replace", "path": "/metadata/absent", "value": 1}], 422),
            (JSON_PATCH, [{"op": "add", "path": "/spec/ports/5", "value": 1}], 422),
            (JSON_PATCH, [{"op": "jump", "path": "/spec"}], 422),
            (JSON_PATCH, {}, 400),
            (MERGE_PATCH, [], 400),
            ("text/plain", {}, 415),
        ):
            problem = self.assertRaises(ApiError, self.patched, kind, patch)
            self.assertEqual(problem.code, code, patch)
