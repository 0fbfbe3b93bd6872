# -*- test-case-name: tests.apiserver.test_access -*-
"""Who a request comes from and what they may do; the refusals are worded in status.py."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from tests.apiserver.resources import Place
from tests.apiserver.status import forbidden, forbidden_path, unauthorized

COREDNS = "system:serviceaccount:kube-system:coredns"
ANONYMOUS_NAME = "system:anonymous"

LIST_AND_WATCH = frozenset(
    (verb, resource)
    for verb in ("list", "watch")
    for resource in ("services", "endpointslices", "namespaces", "pods", "serviceimports")
)


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated client. *allowed* holds (verb, plural) pairs, ``*`` fits any; None allows everything."""

    name: str
    allowed: frozenset[tuple[str, str]] | None = None

    def may(self, verb: str, plural: str) -> bool:
        """Whether a rule covers this."""
        rules = self.allowed
        return rules is None or bool(rules & {(verb, plural), ("*", plural), (verb, "*"), ("*", "*")})


ADMIN = User("kubernetes-admin")
ANONYMOUS = User(ANONYMOUS_NAME, frozenset())


@dataclass(slots=True)
class Access:
    """The credentials known. As long as there are none, everybody is admitted as an administrator."""

    tokens: dict[str, User] = field(default_factory=dict)
    passwords: dict[tuple[str, str], User] = field(default_factory=dict)
    certificates: dict[str, User] = field(default_factory=dict)  # common name -> user
    anonymous: bool = True  # without credentials: True gives 403, False gives 401
    require: bool = False  # ask for credentials even while none are known

    def rotate(self, old: str, new: str) -> None:
        """Accept *new* in place of *old* from now on; watches already open stay, as with the real server."""
        self.tokens[new] = self.tokens.pop(old)

    def authenticate(self, authorization: str, common_name: str) -> User:
        """
        The user behind an Authorization header and the name in a verified client certificate (either may be empty).

        :raises ApiError: 401, credentials were shown and are not known.
        """
        if not self.require and not (self.tokens or self.passwords or self.certificates):
            return ADMIN
        # As in the real server the certificate is looked at first, and one of a stranger is no reason to give up.
        if common_name in self.certificates:
            return self.certificates[common_name]
        scheme, _, rest = authorization.partition(" ")
        user: User | None = None
        if scheme.lower() == "bearer":
            user = self.tokens.get(rest.strip())
        elif scheme.lower() == "basic":
            user = self.passwords.get(_basic(rest))
        elif self.anonymous and not common_name:
            return ANONYMOUS
        if user is None:
            raise unauthorized()
        return user


def _basic(text: str) -> tuple[str, str]:
    try:
        name, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise unauthorized() from None
    return name, password


def check_resource(user: User, verb: str, place: Place) -> None:
    """:raises ApiError: 403, the user may not do this to the resource."""
    plural = f"{place.resource.plural}/{place.subresource}" if place.subresource else place.resource.plural
    if not user.may(verb, plural):
        raise forbidden(user.name, verb, place.resource, place.namespace, place.name)


def check_path(user: User, verb: str, path: str) -> None:
    """:raises ApiError: 403, discovery and version are for those who are known; health is for all."""
    if user.name == ANONYMOUS_NAME and path not in ("/healthz", "/livez", "/readyz", "/version"):
        raise forbidden_path(user.name, verb, path)
