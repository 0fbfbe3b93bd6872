"""Requests mean to the fake API server what they mean to the real one."""

from __future__ import annotations

import json
import random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.apiserver.cluster import Cluster
from tests.apiserver.resources import SERVICE_IMPORTS, locate
from tests.apiserver.rest import (
    ApiRequest,
    Outcome,
    Reply,
    Rest,
    WaitOrder,
    WatchListSupport,
    WatchOrder,
    refusal,
    verb_of,
)
from tests.apiserver.status import ApiError
from tests.apiserver.store import Store

SERVICES = "/api/v1/services"
IN_PROD = "/api/v1/namespaces/prod/services"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
PARTIAL = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class LocateTests(SynchronousTestCase):
    """locate and verb_of."""

    def test_paths(self) -> None:
        """Collections, objects, subresources, and what is none of these."""
        for path, wanted in (
            (SERVICES, ("services", "", "", "")),
            (IN_PROD, ("services", "prod", "", "")),
            (f"{IN_PROD}/web", ("services", "prod", "web", "")),
            (f"{IN_PROD}/web/status", ("services", "prod", "web", "status")),
            ("/api/v1/namespaces", ("namespaces", "", "", "")),
            ("/api/v1/namespaces/prod", ("namespaces", "", "prod", "")),
            ("/api/v1/namespaces/prod/status", ("namespaces", "", "prod", "status")),
            (SLICES, ("endpointslices", "", "", "")),
            ("/apis/multicluster.x-k8s.io/v1alpha1/namespaces/a/serviceimports/b", ("serviceimports", "a", "b", "")),
            ("/api/v1/services/web", None),
            ("/api/v1/namespaces/prod/namespaces/x", None),
            ("/api/v1/secrets", None),
            ("/api/v2/services", None),
            ("/apis/discovery.k8s.io/v1beta1/endpointslices", None),
            ("/api/v1", None),
            ("/", None),
            (f"{IN_PROD}/web/status/x", None),
        ):
            found = locate(path)
            got = found and (found.resource.plural, found.namespace, found.name, found.subresource)
            self.assertEqual(got, wanted, path)

    def test_verbs(self) -> None:
        """The verb depends on the method, on what is named, and on whether it is watched."""
        for method, path, query, wanted in (
            ("GET", SERVICES, {}, "list"),
            ("GET", SERVICES, {"watch": "true"}, "watch"),
            ("GET", SERVICES, {"watch": "false"}, "list"),
            ("GET", f"{IN_PROD}/web", {}, "get"),
            ("GET", "/version", {}, "get"),
            ("POST", IN_PROD, {}, "create"),
            ("PUT", f"{IN_PROD}/web", {}, "update"),
            ("PATCH", f"{IN_PROD}/web", {}, "patch"),
            ("DELETE", f"{IN_PROD}/web", {}, "delete"),
            ("DELETE", IN_PROD, {}, "deletecollection"),
        ):
            self.assertEqual(verb_of(ApiRequest(method, path, query), locate(path)), wanted, (method, path))


class RestCase(SynchronousTestCase):
    """A cluster with a namespace prod, and requests to it."""

    def setUp(self) -> None:
        self.cluster = Cluster(Store(), random.Random(1))
        self.rest = Rest(self.cluster)
        self.apply("Namespace", "prod", "")

    def apply(self, kind: str, name: str, namespace: str = "prod", **parts: Any) -> int:
        """Apply an object; its version."""
        meta = {"name": name, **({"namespace": namespace} if namespace else {}), **parts.pop("meta", {})}
        return self.cluster.apply({"kind": kind, "metadata": meta, **parts}, 0.0).version

    def ask(
        self, path: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None, **query: Any
    ) -> Outcome:
        """The outcome of a request; a refusal becomes a reply, as on the wire."""
        raw = b"" if body is None else json.dumps(body).encode()
        given = {name: str(value) for name, value in query.items()}
        try:
            return self.rest.answer(ApiRequest(method, path, given, headers or {}, raw), 0.0)
        except ApiError as problem:
            return refusal(problem)

    def reply(self, path: str, method: str = "GET", code: int = 200, **rest: Any) -> Any:
        """The JSON of the reply, which must have this code."""
        outcome = self.ask(path, method, **rest)
        assert isinstance(outcome, Reply), outcome
        self.assertEqual(outcome.code, code, outcome.body)
        return json.loads(outcome.body)

    def names(self, path: str, **query: Any) -> list[str]:
        """The names in a list."""
        return [item["metadata"]["name"] for item in self.reply(path, **query)["items"]]


