"""The way in."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile import CorefileError, Surroundings, load_file, load_text
from kdns.corefile.files import DiskFiles
from kdns.corefile.loader import without
from tests.corefile.support import KNOWN, MemoryFiles, outline

BUILT_IN = [((".",), {"whoami": "|whoami", "log": "|log"})]


class LoadTests(SynchronousTestCase):
    """From a text or a file to a Corefile."""

    def test_text(self) -> None:
        """A text is read under the name it is given."""
        corefile = load_text("a {\nimport *.x\n}", Surroundings(KNOWN, {}, MemoryFiles()), "stdin")
        self.assertEqual(outline(corefile.blocks), [(("a",), {})])
        self.assertEqual((corefile.name, corefile.files, corefile.blocks[0].place.file), ("stdin", (), "stdin"))
        self.assertEqual(corefile.warnings, ("No files matching import glob pattern: *.x",))
        self.assertEqual(len(corefile.fingerprint), 128)

    def test_built_in(self) -> None:
        """Without a server block the built-in configuration serves."""
        for text in ("", "# x", "(a) {\nlog\n}"):
            corefile = load_text(text, Surroundings(KNOWN, {}, MemoryFiles()))
            self.assertEqual(outline(corefile.blocks), BUILT_IN)

    def test_without(self) -> None:
        """What is left out is gone from each block that has it, and told with its place; a change of it is one of the configuration."""
        corefile = load_text("a {\nlog\nerrors\n}\nb {\nlog\n}\nc {\nerrors\n}", Surroundings(KNOWN, {}, MemoryFiles()))
        found = without(corefile, ("log", "frob"))
        self.assertEqual([list(block.directives) for block in found.blocks], [["errors"], [], ["errors"]])
        self.assertEqual(
            [(one.name, str(one.place)) for one in found.left_out], [("log", "Corefile:2"), ("log", "Corefile:6")]
        )
        self.assertEqual((found.name, found.fingerprint), (corefile.name, corefile.fingerprint))
        self.assertIs(without(corefile, ("frob",)), corefile)

    def test_file(self) -> None:
        """A file is named as the operator named it, and all files read are told."""
        files = MemoryFiles({"conf/F": "import part\n", "conf/part": "a {\n}"})
        corefile = load_file("conf/F", Surroundings(KNOWN, {}, files))
        self.assertEqual((corefile.name, corefile.files), ("conf/F", ("/etc/conf/F", "/etc/conf/part")))

    def test_file_error(self) -> None:
        """Errors name the file that was named, and the absolute path of an imported one."""
        files = MemoryFiles({"conf/F": "a {\nfrob\n}", "conf/G": "import part\n", "conf/part": "a {\nfrob\n}"})
        for name, shown in (("conf/F", "conf/F:2"), ("conf/G", "/etc/conf/part:2")):
            with self.assertRaises(CorefileError) as caught:
                load_file(name, Surroundings(KNOWN, {}, files))
            self.assertEqual(str(caught.exception), f"{shown} - Error during parsing: Unknown directive 'frob'")

    def test_none_named(self) -> None:
        """Without a name the file ``Corefile`` is read if it is there, and the built-in configuration serves if not."""
        self.assertEqual(outline(load_file(None, Surroundings(KNOWN, {}, MemoryFiles())).blocks), BUILT_IN)
        there = load_file(None, Surroundings(KNOWN, {}, MemoryFiles({"Corefile": "a"})))
        self.assertEqual((outline(there.blocks), there.files), ([(("a",), {})], ("/etc/Corefile",)))

    def test_unreadable(self) -> None:
        """A file that was named must be readable."""
        for path, reason in (("nofile", "no such file or directory"), ("secret", "permission denied")):
            with self.assertRaises(CorefileError) as caught:
                load_file(path, Surroundings(KNOWN, {}, MemoryFiles({"secret": "unreadable"})))
            self.assertEqual(str(caught.exception), f"loading Corefile via flag: open {path}: {reason}")

    def test_disk(self) -> None:
        """Real files serve as well, relative imports included."""
        folder = Path(self.mktemp()).absolute()
        (folder / "sub").mkdir(parents=True)
        (folder / "Corefile").write_text("import sub/*\n")
        (folder / "sub" / "a").write_text("a {\n}\n")
        corefile = load_file("Corefile", Surroundings(KNOWN, {}, DiskFiles(str(folder))))
        self.assertEqual(outline(corefile.blocks), [(("a",), {})])
        self.assertEqual(corefile.files, (f"{folder}/Corefile", f"{folder}/sub/a"))
