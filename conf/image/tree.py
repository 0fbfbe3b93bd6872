"""
Lay out the root file system of kdns's image: ``python tree.py SITE ROOT [EXTRA]``.

SITE is a folder that pip installed kdns and what it needs into; ROOT must not exist yet. EXTRA is an extra of kdns whose packages and
programs go in, too. The interpreter that runs this is the one that goes in. Run it as root, because the interpreter in ROOT is given the
capability to bind port 53.

It uses nothing but the standard library and ``ldd``, as the build stage has nothing else.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from py_compile import PycInvalidationMode

HOME = "kdns"
"""The folder below the root that holds interpreter, library and packages: all that is Python's."""

UNUSED_LIBRARY = (
    *("__pycache__", "config-*", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages"),
    *(
        "test",
        "tests",
        "tkinter",
        "turtle*",
        "venv",
        "_ctypes_test*",
        "_sqlite3*",
        "_test*",
        "_tkinter*",
        "_xx*",
        "xx*",
    ),
)
"""Parts of the standard library that no server imports: pip, tests, and windows."""

LEFT_OUT = ("kubernetes",)
"""
Packages that kdns needs elsewhere, with all that they alone need. The Kubernetes client runs the credential programs of a kubeconfig;
in the image there are no such programs, and in a pod kdns reads its service account itself. It is larger than all the rest.
"""

PROGRAMS = {
    "node-cache": tuple(
        f"/usr/sbin/{name}"
        for name in ("nft", *(f"{ip}tables{kind}" for ip in ("ip", "ip6") for kind in ("", "-nft", "-legacy")))
    )
}
"""Programs that an extra runs."""

NEEDED_LIBRARY = {"node-cache": ("_sqlite3*",)}
"""Parts of the standard library that are unused but for an extra: pyroute2 imports all of itself."""

EXTENSIONS = "usr/lib/*/xtables"
"""Where the matches and targets of iptables are, which it loads when it starts; the path is compiled in."""

UNUSED_FOLDERS = ("__pycache__", "bin", "test", "tests")
"""What of the packages no server imports. Scripts are left out because they name the interpreter of the build."""

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""The authorities that upstreams over TLS are checked against; without the file only those of a Corefile's own are known."""

FILES = {
    "etc/passwd": "root:x:0:0:root:/:/sbin/nologin\nkdns:x:65532:65532:kdns:/:/sbin/nologin\n",
    "etc/group": "root:x:0:\nkdns:x:65532:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
"""Files that libraries look for, and what is in them."""

SCRIPT = "#!/{home}/bin/python -IB\nimport sys\n\nfrom kdns.cli.main import main\n\nsys.exit(main())\n"
"""The program. ``-I``: nothing outside the image has a say in what is imported. ``-B``: no byte code is written."""

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
"""``cap_net_bind_service=ep`` as the kernel keeps it (revision 2, effective; permitted and inheritable, low and high)."""

_ELF = b"\x7fELF"
_LIBRARY = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x", re.MULTILINE)


def lay_out(site: Path, root: Path, extra: str = "") -> None:
    """Make the whole tree."""
    home = root / HOME
    library = home / "lib" / f"python{sysconfig.get_python_version()}"
    python = home / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), python)
    python.chmod(0o755)
    unused = [pattern for pattern in UNUSED_LIBRARY if pattern not in NEEDED_LIBRARY.get(extra, ())]
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*unused))
    copy_packages(site, packages_folder(python, library), extra)
    if extra:
        copy_programs(root, PROGRAMS[extra])
    script = home / "bin" / "kdns"
    script.write_text(SCRIPT.format(home=HOME))
    script.chmod(0o755)
    for name, text in FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if CERTIFICATES.exists():
        target = root / CERTIFICATES.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CERTIFICATES, target)
    for mount in ("dev", "proc", "sys", "tmp", "etc/coredns"):
        (root / mount).mkdir(parents=True, exist_ok=True)
    copy_libraries(root)
    remember_plugins(python)
    compile_all(root, library)
    os.setxattr(python, "security.capability", CAPABILITY)