class ListTests(RestCase):
    """Lists."""

    def test_forms(self) -> None:
        """Items of built-in types have no kind of their own, those of custom resources do."""
        version = self.apply("Service", "web")
        self.apply("ServiceImport", "web")
        found = self.reply(SERVICES)
        self.assertEqual((found["kind"], found["apiVersion"]), ("ServiceList", "v1"))
        self.assertEqual(found["metadata"], {"resourceVersion": str(self.cluster.store.version)})
        self.assertNotIn("kind", found["items"][0])
        self.assertEqual(found["items"][0]["metadata"]["resourceVersion"], str(version))
        (custom,) = self.reply("/apis/multicluster.x-k8s.io/v1alpha1/serviceimports")["items"]
        self.assertEqual(custom["kind"], "ServiceImport")

    def test_selectors(self) -> None:
        """Label and field selectors choose; those that cannot be read are refused."""
        self.apply("Service", "a", meta={"labels": {"tier": "front"}})
        self.apply("Service", "b", meta={"labels": {"tier": "back"}})
        self.assertEqual(self.names(SERVICES, labelSelector="tier in (front)"), ["a"])
        self.assertEqual(self.names(SERVICES, fieldSelector="metadata.name=b"), ["b"])
        self.reply(SERVICES, code=400, labelSelector="tier in")
        self.reply(SERVICES, code=400, fieldSelector="status.phase=Running")

    def test_pods_by_phase(self) -> None:
        """Pods are chosen by their phase."""
        for phase in ("Running", "Succeeded", "Failed", "Pending"):
            self.apply("Pod", phase.lower(), status={"phase": phase})
        chosen = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"
        self.assertEqual(self.names("/api/v1/pods", fieldSelector=chosen), ["pending", "running"])

    def test_pages(self) -> None:
        """Pages make up the list as it was when the first was asked for, whatever changes between them."""
        for name in "abcdefg":
            self.apply("Service", name)
        first = self.reply(SERVICES, limit=3)
        self.assertEqual(first["metadata"]["remainingItemCount"], 4)
        self.cluster.delete_kind("Service", "prod", "d", 0.0)
        self.apply("Service", "aa")
        self.apply("Service", "dd")
        second = self.reply(SERVICES, limit=3, **{"continue": first["metadata"]["continue"]})
        third = self.reply(SERVICES, limit=3, **{"continue": second["metadata"]["continue"]})
        pages = [[item["metadata"]["name"] for item in page["items"]] for page in (first, second, third)]
        self.assertEqual(pages, [["a", "b", "c"], ["d", "e", "f"], ["g"]])
        self.assertEqual(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"])
        self.assertNotIn("continue", third["metadata"])

    def test_pages_of_a_selection(self) -> None:
        """Pages of a selection are full, and do not count what deferred_free."""
        for index in range(10):
            self.apply("Service", f"s{index}", meta={"labels": {"odd": str(index % 2)}})
        first = self.reply(SERVICES, limit=4, labelSelector="odd=1")
        self.assertEqual([item["metadata"]["name"] for item in first["items"]], ["s1", "s3", "s5", "s7"])
        self.assertNotIn("remainingItemCount", first["metadata"])
        token = first["metadata"]["continue"]
        self.assertEqual(self.names(SERVICES, limit=4, labelSelector="odd=1", **{"continue": token}), ["s9"])

    def test_expired_token(self) -> None:
        """After a compaction a token is refused, with another by which the rest can still be had."""
        for name in "abc":
            self.apply("Service", name)
        token = self.reply(SERVICES, limit=1)["metadata"]["continue"]
        self.apply("Service", "bb")
        self.cluster.store.compact()
        status = self.reply(SERVICES, code=410, limit=1, **{"continue": token})
        self.assertEqual((status["reason"], status["status"]), ("Expired", "Failure"))
        offered = status["metadata"]["continue"]
        self.assertEqual(self.names(SERVICES, **{"continue": offered}), ["b", "bb", "c"])

    def test_versions(self) -> None:
        """The version asked for decides between the present, the exact past, and waiting."""
        past = self.apply("Service", "a")
        now = self.apply("Service", "b")
        self.assertEqual(self.names(SERVICES, resourceVersion=past), ["a", "b"])
        match: Any = {"resourceVersionMatch": "NotOlderThan"}
        self.assertEqual(self.names(SERVICES, resourceVersion=past, **match), ["a", "b"])
        self.assertEqual(self.names(SERVICES, resourceVersion=past, resourceVersionMatch="Exact"), ["a"])
        self.assertEqual(self.names(SERVICES, resourceVersion=past, limit=5), ["a"])
        self.assertEqual(self.ask(SERVICES, resourceVersion=now + 1), WaitOrder(now + 1, now))
        self.cluster.store.compact()
        self.reply(SERVICES, code=410, resourceVersion=past, resourceVersionMatch="Exact")

    def test_version_zero(self) -> None:
        """Version 0 is answered from the cache, and that knows no pages."""
        for name in "abc":
            self.apply("Service", name)
        self.assertEqual(self.names(SERVICES, resourceVersion=0, limit=1), ["a", "b", "c"])

    def test_contradictions(self) -> None:
        """Options that do not go together are refused."""
        for code, query in (
            (422, {"resourceVersionMatch": "Exact"}),
            (422, {"resourceVersionMatch": "Exact", "resourceVersion": "0"}),
            (422, {"resourceVersionMatch": "Never", "resourceVersion": "1"}),
            (422, {"sendInitialEvents": "true"}),
            (400, {"resourceVersion": "x"}),
            (400, {"limit": "-1"}),
            (400, {"continue": "%%%"}),
            (400, {"continue": "e30"}),
        ):
            self.reply(SERVICES, code=code, **query)

    def test_metadata_only(self) -> None:
        """Metadata alone is given when it is asked for first; what nobody can give is refused."""
        self.apply("Service", "a")
        found = self.reply(SERVICES, headers={"accept": PARTIAL})
        self.assertEqual(found["kind"], "PartialObjectMetadataList")
        self.assertEqual(found["items"][0]["kind"], "PartialObjectMetadata")
        self.assertNotIn("spec", found["items"][0])
        table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        self.assertEqual(self.reply(SERVICES, headers={"accept": table})["kind"], "ServiceList")
        self.reply(SERVICES, code=406, headers={"accept": "application/vnd.kubernetes.protobuf"})


class WatchRequestTests(RestCase):
    """Watches."""

    def watch(self, **query: Any) -> WatchOrder:
        """A watch that is granted."""
        outcome = self.ask(SERVICES, watch="true", **query)
        assert isinstance(outcome, WatchOrder), outcome
        return outcome

    def told(self, order: WatchOrder) -> list[tuple[str, str]]:
        """Types and names of the lines there are."""
        events = [json.loads(line.data) for line in order.watch.take(100)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]

    def test_starts(self) -> None:
        """Without a version a watch begins with the state, with one it begins after that."""
        past = self.apply("Service", "a")
        self.apply("Service", "b")
        both = [("ADDED", "a"), ("ADDED", "b")]
        self.assertEqual(self.told(self.watch()), both)
        self.assertEqual(self.told(self.watch(resourceVersion=0)), both)
        self.assertEqual(self.told(self.watch(resourceVersion=past)), [("ADDED", "b")])

    def test_options(self) -> None:
        """Bookmarks and the time-out are passed on."""
        order = self.watch(allowWatchBookmarks="true", timeoutSeconds=30)
        self.assertEqual((order.bookmarks, order.timeout), (True, 30))
        order = self.watch()
        self.assertEqual((order.bookmarks, order.timeout), (False, None))

    def test_watch_list(self) -> None:
        """A streamed list has its end marked, if bookmarks are allowed."""
        self.apply("Service", "a")
        asked: Any = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        self.assertEqual(self.told(self.watch(allowWatchBookmarks="true", **asked)), [("ADDED", "a"), ("BOOKMARK", "")])
        self.assertEqual(self.told(self.watch(**asked)), [("ADDED", "a")])
        later = self.cluster.store.version + 1
        self.assertIsInstance(self.ask(SERVICES, watch="true", resourceVersion=later, **asked), WaitOrder)

    def test_watch_list_refused(self) -> None:
        """Older servers refuse a streamed list, or do not know the word."""
        self.apply("Service", "a")
        asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
        self.rest.watch_list = WatchListSupport.REFUSED_422
        status = self.reply(SERVICES, code=422, watch="true", **asked)
        self.assertEqual(status["reason"], "Invalid")
        self.assertIn("WatchList", status["message"])
        self.rest.watch_list = WatchListSupport.REFUSED_400
        self.reply(SERVICES, code=400, watch="true", **asked)
        self.rest.watch_list = WatchListSupport.IGNORED
        self.assertEqual(self.told(self.watch(**asked)), [("ADDED", "a")])

    def test_contradictions(self) -> None:
        """Options that do not go together are refused."""
        self.reply(SERVICES, code=422, watch="true", sendInitialEvents="true")
        self.reply(SERVICES, code=422, watch="true", resourceVersionMatch="NotOlderThan")

    def test_gone(self) -> None:
        """A forgotten version is refused at once only if the server is set so."""
        past = self.apply("Service", "a")
        self.apply("Service", "b")
        self.cluster.store.compact()
        self.assertRaises(ApiError, self.watch(resourceVersion=past).watch.take, 1)
        self.rest.gone_as_http = True
        self.reply(SERVICES, code=410, watch="true", resourceVersion=past)


class WriteTests(RestCase):
    """Changes by request."""

    def body(self, name: str = "web", **parts: Any) -> dict[str, Any]:
        """A Service."""
        return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name}, **parts}

    def test_create(self) -> None:
        """A created object has what the server adds, and not the status the client sent."""
        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
        body = self.body(spec={"ports": [{"port": 80}]}, status=status)
        made = self.reply(IN_PROD, "POST", 201, body=body, headers={"user-agent": "kubectl/v1"})
        self.assertEqual(made["metadata"]["namespace"], "prod")
        self.assertEqual(made["metadata"]["managedFields"][0]["manager"], "kubectl")
        self.assertEqual(made["status"], {"loadBalancer": {}})
        self.assertEqual(made["spec"]["ports"], [{"port": 80, "protocol": "TCP", "targetPort": 80}])
        self.assertEqual(made["spec"]["clusterIPs"], [made["spec"]["clusterIP"]])

    def test_create_refused(self) -> None:
        """Names taken, namespaces missing, kinds and names that do not fit."""
        self.apply("Service", "web")
        self.reply(IN_PROD, "POST", 409, body=self.body())
        self.reply("/api/v1/namespaces/nowhere/services", "POST", 404, body=self.body("b"))
        self.reply(IN_PROD, "POST", 400, body={**self.body("b"), "kind": "Pod"})
        self.reply(IN_PROD, "POST", 422, body=self.body("Upper"))
        self.reply(IN_PROD, "POST", 422, body={"metadata": {}})
        self.reply(IN_PROD, "POST", 400, body=[])
        self.reply(IN_PROD, "POST", 400, body={"metadata": {"name": "b", "namespace": "other"}})
        self.reply(SERVICES, "POST", 405, body=self.body("b"))
        protobuf = {"content-type": "application/vnd.kubernetes.protobuf"}
        outcome = self.rest.answer
        request = ApiRequest("POST", IN_PROD, {}, protobuf, b"k8s\x00")
        self.assertEqual(self.assertRaises(ApiError, outcome, request, 0.0).code, 415)

    def test_update(self) -> None:
        """An update of the present version counts, one of an older does not, and one of the same content is none."""
        self.apply("Service", "web")
        now = self.reply(f"{IN_PROD}/web")
        self.assertEqual(self.reply(f"{IN_PROD}/web", "PUT", body=now), now)
        changed = {**now, "spec": {**now["spec"], "sessionAffinity": "ClientIP"}}
        after = self.reply(f"{IN_PROD}/web", "PUT", body=changed)
        self.assertEqual(after["metadata"]["uid"], now["metadata"]["uid"])
        self.assertGreater(int(after["metadata"]["resourceVersion"]), int(now["metadata"]["resourceVersion"]))
        self.assertEqual(self.reply(f"{IN_PROD}/web", "PUT", 409, body=changed)["reason"], "Conflict")
        self.reply(f"{IN_PROD}/absent", "PUT", 404, body=self.body("absent"))
        self.reply(f"{IN_PROD}/web", "PUT", 400, body=self.body("other"))

    def test_status(self) -> None:
        """The status is changed through its own path, which changes nothing else."""
        self.apply("Service", "web")
        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
        body = self.body(spec={"externalName": "x"}, status=status)
        after = self.reply(f"{IN_PROD}/web/status", "PUT", body=body)
        self.assertEqual((after["status"], "externalName" in after["spec"]), (status, False))
        merge = {"content-type": "application/merge-patch+json"}
        after = self.reply(f"{IN_PROD}/web", "PATCH", body={"status": {"loadBalancer": None}}, headers=merge)
        self.assertEqual(after["status"], status)
        self.reply("/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices/x/status", code=404)

    def test_patch(self) -> None:
        """A patch changes what it names; server-side apply makes what is missing."""
        self.apply("Service", "web")
        merge = {"content-type": "application/merge-patch+json"}
        body = {"metadata": {"labels": {"a": "b"}}}
        after = self.reply(f"{IN_PROD}/web", "PATCH", body=body, headers=merge)
        self.assertEqual(after["metadata"]["labels"], {"a": "b"})
        apply = {"content-type": "application/apply-patch+yaml"}
        self.reply(f"{IN_PROD}/new", "PATCH", 201, body=self.body("new"), headers=apply)
        self.reply(f"{IN_PROD}/new", "PATCH", body=self.body("new"), headers=apply)
        self.reply(f"{IN_PROD}/none", "PATCH", 404, body={}, headers=merge)

    def test_delete(self) -> None:
        """A deletion gives the last state, and heeds the uid it is meant for."""
        self.apply("Service", "web")
        uid = self.reply(f"{IN_PROD}/web")["metadata"]["uid"]
        self.reply(f"{IN_PROD}/web", "DELETE", 409, body={"preconditions": {"uid": "another"}})
        last = self.reply(f"{IN_PROD}/web", "DELETE", body={"preconditions": {"uid": uid}})
        self.assertEqual((last["kind"], last["metadata"]["uid"]), ("Service", uid))
        self.reply(f"{IN_PROD}/web", "DELETE", 404)

    def test_delete_answered_with_status(self) -> None:
        """Kinds other than Service and Pod are answered with a Status that says what is gone."""
        self.apply("EndpointSlice", "web-1")
        path = "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices/web-1"
        uid = self.reply(path)["metadata"]["uid"]
        status = self.reply(path, "DELETE")
        self.assertEqual(status["status"], "Success")
        details = {"name": "web-1", "group": "discovery.k8s.io", "kind": "endpointslices", "uid": uid}
        self.assertEqual(status["details"], details)

    def test_delete_collection(self) -> None:
        """A collection is deleted as far as it is selected."""
        self.apply("Service", "a", meta={"labels": {"x": "y"}})
        self.apply("Service", "b")
        self.reply(IN_PROD, "DELETE", labelSelector="x=y")
        self.assertEqual(self.names(SERVICES), ["b"])

    def test_names_of_roles(self) -> None:
        """Names of roles may have colons, as those of other objects may not."""
        self.apply("ClusterRole", "system:coredns", "")
        self.assertRaises(ApiError, self.apply, "ClusterRole", "System", "")
        self.assertRaises(ApiError, self.apply, "ConfigMap", "system:coredns")


