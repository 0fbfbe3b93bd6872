"""Tables by name and by something shared."""

from itertools import permutations

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.objects import Namespace, Pod
from kdns.cluster.tables import ByName, Shared


def pod(namespace: bytes, name: bytes, version: int = 0) -> Pod:
    """A pod somewhere."""
    return Pod(namespace, name, b"aaaa", version=version)


class ByNameTests(SynchronousTestCase):
    """Objects by namespace and name."""

    def test_put_get_pop(self) -> None:
        """An object takes the place of the older one, and goes once."""
        table: ByName[Pod] = ByName()
        old, new = pod(b"n", b"a"), pod(b"n", b"a", 1)
        self.assertIsNone(table.put(old))
        self.assertIs(table.put(new), old)
        self.assertEqual(len(table), 1)
        self.assertIs(table.get(b"n", b"a"), new)
        self.assertIs(table.pop(b"n", b"a"), new)
        self.assertIsNone(table.pop(b"n", b"a"))
        self.assertIsNone(table.pop(b"other", b"a"))
        self.assertEqual((len(table), list(table)), (0, []))

    def test_names_and_homes(self) -> None:
        """The names of one namespace, and the namespaces of one name."""
        table: ByName[Pod] = ByName()
        for namespace, name in ((b"n", b"a"), (b"n", b"b"), (b"m", b"a"), (b"k", b"c")):
            table.put(pod(namespace, name))
        self.assertEqual((sorted(table.names(b"n")), table.names(b"x")), ([b"a", b"b"], []))
        self.assertEqual((table.homes(b"a"), table.homes(b"x")), ([b"m", b"n"], []))
        table.pop(b"m", b"a")
        self.assertEqual(table.homes(b"a"), [b"n"])

    def test_the_key_is_the_name_of_the_newest(self) -> None:
        """The name of an object that was replaced is not kept alive as a key."""
        table: ByName[Pod] = ByName()
        name = bytes(bytearray(b"long-name"))
        table.put(pod(b"n", bytes(bytearray(b"long-name"))))
        table.put(pod(b"n", name))
        self.assertIs(next(iter(table._namespaces[b"n"])), name)

    def test_walk_stands_changes(self) -> None:
        """A walk goes on when objects come and go, and brings what was there all the time once."""
        table: ByName[Pod] = ByName()
        for name in (b"a", b"b", b"c", b"d"):
            table.put(pod(b"n", name))
        seen = []
        for item in table.walk():
            seen.append(item.name)
            if item.name == b"a":
                table.pop(b"n", b"b")
                table.put(pod(b"n", b"e"))
                table.put(pod(b"m", b"f"))
        self.assertEqual(seen, [b"a", b"c", b"d"])


class SharedTests(SynchronousTestCase):
    """Objects by a key that several have."""

    def test_order_is_not_that_of_arrival(self) -> None:
        """Whatever came first, they stand by namespace and name."""
        items = [pod(b"a", b"z"), pod(b"b", b"a"), pod(b"b", b"c")]
        for order in permutations(items):
            table: Shared[Pod] = Shared()
            for item in order:
                table.add(b"k", item)
            self.assertEqual(table.get(b"k"), tuple(items))

    def test_remove(self) -> None:
        """Others stay, and the last one leaves nothing behind."""
        table: Shared[Pod] = Shared()
        one, two = pod(b"a", b"a"), pod(b"a", b"b")
        table.add(b"k", one)
        table.add(b"k", two)
        table.remove(b"k", one)
        self.assertEqual(table.get(b"k"), (two,))
        table.remove(b"k", one)
        self.assertEqual(table.get(b"k"), (two,))
        table.remove(b"k", two)
        table.remove(b"k", two)
        self.assertEqual((table.get(b"k"), len(table)), ((), 0))

    def test_replace(self) -> None:
        """A newer value stands where the older one stood."""
        table: Shared[Pod] = Shared()
        table.add(b"k", pod(b"a", b"a"))
        table.replace(b"k", pod(b"a", b"a", 1))
        table.add(b"k", pod(b"a", b"b"))
        table.replace(b"k", pod(b"a", b"b", 2))
        self.assertEqual([item.version for item in table.get(b"k")], [1, 2])

    def test_namespaces_have_no_namespace(self) -> None:
        """They are found under the empty one."""
        table: ByName[Namespace] = ByName()
        table.put(Namespace(b"n"))
        self.assertEqual(table.get(b"", b"n"), Namespace(b"n"))
