# -*- test-case-name: tests.apiserver.test_patches -*-
"""
The three kinds of patch that clients send: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch.

Values in, values out. Of the strategic kind as much is kept as ``kubectl apply`` needs for the resources here: lists merged
by key where Kubernetes declares one, ``$patch`` and the ``$...`` directives for lists.
"""

from __future__ import annotations

from typing import Any

from tests.apiserver.resources import Json
from tests.apiserver.status import ApiError, bad_request

# Field name -> the key by which its list is merged; all other lists are replaced as a whole.
MERGE_KEYS = {
    "ports": "port",
    "containers": "name",
    "conditions": "type",
    "ownerReferences": "uid",
    "podIPs": "ip",
    "env": "name",
    "volumes": "name",
}
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def apply_patch(content_type: str, obj: Json, patch: Any) -> Json:
    """
    The object with the patch applied; the object given is left as it is.

    :raises ApiError: 400, 415 or 422, the patch cannot be applied.
    """
    kind = content_type.split(";")[0].strip()
    if kind == JSON_PATCH:
        if not isinstance(patch, list):
            raise bad_request("a JSON patch is a list of operations")
        done = json_patch(obj, patch)
    elif kind in (MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH):
        if not isinstance(patch, dict):
            raise bad_request("a merge patch is an object")
        done = merge(obj, patch) if kind == MERGE_PATCH else strategic(obj, patch)
    else:
        raise ApiError(
            415,
            "the body of the request was in an unknown format - accepted media types include:"
            f" {JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC_PATCH}, {APPLY_PATCH}",
        )
    if not isinstance(done, dict):
        raise bad_request("the patch leaves no object")
    return done


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386 section 2: members merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def strategic(target: Any, patch: Json) -> Any:
    """Merge as RFC 7386 does, but lists with a merge key element by element."""
    result = dict(target) if isinstance(target, dict) else {}
    if patch.get("$patch") == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    retained = patch.get("$retainKeys")
    if isinstance(retained, list):
        result = {name: value for name, value in result.items() if name in retained}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [item for item in result.get(field, []) if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = strategic(result.get(name), value)
        elif isinstance(value, list) and name in MERGE_KEYS and all(isinstance(item, dict) for item in value):
            result[name] = _merge_list(result.get(name) or [], value, MERGE_KEYS[name])
        else:
            result[name] = value
    return result


def _merge_list(target: list[Json], patch: list[Json], key: str) -> list[Json]:
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    result = list(target)
    for item in patch:
        places = [index for index, old in enumerate(result) if old.get(key) == item.get(key)]
        if item.get("$patch") == "delete":
            result = [old for old in result if old.get(key) != item.get(key)]
        elif places:
            result[places[0]] = strategic(result[places[0]], item)
        else:
            result.append(item)
    return result


def json_patch(obj: Any, operations: list[Json]) -> Any:
    """RFC 6902 section 4, without the sharing of values between places that could show."""
    root = {"": obj}  # so that the whole document has a parent too
    for operation in operations:
        try:
            _operate(root, operation)
        except (KeyError, IndexError, ValueError, TypeError) as problem:
            raise ApiError(
                422, f"the server rejected our request due to an error in our request: {problem}"
            ) from problem
    return root[""]


def _operate(root: Json, operation: Json) -> None:
    verb, path = operation["op"], _pointer(operation["path"])
    if verb == "test":
        if _read(root, path) != operation["value"]:
            raise ValueError(f"testing path {operation['path']} failed")
    elif verb == "remove":
        _change(root, path, "remove", None)
    elif verb in ("add", "replace"):
        _change(root, path, verb, operation["value"])
    elif verb in ("move", "copy"):
        source = _pointer(operation["from"])
        value = _read(root, source)
        if verb == "move":
            _change(root, source, "remove", None)
        _change(root, path, "add", value)
    else:
        raise ValueError(f"unexpected kind: {verb}")


def _pointer(text: str) -> list[str]:
    """RFC 6901: a JSON pointer, its first part being the empty name of the document."""
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")]


def _read(node: Any, path: list[str]) -> Any:
    for part in path:
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node


def _change(root: Json, path: list[str], verb: str, value: Any) -> None:
    """Change one place, with copies of the containers on the way there."""
    node: Any = root
    for part in path[:-1]:
        index: Any = int(part) if isinstance(node, list) else part
        node[index] = list(node[index]) if isinstance(node[index], list) else dict(node[index])
        node = node[index]
    last: Any = path[-1]
    if isinstance(node, list):
        last = len(node) if last == "-" and verb == "add" else int(last)
        if verb == "add":
            if not 0 <= last <= len(node):
                raise IndexError(f"index {last} out of range")
            node.insert(last, value)
            return
    if verb == "remove":
        del node[last]
    elif verb == "replace":
        node[last]  # must be there
        node[last] = value
    else:
        node[last] = value
