"""What an import stands for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile import CorefileError, Surroundings
from kdns.corefile.imports import MAX_IMPORTED_TEXT, MAX_TOKENS
from kdns.corefile.parser import parse
from tests.corefile.support import KNOWN, MemoryFiles, error_of, outline, parsed

LOC = "Corefile:{} - Error during parsing: "


class ImportTests(SynchronousTestCase):
    """Files and snippets by pattern."""

    def test_relative(self) -> None:
        """A relative path starts at the folder of the file that imports."""
        found = parsed(
            "import sub/one\n", {"sub/one": "import two\n", "sub/two": "a {\nimport ../three\n}", "three": "log"}
        )
        self.assertEqual(outline(found.blocks), [(("a",), {"log": "|log"})])
        self.assertEqual(found.files_read, ("/etc/sub/one", "/etc/sub/two", "/etc/three"))

    def test_absolute(self) -> None:
        """An absolute path is taken as it is, and errors show it."""
        self.assertEqual(
            error_of("import /x/a\n", {"/x/a": "b {\nfrob\n}"}),
            "/x/a:2 - Error during parsing: Unknown directive 'frob'",
        )

    def test_glob(self) -> None:
        """All files that fit are imported, in order of their names."""
        found = parsed("import d/*.conf", {"d/b.conf": "b {\n}", "d/a.conf": "a {\n}", "d/c": "c {\n}"})
        self.assertEqual([block.key_texts for block in found.blocks], [("a",), ("b",)])
        self.assertEqual(found.warnings, ())

    def test_glob_without_match(self) -> None:
        """A pattern that nothing fits is only worth a warning, and only one."""
        found = parsed("a {\nimport *.x\nimport *.x\nlog\n}")
        self.assertEqual(outline(found.blocks), [(("a",), {"log": "|log"})])
        self.assertEqual(found.warnings, ("No files matching import glob pattern: *.x",))

    def test_among_keys(self) -> None:
        """Keys may come from a file after a comma."""
        found = parsed("a,\nimport keys\n{\nlog\n}", {"keys": "b,\nc"})
        self.assertEqual(outline(found.blocks), [(("a", "b", "c"), {"log": "|log"})])

    def test_empty_file(self) -> None:
        """A file without words brings nothing, wherever it is imported."""
        found = parsed("import e\na {\nimport e\ncache {\nimport e\n}\n}\nimport e\n", {"e": "# nothing\n"})
        self.assertEqual(outline(found.blocks), [(("a",), {"cache": "|cache { |}"})])

    def test_snippet_from_file(self) -> None:
        """A snippet defined in a file is visible in all that follows."""
        found = parsed("import lib\na {\nimport s\n}", {"lib": "(s) {\nlog\n}"})
        self.assertEqual(outline(found.blocks), [(("a",), {"log": "|log"})])

    def test_snippet_before_file(self) -> None:
        """A snippet wins over a file of the same name once it is defined, and not before."""
        found = parsed("a {\nimport s\n}\n(s) {\nlog\n}\nb {\nimport s\n}", {"s": "errors"})
        self.assertEqual(outline(found.blocks), [(("a",), {"errors": "|errors"}), (("b",), {"log": "|log"})])

    def test_environment(self) -> None:
        """The pattern may come from the environment."""
        self.assertEqual(len(parsed("import {$F}", {"f": "a {\n}"}, {"F": "f"}).blocks), 1)

    def test_read_once(self) -> None:
        """A file imported many times is read once."""
        files = MemoryFiles({"f": "log\n"})
        parse("a {\n" + "import f\n" * 50 + "}", "Corefile", Surroundings(KNOWN, {}, files))
        self.assertEqual(files.reads, ["/etc/f"])

    def test_refused(self) -> None:
        """What cannot be imported is refused at the statement."""
        files = {"d/x": "", "secret": "unreadable"}
        for text, wanted in (
            ("import", "Wrong argument count or unexpected line ending after 'import'"),
            ("import\nx", "Wrong argument count or unexpected line ending after 'import'"),
            ("import {$UNSET}", "Import requires a non-empty filepath"),
            ('import ""', "Import requires a non-empty filepath"),
            ("import a b", "Import takes only one argument (glob pattern or file)"),
            ("import nothere", "File to import not found: nothere"),
            ("import d", "Could not import /etc/d: is a directory"),
            ("import secret", "Could not import /etc/secret: permission denied"),
            ("import */*", "Glob pattern may only contain one wildcard (*), but has others: /etc/*/*"),
            ("import a??", "Glob pattern may only contain one wildcard (*), but has others: /etc/a??"),
            ("import [ab]", "Glob pattern may only contain one wildcard (*), but has others: /etc/[ab]"),
        ):
            self.assertEqual(error_of(text, files), LOC.format(1) + wanted)

    def test_hint(self) -> None:
        """A name that is near to a snippet's is guessed to be meant."""
        with self.assertRaises(CorefileError) as caught:
            parsed("(common) {\n}\na {\nimport comon\n}")
        self.assertEqual(caught.exception.hint, "did you mean 'common'?")


class EndlessTests(SynchronousTestCase):
    """Imports that would never end, end in an error."""

    def test_snippet_of_itself(self) -> None:
        """A snippet that imports itself is refused where it ends, used or not."""
        wanted = LOC.format(3) + "maximum snippet import depth (10000) exceeded"
        self.assertEqual(error_of("(a) {\nimport a\n}"), wanted)

    def test_snippets_of_each_other(self) -> None:
        """A circle of two snippets stops after ten thousand expansions."""
        text = "(a) {\nimport b\n}\n(b) {\nimport a\n}\nx {\nimport a\n}"
        self.assertEqual(error_of(text), LOC.format(5) + "maximum snippet import depth (10000) exceeded")

    def test_doubling(self) -> None:
        """Forty snippets, each importing the one before twice, stop after ten thousand expansions."""
        text = "(a0) {\nlog\n}\n" + "".join(f"(a{n + 1}) {{\nimport a{n}\nimport a{n}\n}}\n" for n in range(40))
        error = error_of(f"{text}x {{\nimport a40\n}}")
        self.assertTrue(error.endswith("maximum snippet import depth (10000) exceeded"), error)

    def test_file_of_itself(self) -> None:
        """A file that only imports itself stops after a hundred thousand expansions."""
        self.assertEqual(
            error_of("import f", {"f": "import f"}),
            "/etc/f:1 - Error during parsing: maximum file import depth (100000) exceeded",
        )

    def test_growing_file(self) -> None:
        """A file that imports itself among many words stops when there are too many of them."""
        error = error_of("x {\nimport f\n}", {"f": "log" + " x" * 20_000 + "\nimport f\nimport f\n"})
        self.assertEqual(error, f"/etc/f:2 - Error during parsing: more than {MAX_TOKENS} tokens, imports included")

    def test_folder_full(self) -> None:
        """A pattern that fits a folder full of words, or of comments, stops at a limit too."""
        words = {f"d/{number}": "x " * 260_000 for number in range(9)}
        self.assertEqual(
            error_of("import d/*", words), LOC.format(1) + f"more than {MAX_TOKENS} tokens, imports included"
        )
        comments = {f"d/{number}": "#" * (MAX_IMPORTED_TEXT // 4) for number in range(9)}
        wanted = LOC.format(1) + f"more than {MAX_IMPORTED_TEXT} characters in imported files"
        self.assertEqual(error_of("import d/*", comments), wanted)
