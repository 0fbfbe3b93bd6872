# -*- test-case-name: tests.apiserver.test_rest -*-
"""The Status objects with which the fake API server refuses a request; when to refuse is decided elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from tests.apiserver.resources import Json, Resource

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(eq=False, slots=True)
class ApiError(Exception):
    """A request refused: what the server answers instead of the thing asked for."""

    code: int
    message: str
    reason: str = ""
    details: Json | None = None
    retry_after: int = 0  # whole seconds, 0: no Retry-After
    list_metadata: Json | None = None  # the continue token of an expired list

    def __str__(self) -> str:
        return f"{self.code} {self.reason or REASONS.get(self.code, '')}: {self.message}"

    def status(self) -> Json:
        """The Status object as the API writes it."""
        body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.list_metadata or {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason or REASONS.get(self.code, "Unknown"),
        }
        details = dict(self.details or {})
        if self.retry_after:
            details["retryAfterSeconds"] = self.retry_after
        if details:
            body["details"] = details
        body["code"] = self.code
        return body


def _details(resource: Resource, name: str) -> Json:
    found: Json = {"name": name} if name else {}
    if resource.group:
        found["group"] = resource.group
    found["kind"] = resource.plural
    return found


def bad_request(message: str) -> ApiError:
    """400: the request cannot be read."""
    return ApiError(400, message)


def unauthorized() -> ApiError:
    """401: the credentials are not known."""
    return ApiError(401, "Unauthorized")


def forbidden(user: str, verb: str, resource: Resource, namespace: str, name: str) -> ApiError:
    """403: the user is known and may not do this."""
    subject = f'{resource.qualified} "{name}"' if name else resource.qualified
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = (
        f'{subject} is forbidden: User "{user}" cannot {verb} resource "{resource.plural}"'
        f' in API group "{resource.group}" {where}'
    )
    return ApiError(403, message, details=_details(resource, name))


def forbidden_path(user: str, verb: str, path: str) -> ApiError:
    """403 for a path that is not a resource."""
    return ApiError(403, f'forbidden: User "{user}" cannot {verb} path "{path}"', details={})


def no_such_path() -> ApiError:
    """404: no such path, or no such resource type."""
    return ApiError(404, "the server could not find the requested resource", details={})


def not_found(resource: Resource, name: str) -> ApiError:
    """404: no such object."""
    return ApiError(404, f'{resource.qualified} "{name}" not found', details=_details(resource, name))


def already_exists(resource: Resource, name: str) -> ApiError:
    """409: create of a name that is taken."""
    return ApiError(409, f'{resource.qualified} "{name}" already exists', "AlreadyExists", _details(resource, name))


def conflict(resource: Resource, name: str) -> ApiError:
    """409: an update of an older version."""
    message = (
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been modified;'
        " please apply your changes to the latest version and try again"
    )
    return ApiError(409, message, details=_details(resource, name))


def invalid(resource: Resource, name: str, problem: str) -> ApiError:
    """422: the object breaks a rule of its kind."""
    subject = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return ApiError(422, f'{subject} "{name}" is invalid: {problem}', details=_details(resource, name))


def invalid_options(problem: str) -> ApiError:
    """422: list options that contradict each other or are switched off."""
    return ApiError(
        422,
        f'ListOptions.meta.k8s.io "" is invalid: {problem}',
        details={"group": "meta.k8s.io", "kind": "ListOptions"},
    )


def expired(message: str, list_metadata: Json | None = None) -> ApiError:
    """410: the version asked for is no longer known."""
    return ApiError(410, message, "Expired", list_metadata=list_metadata)


def too_large_version(wanted: int, current: int) -> ApiError:
    """504: the version asked for is not reached yet."""
    return ApiError(
        504,
        f"Timeout: Too large resource version: {wanted}, current: {current}",
        details={
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        },
        retry_after=1,
    )
