"""The grammar of the Corefile."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile import CorefileError, Surroundings
from kdns.corefile.imports import MAX_TOKENS
from kdns.corefile.parser import parse
from tests.corefile.support import KNOWN, MemoryFiles, error_of, outline, parsed

LOC = "Corefile:{} - Error during parsing: "


class BlockTests(SynchronousTestCase):
    """What is a server block."""

    def test_shapes(self) -> None:
        """Keys, directives and option blocks are found wherever blanks and line ends may stand."""
        one = [(("a", "b"), {"log": "|log"})]
        for text in (
            "a b {\nlog\n}",
            "a, b {\nlog\n}",
            "a,\nb {\nlog\n}",
            "a,\n\n# x\nb\n{\nlog\n}",
            "a b { log\n}",
            "a b\nlog",
            "a b\nlog\n",
        ):
            self.assertEqual(outline(parsed(text).blocks), one, text)

    def test_several(self) -> None:
        """Blocks follow each other, on the same line too."""
        blocks = parsed("a {\n} b {\nlog x\n}\nc {\n}").blocks
        self.assertEqual(outline(blocks), [(("a",), {}), (("b",), {"log": "|log x"}), (("c",), {})])
        self.assertEqual([str(block.place) for block in blocks], ["Corefile:1", "Corefile:2", "Corefile:5"])

    def test_nothing(self) -> None:
        """No words, no blocks."""
        for text in ("", "  \n", "# x"):
            self.assertEqual(parsed(text).blocks, ())

    def test_keys_alone(self) -> None:
        """Keys at the end of the text are a block without directives."""
        self.assertEqual(outline(parsed("a b").blocks), [(("a", "b"), {})])

    def test_without_key(self) -> None:
        """A block without a key is one for the root."""
        self.assertEqual(outline(parsed("{\nlog\n}").blocks), [((".",), {"log": "|log"})])

    def test_empty_key(self) -> None:
        """An empty key stays, to be refused as a zone, rather than turn the block into one for the root."""
        self.assertEqual(parsed("{$UNSET} {\n}").blocks[0].key_texts, ("",))
        self.assertEqual(parsed('"" {\n}').blocks[0].key_texts, ("",))

    def test_comma_without_blank(self) -> None:
        """Only a comma at the end of a word separates."""
        self.assertEqual(parsed("a,b c {\n}").blocks[0].key_texts, ("a,b", "c"))

    def test_last_brace(self) -> None:
        """A text that ends in the brace of an option block passes; one that ends in a word does not."""
        self.assertEqual(outline(parsed("a {\ncache {\n}\n").blocks), [(("a",), {"cache": "|cache { |}"})])
        self.assertEqual(
            error_of("a {\ncache {\n}\nlog\n"), "Corefile:4 - Syntax error: Unexpected token 'log', expecting '}'"
        )

    def test_refused(self) -> None:
        """What has no such shape is refused with its place."""
        stray = "Unexpected '}' because no matching opening brace"
        for text, line, wanted in (
            ("a {\n}\n}", 3, stray),
            ("a }", 1, stray),
            ("}", 1, stray),
            ("a\nlog\n}", 3, stray),
            ("a {\nlog }", 2, stray),
            ("a {\nlog x } y\n}", 2, stray),
            ("a, {\n}", 1, "Expected another address but had '{' - check for extra comma"),
            ("a,", 1, "Unexpected EOF"),
            ("a {\ncache {\nx y", 3, "Unexpected EOF"),
            ("a {\nlog\n{\n}", 4, None),
        ):
            error = error_of(text)
            if wanted is None:
                self.assertNotIn("Error", error)
            else:
                self.assertEqual(error, LOC.format(line) + wanted)
        self.assertEqual(error_of("a {"), "Corefile:1 - Syntax error: Unexpected token '{', expecting '}'")

    def test_glued_brace(self) -> None:
        """A brace glued to the key is part of it, and the block ends where its author meant it to."""
        self.assertEqual(outline(parsed("a{\nlog\n}\nb {\n}").blocks), [(("a{",), {"log": "|log"}), (("b",), {})])

    def test_too_many_tokens(self) -> None:
        """A text of more words than any configuration has is refused."""
        self.assertEqual(
            error_of("a " * (MAX_TOKENS + 1)), LOC.format(1) + f"more than {MAX_TOKENS} tokens, imports included"
        )


class DirectiveTests(SynchronousTestCase):
    """What is a directive."""

    def test_repeated(self) -> None:
        """Repetitions are joined under one name in file order, also around other directives."""
        (block,) = parsed("a {\nlog x\nerrors\nlog y {\nz\n}\n}").blocks
        self.assertEqual(outline((block,))[0][1], {"log": "|log x |log y { |z |}", "errors": "|errors"})
        self.assertEqual(block.directives["log"].place.line, 2)

    def test_name_starts_a_line(self) -> None:
        """The name counts as the first word of its line even behind the brace of its block."""
        self.assertEqual(outline(parsed("a { log x\n}").blocks), [(("a",), {"log": "|log x"})])

    def test_brace_on_next_line(self) -> None:
        """An option block on the next line is kept with the directive, on a line of its own, for the plugin to refuse."""
        self.assertEqual(outline(parsed("a {\ncache\n{\nx\n}\n}").blocks), [(("a",), {"cache": "|cache |{ |x |}"})])

    def test_unknown(self) -> None:
        """A directive nobody knows is refused, with a guess if there is one near."""
        with self.assertRaises(CorefileError) as caught:
            parsed("a {\n    cahce\n}")
        self.assertEqual(str(caught.exception), LOC.format(2) + "Unknown directive 'cahce'")
        self.assertEqual(caught.exception.hint, "did you mean 'cache'?")
        self.assertEqual(error_of("a {\nLog\n}"), LOC.format(2) + "Unknown directive 'Log'")

    def test_accepted(self) -> None:
        """A directive that is not known may be accepted by whoever finds it elsewhere."""
        surroundings = Surroundings(KNOWN, {}, MemoryFiles(), lambda name: name == "my.module.plugin")
        (block,) = parse("a {\nmy.module.plugin x\n}", "F", surroundings).blocks
        self.assertEqual(list(block.directives), ["my.module.plugin"])
        with self.assertRaisesRegex(CorefileError, "Unknown directive 'my.other'"):
            parse("a {\nmy.other\n}", "F", surroundings)


class EnvironmentTests(SynchronousTestCase):
    """References in their places."""

    def test_replaced(self) -> None:
        """References are replaced in keys, directive names, arguments and options; a value is one word."""
        blocks = parsed(
            "{$Z}:{%P%} {\n{$D} {$A} {\n{$O}\n}\n}",
            env={"Z": "a", "P": "53", "D": "cache", "A": "x y", "O": "success 1"},
        ).blocks
        self.assertEqual(outline(blocks), [(("a:53",), {"cache": "|cache x y { |success 1 |}"})])

    def test_empty_argument(self) -> None:
        """A variable that is not set leaves an empty argument behind."""
        self.assertEqual(outline(parsed("a {\nlog {$U} x\n}").blocks), [(("a",), {"log": "|log  x"})])

    def test_empty_key(self) -> None:
        """An empty word among keys is none; alone it stays, for whoever reads the keys to refuse."""
        self.assertEqual(parsed("a {$U} {\nlog\n}").blocks[0].key_texts, ("a",))
        self.assertEqual(parsed("{$U} a, {$U} b {\nlog\n}").blocks[0].key_texts, ("a", "b"))
        self.assertEqual(parsed("{$U} {\nlog\n}").blocks[0].key_texts, ("",))

    def test_structure(self) -> None:
        """A value never is a brace or an import to the grammar."""
        self.assertEqual(error_of("a {\n{$I} x\n}", env={"I": "import"}), LOC.format(2) + "Unknown directive 'import'")
        for brace in "{}":
            wanted = LOC.format(2) + f"environment value in {{$B}} is a lone '{brace}'"
            self.assertEqual(error_of("a {\nlog {$B}\n}", env={"B": brace}), wanted)

    def test_too_long(self) -> None:
        """A word that values make too long is refused at its place."""
        error = error_of("a {\nlog {$V}{$V}\n}", env={"V": "v" * 600_000})
        self.assertEqual(error, LOC.format(2) + "environment values make a word longer than 1048576 characters")


class SnippetTests(SynchronousTestCase):
    """Snippets, as the grammar sees them."""

    def test_places(self) -> None:
        """A snippet may hold blocks, directives or options, and further imports."""
        snippets = "(o) {\nsuccess 1\n}\n(d) {\ncache {\nimport o\n}\nlog\n}\n(b) {\nx {\nimport d\n}\n}\n"
        self.assertEqual(
            outline(parsed(snippets + "import b\n").blocks),
            [(("x",), {"cache": "|cache { |success 1 |}", "log": "|log"})],
        )

    def test_lines(self) -> None:
        """Each import starts a line, whatever the lines of its words were."""
        text = "(a) { success 1 }\nx {\ncache {\nimport a\nimport a\n}\nlog\nimport b\n}\n"
        wanted = {"cache": "|cache { |success 1 |success 1 |}", "log": "|log", "errors": "|errors x"}
        self.assertEqual(outline(parsed("(b) { errors x }\n" + text).blocks), [(("x",), wanted)])

    def test_unused(self) -> None:
        """What nothing imports is not looked at."""
        self.assertEqual(outline(parsed("(a) {\nfrob {\n}\n}\nx {\n}").blocks), [(("x",), {})])

    def test_not_a_snippet(self) -> None:
        """A blank inside, or a second key, makes ordinary keys."""
        self.assertEqual(parsed("(a b) {\n}").blocks[0].key_texts, ("(a", "b)"))
        self.assertEqual(parsed("(a) (b) {\n}").blocks[0].key_texts, ("(a)", "(b)"))

    def test_refused(self) -> None:
        """A snippet must have braces, and one name only once."""
        expected = "Corefile:{} - Syntax error: Unexpected token '{}', expecting '{}'"
        for text, wanted in (
            ("(a)", expected.format(1, "(a)", "{")),
            ("(a)\nlog", expected.format(2, "log", "{")),
            ("(a) {\nlog {\n}", expected.format(3, "}", "}")),
            ("(a) {\n}\n(a) {\n}", LOC.format(3) + "redeclaration of previously declared snippet a"),
        ):
            self.assertEqual(error_of(text), wanted)
