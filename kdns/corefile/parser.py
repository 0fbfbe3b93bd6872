# -*- test-case-name: tests.corefile.test_parser -*-
"""
Tokens to server blocks: the grammar of the Corefile.

Decides where keys, directives and option blocks begin and end, replaces environment references, and refuses, with its place, what has
no such shape. An unknown directive is refused here too, before any plugin sees its part. What arguments and options mean is left to
the plugins, what a key means to :mod:`kdns.corefile.keys`, and what an ``import`` stands for to :mod:`kdns.corefile.imports`.

The tokens still to be read are one list, last first, so that an ``import`` is an ``extend`` and reading is a ``pop``: the work is
proportional to the number of tokens that come out, and that number is limited. Files that import themselves, or snippets that double
each other, end in an error within this limit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kdns.corefile.environment import expand
from kdns.corefile.errors import CorefileError, ExpectedToken, ParseError
from kdns.corefile.files import DiskFiles, Files
from kdns.corefile.guesses import directive_hint
from kdns.corefile.imports import MAX_TOKENS, Imports, first_tokens
from kdns.corefile.lexer import Token
from kdns.corefile.tree import Directive, ServerBlock


@dataclass(frozen=True, slots=True)
class Parsed:
    """
    A text that is a Corefile.

    :ivar warnings: about imports, in file order.
    :ivar files_read: absolute paths of the imported files, in the order of first use.
    """

    blocks: tuple[ServerBlock, ...]
    warnings: tuple[str, ...]
    files_read: tuple[str, ...]


def accept_none(name: str) -> bool:
    """No directive but the known ones."""
    return False


Forgive = Callable[[CorefileError], bool]
"""Asked about a fault after which reading could go on; false ends it with the fault, as it must for whoever wants to serve."""


def forgive_none(error: CorefileError) -> bool:
    """The first fault ends it."""
    return False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    What a Corefile is read against, besides its own text.

    :ivar known: the names of directives.
    :ivar usable: those that guesses may lead to; all when it is empty.
    :ivar environment: the variables that references are replaced with.
    :ivar files: where imports come from.
    :ivar accept: asked about a directive that is not known; true lets it pass. So a plugin can be named by its dotted Python name.
    :ivar forgive: asked about unknown directives, and about imports that bring nothing; so a check finds more than one fault.
    """

    known: Collection[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Files = field(default_factory=DiskFiles)
    accept: Callable[[str], bool] = accept_none
    forgive: Forgive = forgive_none
    usable: Collection[str] = ()


def parse(text: str, file: str, surroundings: Surroundings) -> Parsed:
    """
    Read a Corefile.

    :param file: the name of *text* in errors; relative imports start at its folder.
    :raises CorefileError: the text is no Corefile.
    """
    imports = Imports(surroundings.files)
    blocks = tuple(_Parser(text, file, surroundings, imports).blocks())
    return Parsed(blocks, tuple(imports.warnings), tuple(imports.files_read))


class _Parser:
    """A recursive descent over the tokens; ``_current`` is the token read last, where errors are reported."""

    def __init__(self, text: str, file: str, surroundings: Surroundings, imports: Imports) -> None:
        self._surroundings = surroundings
        self._imports = imports
        self._ahead: list[Token] = []  # the next token last
        self._total = 0
        tokens = first_tokens(text, file)
        self._current = tokens[-1] if tokens else Token("", file, 0)  # until one is read: where too many end
        self._put(tokens)

    def blocks(self) -> list[ServerBlock]:
        """All server blocks of the text."""
        found = []
        while self._ahead:
            block = self._block()
            if block is not None:
                found.append(block)
        return found

    # Tokens

    def _peek(self) -> Token | None:
        return self._ahead[-1] if self._ahead else None

    def _advance(self) -> Token:
        self._current = self._ahead.pop()
        return self._current

    def _put(self, tokens: Sequence[Token]) -> None:
        """Let *tokens* be read next."""
        self._total += len(tokens)
        if self._total > MAX_TOKENS:
            raise self._refusal(f"more than {MAX_TOKENS} tokens, imports included")
        self._ahead.extend(reversed(tokens))

    def _expanded(self, token: Token) -> Token:
        try:
            text = expand(token.text, self._surroundings.environment)
        except ValueError as error:
            raise ParseError(str(error), place=token.place) from error
        if text == token.text:
            return token
        if text in ("{", "}"):  # plugins would take it for the brace of an option block
            raise ParseError(f"environment value in {token.text} is a lone '{text}'", place=token.place)
        return replace(token, text=text)

    def _refusal(self, text: str, *, hint: str | None = None) -> ParseError:
        return ParseError(text, place=self._current.place, hint=hint)

    # Grammar

    def _block(self) -> ServerBlock | None:
        """One server block, or nothing where a snippet or an empty import stood."""
        keys = self._keys()
        following = self._peek()
        snippet = _snippet_name(keys)
        if snippet is not None:
            self._snippet(snippet, keys[0])
            return None
        if following is None and not keys:
            return None
        braced = following is not None and following.text == "{"
        if braced:
            brace = self._advance()
            if not keys:
                keys = [replace(brace, text=".")]  # a block without a key serves everything
        glued = keys[-1].text.endswith("{")  # "a.test{" is a key; its block ends at the brace that its author meant
        directives = self._directives(braced, glued)
        return ServerBlock(tuple(keys), keys[0].place, directives)

    def _keys(self) -> list[Token]:
        """The keys before a block; what follows them is left to be read."""
        keys: list[Token] = []
        awaited = False  # a comma promises another key, perhaps on the next line
        while (token := self._peek()) is not None:
            if keys and token.starts_line and not awaited:
                break
            if token.text == "{" and not awaited:
                break
            self._advance()
            if token.text == "{":
                raise self._refusal("Expected another address but had '{' - check for extra comma")
            if token.text == "}":
                raise self._stray_close()
            if token.text == "import" and token.starts_line:
                self._import()
                continue
            key = self._expanded(token)
            awaited = key.text.endswith(",")
            keys.append(replace(key, text=key.text[:-1]) if awaited else key)
        if awaited and token is None:
            raise self._refusal("Unexpected EOF")
        # A variable that is not set leaves an empty word behind, which is no key among others.
        return [key for key in keys if key.text] or keys

    def _snippet(self, name: str, key: Token) -> None:
        """``(NAME) { ... }``, its key read already."""
        self._imports.refuse_redefinition(name, key)
        if not self._ahead or self._advance().text != "{":
            raise self._expected("{")
        body: list[Token] = []
        depth = 1
        while self._ahead:
            token = self._advance()
            if token.text == "{":
                depth += 1
            elif token.text == "}":
                depth -= 1
                if depth == 0:
                    self._imports.define(name, body, token)
                    return
            body.append(token)
        raise self._expected("}")

    def _directives(self, braced: bool, glued: bool) -> dict[str, Directive]:
        """The directives up to the closing brace, or up to the end of the text in the form without braces."""
        found: dict[str, list[Token]] = {}
        while self._ahead:
            token = self._advance()
            if token.text == "}":
                if not braced and not glued:
                    raise self._stray_close()
                break
            if token.text == "import":
                self._import()
            else:
                self._directive(token, found)
        # A text that ends in some closing brace passes as closed, as it does in CoreDNS.
        if braced and self._current.text != "}":
            raise self._expected("}")
        return {name: Directive(name, tuple(tokens)) for name, tokens in found.items()}

    def _directive(self, token: Token, found: dict[str, list[Token]]) -> None:
        """One directive with its arguments and option block, added to what was *found* under its name."""
        name = self._expanded(token)
        known = self._surroundings.known
        if name.text not in known and not self._surroundings.accept(name.text):
            hint = directive_hint(name.text, self._surroundings.usable or known)
            self._complain(self._refusal(f"Unknown directive '{name.text}'", hint=hint))
        tokens = found.setdefault(name.text, [])
        tokens.append(replace(name, starts_line=True))
        depth = 0
        while (token_ahead := self._peek()) is not None:
            if token_ahead.text == "{":
                depth += 1
            elif token_ahead.starts_line and depth == 0:
                return
            elif token_ahead.text == "}":
                if depth == 0:
                    self._advance()
                    raise self._stray_close()
                depth -= 1
            elif token_ahead.text == "import" and token_ahead.starts_line:
                self._advance()
                self._import()
                continue
            tokens.append(self._expanded(self._advance()))
        if depth:
            raise self._refusal("Unexpected EOF")

    def _import(self) -> None:
        """Put what an ``import`` brings in its place; the word itself is read already."""
        pattern = self._peek()
        if pattern is None or pattern.starts_line:
            raise self._refusal("Wrong argument count or unexpected line ending after 'import'")
        self._advance()
        wanted = self._expanded(pattern)
        if not wanted.text:
            raise self._refusal("Import requires a non-empty filepath")
        further = self._peek()
        if further is not None and not further.starts_line:
            raise self._refusal("Import takes only one argument (glob pattern or file)")
        try:
            brought = self._imports.resolve(wanted)
        except ParseError as error:
            self._complain(error)
        else:
            self._put(brought)

    # Errors that are made in several places

    def _complain(self, error: ParseError) -> None:
        """End with *error*, unless it is forgiven."""
        if not self._surroundings.forgive(error):
            raise error

    def _stray_close(self) -> ParseError:
        return self._refusal("Unexpected '}' because no matching opening brace")

    def _expected(self, brace: str) -> ExpectedToken:
        return ExpectedToken(self._current.text, brace, place=self._current.place)


def _snippet_name(keys: Sequence[Token]) -> str | None:
    """The name in ``(NAME)`` if that is the only key."""
    if len(keys) == 1 and keys[0].text.startswith("(") and keys[0].text.endswith(")"):
        return keys[0].text[1:-1]
    return None
