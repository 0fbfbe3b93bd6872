# -*- test-case-name: tests.admin.test_places -*-
"""Where the admin socket is."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.admin.places import address_of, default_places, is_off, listening_places, mount_namespace

KERNEL = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 111 /run/user/1000/kdns.sock
0000000000000000: 00000003 00000000 00000000 0001 03 112 /run/user/1000/kdns.sock
0000000000000000: 00000002 00000000 00010000 0001 01 113 @kdns-0-4026531841
0000000000000000: 00000002 00000000 00000000 0002 01 114 @kdns-1-4026531841
0000000000000000: 00000002 00000000 00010000 0001 01 115 /run/kdns/admin.sock
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
        """Of the kernel's list those that listen where a kdns would, each once."""
        wanted = ["/run/user/1000/kdns.sock", "@kdns-0-4026531841", "/run/kdns/admin.sock"]
        self.assertEqual(list(listening_places(KERNEL.splitlines(keepends=True))), wanted)

    def test_mount_namespace(self) -> None:
        """It is a number, and the same for everybody who asks here."""
        self.assertTrue(mount_namespace().isdigit())
        self.assertEqual(mount_namespace(), mount_namespace())
