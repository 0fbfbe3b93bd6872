"""Names that search paths made up, told from names that are only missing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.server.search_path import SearchPaths
from kdns.wire.names import from_text

DOMAIN = from_text("cluster.local")


class Cluster:
    """A cluster with some namespaces and services."""

    services = {(b"shop", b"db"), (b"shop", b"web"), (b"prod", b"web")}

    def has_namespace(self, namespace: bytes) -> bool:
        """Those of the services, and one without any."""
        return namespace == b"empty" or any(namespace == known for known, _ in self.services)

    def service(self, namespace: bytes, name: bytes) -> object | None:
        """Something, if it is there."""
        return True if (namespace, name) in self.services else None


MADE = (
    # Each step of the search for an outside name, from a pod in a namespace that is there.
    "api.example.com.shop.svc.cluster.local",
    "api.example.com.svc.cluster.local",
    "api.example.com.cluster.local",
    "example.com.shop.svc.cluster.local",
    "example.com.svc.cluster.local",
    "example.com.cluster.local",
    "example.de.shop.svc.cluster.local",
    "xn--bcher-kva.xn--p1ai.shop.svc.cluster.local",
    "www.example.museum.shop.svc.cluster.local",
    "_xmpp-client._tcp.example.com.shop.svc.cluster.local",
    "_ldap._tcp.dc._msdcs.example.corp.shop.svc.cluster.local",
    "host.intra.example.private.empty.svc.cluster.local",
    # A short name of another namespace, and names that are complete but for the final dot.
    "web.prod.shop.svc.cluster.local",
    "web.prod.svc.shop.svc.cluster.local",
    "web.prod.svc.cluster.local.shop.svc.cluster.local",
    "web.prod.svc.cluster.local.svc.cluster.local",
    "web.prod.svc.cluster.local.cluster.local",
    "host.svc.cluster.local.svc.cluster.local",
)

MISSING = (
    # A missing service, one in a missing namespace, and what is missing of services that are there or not.
    "nope.shop.svc.cluster.local",
    "nope.nowhere.svc.cluster.local",
    "db-7.db.shop.svc.cluster.local",
    "db-7.nope.shop.svc.cluster.local",
    "_https._tcp.web.shop.svc.cluster.local",
    "_https._tcp.nope.shop.svc.cluster.local",
    "_https._tcp.nope.nowhere.svc.cluster.local",
    # The search for a name of one label; the cluster's own names.
    "redis.shop.svc.cluster.local",
    "redis.svc.cluster.local",
    "redis.cluster.local",
    "svc.cluster.local",
    "10-0-0-1.shop.pod.cluster.local",
    "cluster.local",
    # Not of the cluster at all.
    "api.example.com",
    "api.example.com.svc.other.local",
    "api.example.com.notcluster.local",
    ".",
)


class SearchPathTests(SynchronousTestCase):
    """The guess."""

    def setUp(self) -> None:
        self.paths = SearchPaths([(DOMAIN, Cluster())])

    def test_made(self) -> None:
        """An outside name with what a search path appends is one that it made, as is a name of the cluster that was not complete."""
        self.assertEqual([name for name in MADE if not self.paths.made(from_text(name))], [])

    def test_missing(self) -> None:
        """A name that is only missing is none."""
        self.assertEqual([name for name in MISSING if self.paths.made(from_text(name))], [])

    def test_no_cluster(self) -> None:
        """Without a cluster there are no search paths."""
        self.assertFalse(SearchPaths(()).made(from_text(MADE[0])))

    def test_several(self) -> None:
        """Each cluster domain has its own; a domain of other labels ends its own complete names."""
        paths = SearchPaths([(DOMAIN, Cluster()), (from_text("k8s.acme"), Cluster())])
        self.assertTrue(paths.made(from_text("api.example.com.shop.svc.k8s.acme")))
        self.assertTrue(paths.made(from_text("api.example.com.shop.svc.cluster.local")))
        self.assertTrue(paths.made(from_text("x.acme.svc.k8s.acme")))

    def test_no_name(self) -> None:
        """A domain that begins within a label, and octets that are no name, are not judged."""
        zone = DOMAIN
        self.assertFalse(self.paths.made(b"\x0fabc.d" + zone))
        self.assertFalse(self.paths.made(b"\x3f" + zone))
