"""Clients are known by what they show, and may do what their rules say."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from tests.apiserver.access import (
    ADMIN,
    ANONYMOUS,
    COREDNS,
    LIST_AND_WATCH,
    Access,
    User,
    check_path,
    check_resource,
)
from tests.apiserver.resources import Place, locate
from tests.apiserver.status import ApiError

DNS = User(COREDNS, LIST_AND_WATCH)


def place(path: str) -> Place:
    """What a path names."""
    found = locate(path)
    assert found is not None, path
    return found


class AuthenticateTests(SynchronousTestCase):
    """Access.authenticate."""

    def refused(self, access: Access, authorization: str, name: str = "") -> int:
        """The code of the refusal."""
        return int(self.assertRaises(ApiError, access.authenticate, authorization, name).code)

    def test_open(self) -> None:
        """Without any credentials set up everybody is an administrator, unless they are required."""
        self.assertIs(Access().authenticate("", ""), ADMIN)
        self.assertIs(Access().authenticate("Bearer whatever", ""), ADMIN)
        self.assertIs(Access(require=True).authenticate("", ""), ANONYMOUS)

    def test_token(self) -> None:
        """A token is its user's until it is rotated away."""
        access = Access(tokens={"old": DNS})
        self.assertIs(access.authenticate("Bearer old", ""), DNS)
        access.rotate("old", "new")
        self.assertEqual(self.refused(access, "Bearer old"), 401)
        self.assertIs(access.authenticate("Bearer new", ""), DNS)

    def test_basic(self) -> None:
        """Name and password must both be right."""
        access = Access(passwords={("dns", "s:cret"): DNS})
        header = "Basic " + base64.b64encode(b"dns:s:cret").decode()
        self.assertIs(access.authenticate(header, ""), DNS)
        for wrong in ("Basic " + base64.b64encode(b"dns:secret").decode(), "Basic %%%", "Basic /w=="):
            self.assertEqual(self.refused(access, wrong), 401)

    def test_certificate(self) -> None:
        """The name in a certificate is enough; that of a stranger counts for nothing."""
        access = Access(certificates={"dns": DNS})
        self.assertIs(access.authenticate("", "dns"), DNS)
        self.assertEqual(self.refused(access, "", "stranger"), 401)

    def test_anonymous(self) -> None:
        """Without credentials a client is nobody, or refused, as the server is set up."""
        self.assertIs(Access(tokens={"t": DNS}).authenticate("", ""), ANONYMOUS)
        self.assertEqual(self.refused(Access(tokens={"t": DNS}, anonymous=False), ""), 401)


class AuthorizeTests(SynchronousTestCase):
    """check_resource and check_path."""

    def test_dns_may_list_and_watch(self) -> None:
        """The rules of a cluster DNS server cover what it needs and nothing else."""
        services = place("/api/v1/services")
        check_resource(DNS, "list", services)
        check_resource(DNS, "watch", services)
        for verb in ("get", "create", "update", "patch", "delete"):
            self.assertEqual(self.assertRaises(ApiError, check_resource, DNS, verb, services).code, 403)

    def test_wildcards(self) -> None:
        """A star fits any verb or resource."""
        pods = place("/api/v1/pods")
        for rule in (("*", "*"), ("list", "*"), ("*", "pods")):
            check_resource(User("u", frozenset({rule})), "list", pods)

    def test_words(self) -> None:
        """The refusal reads as that of the real server, wherever the request was aimed."""
        nobody = User(COREDNS, frozenset())
        for path, verb, wanted in (
            (
                "/api/v1/services",
                "list",
                'services is forbidden: User "system:serviceaccount:kube-system:coredns" cannot list resource'
                ' "services" in API group "" at the cluster scope',
            ),
            (
                "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices",
                "watch",
                'endpointslices.discovery.k8s.io is forbidden: User "system:serviceaccount:kube-system:coredns"'
                ' cannot watch resource "endpointslices" in API group "discovery.k8s.io" in the namespace "prod"',
            ),
            (
                "/api/v1/namespaces/prod/services/web",
                "get",
                'services "web" is forbidden: User "system:serviceaccount:kube-system:coredns" cannot get'
                ' resource "services" in API group "" in the namespace "prod"',
            ),
        ):
            problem = self.assertRaises(ApiError, check_resource, nobody, verb, place(path))
            self.assertEqual(problem.message, wanted)
            self.assertEqual(problem.status()["reason"], "Forbidden")

    def test_paths(self) -> None:
        """Nobody sees health and version, and no discovery."""
        check_path(ANONYMOUS, "get", "/readyz")
        check_path(DNS, "get", "/apis")
        problem = self.assertRaises(ApiError, check_path, ANONYMOUS, "get", "/apis")
        self.assertEqual(problem.message, 'forbidden: User "system:anonymous" cannot get path "/apis"')
