# -*- test-case-name: tests.admin.test_places -*-
"""Where the admin socket is."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from kdns.admin.places import RUN, address_of, default_places, is_believed, is_off, listening_places, mount_namespace

KERNEL = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 111 /run/user/1000/kdns.sock
0000000000000000: 00000003 00000000 00000000 0001 03 112 /run/user/1000/kdns.sock
0000000000000000: 00000002 00000000 00010000 0001 01 113 @kdns-0-4026531841
0000000000000000: 00000002 00000000 00000000 0002 01 114 @kdns-1-4026531841
0000000000000000: 00000002 00000000 00010000 0001 01 115 /run/kdns/admin.sock
0000000000000000: 00000002 00000000 00010000 0001 01 118 /tmp/tmpx1y2/kdns.sock
0000000000000000: 00000002 00000000 00010000 0001 01 119 @kdns-test-17-4711
0000000000000000: 00000002 00000000 00010000 0001 01 116 /run/postgresql/.s.PGSQL.5432
0000000000000000: 00000002 00000000 00010000 0001 01 117
"""


class PlaceTests(SynchronousTestCase):
    """What server and client agree on."""

    def test_order(self) -> None:
        """The user's own folder first, then the system's, then a name that needs no folder, one for each user and container."""
        places = default_places({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "4026")
        self.assertEqual(places, ("/run/user/7/kdns.sock", "/run/kdns/admin.sock", "@kdns-7-4026"))

    def test_no_runtime_folder(self) -> None:
        """Without the variable, or with one that is no absolute path, that place is left out."""
        for environment in ({}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "run"}):
            self.assertEqual(default_places(environment, 0, "1"), ("/run/kdns/admin.sock", "@kdns-0-1"))

    def test_off(self) -> None:
        """Nothing and ``off`` mean no socket; not having been asked does not."""
        self.assertEqual([is_off(path) for path in ("", "off", None, "/x")], [True, True, False, False])

    def test_address(self) -> None:
        """A leading @ is the kernel's zero octet."""
        self.assertEqual((address_of("@kdns-0-1"), address_of("/x/@y")), ("\0kdns-0-1", "/x/@y"))

    def test_kernels_list(self) -> None:
        """Of the kernel's list the default places at which a process listens, each once; a test's server is at none of them."""
        wanted = ["/run/user/1000/kdns.sock", "@kdns-0-4026531841", "/run/kdns/admin.sock"]
        self.assertEqual(list(listening_places(KERNEL.splitlines(keepends=True))), wanted)

    def test_mount_namespace(self) -> None:
        """It is a number, and the same for everybody who asks here."""
        self.assertTrue(mount_namespace().isdigit())
        self.assertEqual(mount_namespace(), mount_namespace())

    def test_believed(self) -> None:
        """A user believes itself and root; root believes others where it named the path, or gave them the folder of the socket."""
        self.assertTrue(is_believed("@kdns-7-1", 7, 7, named=False))
        self.assertTrue(is_believed("@kdns-0-1", 0, 7, named=False))
        self.assertFalse(is_believed("@kdns-7-1", 8, 7, named=True))
        self.assertTrue(is_believed("@kdns-7-1", 7, 0, named=True))
        self.assertFalse(is_believed("@kdns-0-1", 7, 0, named=False))
        self.assertFalse(is_believed("/run/user/7/kdns.sock", 7, 0, named=False))
        folder = os.stat_result((0o40700, 1, 1, 1, 998, 998, 0, 0, 0, 0))
        self.patch(os, "stat", lambda path: folder if path == os.path.dirname(RUN) else None)
        self.assertTrue(is_believed(RUN, 998, 0, named=False))
        self.assertFalse(is_believed(RUN, 7, 0, named=False))

    def test_not_the_machines_own(self) -> None:
        """A server that a test starts is at no place where an operator's commands look."""
        first = default_places(os.environ, os.geteuid(), mount_namespace())[0]
        listed = f"0000000000000000: 00000002 00000000 00010000 0001 01 118 {first}\n"
        self.assertEqual(list(listening_places([listed])), [])
        self.assertTrue(os.path.isdir(os.path.dirname(first)))