class DiscoveryTests(RestCase):
    """What clients learn of the server."""

    def test_documents(self) -> None:
        """Each resource is found by way of groups and versions."""
        self.assertEqual(self.reply("/api")["versions"], ["v1"])
        groups = {group["name"]: group["preferredVersion"]["version"] for group in self.reply("/apis")["groups"]}
        deploying = {"apps": "v1", "autoscaling": "v2", "policy": "v1", "rbac.authorization.k8s.io": "v1"}
        self.assertEqual(groups, {"discovery.k8s.io": "v1", "multicluster.x-k8s.io": "v1alpha1", **deploying})
        self.assertEqual(self.reply("/apis/discovery.k8s.io")["kind"], "APIGroup")
        core = {entry["name"] for entry in self.reply("/api/v1")["resources"]}
        self.assertTrue({"services", "services/status", "pods", "namespaces"} <= core)
        (slices,) = self.reply("/apis/discovery.k8s.io/v1")["resources"]
        self.assertEqual((slices["kind"], slices["namespaced"]), ("EndpointSlice", True))
        self.assertEqual(self.reply("/version")["minor"], "32")
        for root in self.reply("/openapi/v3")["paths"].values():
            self.assertTrue(self.reply(root["serverRelativeURL"])["paths"])
        self.assertEqual(self.ask("/readyz"), Reply(200, b"ok", "text/plain; charset=utf-8"))

    def test_not_there(self) -> None:
        """Other paths are not found, and documents are only read."""
        for path in ("/", "/api/v2", "/apis/batch/v1", "/api/v1/secrets", "/openapi/v3/apis/batch/v1"):
            self.assertEqual(self.reply(path, code=404)["reason"], "NotFound")
        self.reply("/api", "POST", 405, body={})

    def test_not_installed(self) -> None:
        """A custom resource is not found until its definition is loaded."""
        self.cluster.hidden.add(SERVICE_IMPORTS)
        path = "/apis/multicluster.x-k8s.io/v1alpha1"
        self.reply(f"{path}/serviceimports", code=404)
        self.reply(path, code=404)
        definition = "{kind: CustomResourceDefinition, metadata: {name: serviceimports.multicluster.x-k8s.io}}"
        self.cluster.load(definition, 0.0)
        self.assertEqual(self.names(f"{path}/serviceimports"), [])