def packages_folder(python: Path, library: Path) -> Path:
    """
    The folder below *library* in which the interpreter looks for packages: ``site-packages``, and ``dist-packages`` in Debian's.

    :raises SystemExit: there is none.
    """
    listing = [str(python), "-IB", "-c", "import site; print(*site.getsitepackages(), sep='\\n')"]
    done = subprocess.run(listing, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if Path(line).parent == library:
            return Path(line)
    found = " ".join((done.stdout or done.stderr).split()) or f"status {done.returncode}"
    raise SystemExit(
        f"{sys.executable}: wanted a CPython that finds its packages below its own library, as those of python:3.13-slim and of"
        f" Debian do; asked for its folders it says: {found}"
    )


def copy_packages(site: Path, target: Path, extra: str = "") -> None:
    """
    Copy kdns and the packages it stands on, those of an extra included.

    :raises SystemExit: one of them is not in *site*.
    """
    installed = {plain(one.metadata["Name"]): one for one in distributions(path=[str(site)])}
    wanted, seen = ["kdns"], set(LEFT_OUT)
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in installed:
            raise SystemExit(f"{site}: no {name}")
        for requirement in installed[name].requires or ():
            needed, _, marker = requirement.partition(";")
            # What is for other systems is not installed; what belongs to an extra nobody asked for.
            chosen = "extra" not in marker or (name == "kdns" and f'"{extra}"' in marker)
            if chosen and (not marker or plain(needed) in installed):
                wanted.append(plain(needed))
        for file in installed[name].files or ():
            if ".." not in file.parts and not set(file.parts) & set(UNUSED_FOLDERS):
                copy = target / file
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(site / file, copy)


def copy_programs(root: Path, names: Iterable[str]) -> None:
    """
    Copy programs; what is one program under several names is copied once.

    :raises SystemExit: one of them is not installed.
    """
    folder = root / "usr" / "sbin"
    folder.mkdir(parents=True)
    for name in map(Path, names):
        if not name.exists():
            raise SystemExit(f"no {name}: install iptables and nftables")
        program = name.resolve()
        _copy(program, folder / program.name)
        if program.name != name.name:
            (folder / name.name).symlink_to(program.name)
    for extensions in Path("/").glob(EXTENSIONS):
        shutil.copytree(extensions, root / extensions.relative_to("/"))


def plain(requirement: str) -> str:
    """The name of a package in a requirement, in the one spelling that compares."""
    return re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0].lower().replace("_", "-").replace(".", "-")


def copy_libraries(root: Path) -> None:
    """
    Copy the shared libraries that the tree's programs ask for, all into one folder where the loader always looks.

    A program with a capability is loaded with care: LD_LIBRARY_PATH and run paths relative to the program are ignored. So those libraries,
    too, that packages bring along are put there, under the names by which they are asked for.
    """
    target = root / "usr" / "lib"
    target.mkdir(parents=True, exist_ok=True)
    for file in [*programs(root / HOME), *programs(root / "usr")]:
        listed = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=True).stdout
        missing = re.findall(r"(\S+) => not found", listed)
        if missing:
            raise SystemExit(f"{file}: no {', '.join(missing)}")
        for name, path in _LIBRARY.findall(listed):
            if name:
                _copy(Path(path), target / name)
            else:  # the loader: programs name it by its whole path
                _copy(Path(path), root / path.lstrip("/"))
    subprocess.run(["/sbin/ldconfig", "-r", str(root), "-X"], check=True)


def _copy(source: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.resolve(), target)
        target.chmod(0o755)


def programs(folder: Path) -> Iterator[Path]:
    """The files that the loader loads."""
    for file in _files(folder):
        with file.open("rb") as stream:
            if stream.read(4) == _ELF:
                yield file


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def remember_plugins(python: Path) -> None:
    """Let Twisted write the list of its plugins, which it cannot at run time."""
    listing = "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))"
    subprocess.run([str(python), "-IB", "-c", listing], check=True)


def compile_all(root: Path, library: Path) -> None:
    """
    Compile everything, with the names that the files will have.

    Byte code says by a hash, and not by a time, what it was made from, and nobody looks: a copy of the tree needs no times kept.
    """
    done = compileall.compile_dir(
        library,
        quiet=1,
        workers=0,
        stripdir=str(root),
        prependdir="/",
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
    if not done:
        raise SystemExit("something does not compile")


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]), Path(sys.argv[2]).absolute(), *sys.argv[3:])
