# -*- test-case-name: tests.apiserver.test_rest -*-
"""The documents by which clients learn what the fake API server serves; as much of them as kubectl reads."""

from __future__ import annotations

from collections.abc import Collection

from tests.apiserver.resources import RESOURCES, Json, Resource

VERSION = "v1.32.4"
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def document(path: str, hidden: Collection[Resource], now_served: str) -> Json | None:
    """
    The discovery document at a path, or None.

    :param hidden: resources that are not installed.
    :param now_served: ``host:port`` under which the client reached the server.
    """
    served = [resource for resource in RESOURCES if resource not in hidden]
    parts = path.strip("/").split("/")
    if path == "/version":
        return _version()
    if parts == ["api"]:
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": now_served}]
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
    if parts == ["apis"]:
        groups = {resource.group: _group(resource) for resource in served if resource.group}
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(groups.values())}
    if parts == ["openapi", "v3"]:
        return {"paths": {_root(r)[1:]: {"serverRelativeURL": f"/openapi/v3{_root(r)}"} for r in served}}
    if parts[:2] == ["openapi", "v3"]:
        return _openapi([r for r in served if _root(r).strip("/").split("/") == parts[2:]])
    for resource in served:
        if parts == ["apis", resource.group]:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(resource)}
    matching = [resource for resource in served if _root(resource).strip("/").split("/") == parts]
    return _resource_list(matching) if matching else None


def _root(resource: Resource) -> str:
    return f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"


def _version() -> Json:
    return {
        "major": "1",
        "minor": "32",
        "gitVersion": VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2025-04-22T00:00:00Z",
        "goVersion": "go1.23.6",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def _group(resource: Resource) -> Json:
    version = {"groupVersion": resource.api_version, "version": resource.version}
    return {"name": resource.group, "versions": [version], "preferredVersion": version}


def _resource_list(resources: list[Resource]) -> Json:
    entries: list[Json] = []
    for resource in resources:
        entry: Json = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": _VERBS,
            "shortNames": list(resource.short_names),
        }
        entries.append(entry)
        if resource.has_status:
            entries.append(
                {
                    "name": f"{resource.plural}/status",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    "kind": resource.kind,
                    "verbs": ["get", "patch", "update"],
                }
            )
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": resources[0].api_version,
        "resources": entries,
    }


def _openapi(resources: list[Resource]) -> Json | None:
    """Paths only: enough for kubectl to learn that the server validates fields, so that it need not itself."""
    if not resources:
        return None
    paths: Json = {}
    for resource in resources:
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
        operation: Json = {
            "parameters": [parameter],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-group-version-kind": kind,
        }
        paths[f"{_root(resource)}{scope}/{resource.plural}/{{name}}"] = {
            "patch": {**operation, "x-kubernetes-action": "patch"},
            "put": {**operation, "x-kubernetes-action": "put"},
        }
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "components": {"schemas": {}},
    }
