"""Groups of clients by the namespace of their pods. What is made of them is tested with *autopath*."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.objects import Pod
from kdns.core.stamps import MOVES
from kdns.core.validity import Audience
from kdns.plugins.kubernetes.search_path import PodNamespace
from tests.plugins.kubernetes.cluster import Bench


def pod(namespace: bytes, address: str) -> Pod:
    """A pod."""
    return Pod(namespace, b"pod", ip_address(address).packed)


class PodNamespaceTests(SynchronousTestCase):
    """The namespace of the pods with an address."""

    def test_equal(self) -> None:
        """Namespaces make groups, whichever address is asked about."""
        self.assertEqual(PodNamespace(b"a", None), PodNamespace(b"a", None))
        self.assertNotEqual(PodNamespace(b"a", None), PodNamespace(None, None))
        self.assertEqual(len({PodNamespace(b"a", None), PodNamespace(b"a", None), PodNamespace(None, None)}), 2)

    def test_change_is_noticed(self) -> None:
        """As long as a group is remembered, each change of the address's pods moves a stamp, whoever else depends on it or not."""
        bench = Bench("pods verified")
        audience = Audience((bench.zone.path_group,), volatile=True)
        self.assertEqual(audience.of("10.0.0.1"), (PodNamespace(None, None),))
        before = MOVES[0]
        bench.put(pod(b"shop", "10.0.0.1"))
        self.assertGreater(MOVES[0], before)
        self.assertEqual(audience.of("10.0.0.1"), (PodNamespace(b"shop", None),))
        bench.put(pod(b"shop", "10.0.0.2"))
        self.assertEqual(audience.of("10.0.0.1"), (PodNamespace(None, None),))
        self.assertEqual(audience.of("10.0.0.2"), (PodNamespace(b"shop", None),))
