# -*- test-case-name: tests.plugins.template.language.test_parser -*-
"""Tokens -> the tree of a template. Names of functions and variables are checked here."""

from __future__ import annotations

from kdns.plugins.template.language.errors import TemplateSyntaxError
from kdns.plugins.template.language.functions import FUNCTIONS
from kdns.plugins.template.language.lexer import Token, TokenKind, position, tokens
from kdns.plugins.template.language.literals import character, number, unquoted
from kdns.plugins.template.language.nodes import (
    Action,
    Branch,
    Command,
    Constant,
    Function,
    Include,
    Jump,
    Node,
    Path,
    Pipeline,
    Text,
    Tree,
)

MAX_DEPTH = 50
"""Parentheses and blocks inside each other; each costs stack here and when it is carried out."""

_NAMES = {
    TokenKind.CLOSE: "{{end of action}}",
    TokenKind.END: "EOF",
}
_OPERANDS = frozenset({
    TokenKind.BOOL, TokenKind.CHAR, TokenKind.DOT, TokenKind.FIELD, TokenKind.IDENTIFIER, TokenKind.LEFT_PAREN, TokenKind.NIL,
    TokenKind.NUMBER, TokenKind.STRING, TokenKind.VARIABLE,
})  # fmt: skip


def parse_template(name: str, text: str) -> Tree:
    """
    Parse a template.

    :raises TemplateSyntaxError: the text is none.
    """
    return _Parser(name, text).tree()


class _End(Node):
    """``{{ end }}``."""


class _Else(Node):
    """``{{ else }}``; what stands behind the word is not read yet."""


class _Parser:
    """Recursive descent with one token in hand; spaces are skipped where they mean nothing."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._tokens = tokens(name, text)
        self._ahead: list[Token] = []
        self._variables = ["$"]
        self._depth = 0
        self._ranges = 0
        self._result = Tree()

    def tree(self) -> Tree:
        """The whole text."""
        body: list[Node] = []
        while self._peek().kind is not TokenKind.END:
            if self._peek().kind is TokenKind.OPEN:
                opening = self._next()
                if self._word().text == "define" and self._word().kind is TokenKind.KEYWORD:
                    self._next_word()
                    self._definition()
                    continue
                self._ahead.insert(0, opening)
            node = self._text_or_action()
            if isinstance(node, (_End, _Else)):
                raise self._error(
                    node.offset, "unexpected {{end}}" if isinstance(node, _End) else "unexpected {{else}}"
                )
            body.append(node)
        self._result.body = tuple(body)
        return self._result

    # Tokens

    def _peek(self) -> Token:
        if not self._ahead:
            self._ahead.append(next(self._tokens))
        return self._ahead[0]

    def _next(self) -> Token:
        token = self._peek()
        if token.kind is not TokenKind.END:
            self._ahead.pop(0)
        return token

    def _word(self) -> Token:
        """The next token that is no space, left where it is."""
        while self._peek().kind is TokenKind.SPACE:
            self._ahead.pop(0)
        return self._peek()

    def _next_word(self) -> Token:
        self._word()
        return self._next()

    def _expect(self, kind: TokenKind, context: str) -> Token:
        token = self._next_word()
        if token.kind is not kind:
            raise self._unexpected(token, context)
        return token

    def _unexpected(self, token: Token, context: str) -> TemplateSyntaxError:
        if token.kind is TokenKind.END:
            return self._error(token.offset, "unexpected EOF")
        shown = _NAMES.get(token.kind) or (f"<{token.text}>" if token.kind is TokenKind.KEYWORD else f'"{token.text}"')
        return self._error(token.offset, f"unexpected {shown} in {context}")

    def _error(self, offset: int, reason: str) -> TemplateSyntaxError:
        line, column = position(self._text, offset)
        return TemplateSyntaxError(self._name, line, column, reason)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(self._peek().offset, f"nests deeper than {MAX_DEPTH} levels")

    # Text and actions

    def _text_or_action(self) -> Node:
        token = self._next()
        if token.kind is TokenKind.TEXT:
            return Text(token.offset, token.text)
        if token.kind is not TokenKind.OPEN:
            raise self._unexpected(token, "input")
        word = self._word()
        if word.kind is not TokenKind.KEYWORD:
            pipeline = self._pipeline("command", TokenKind.CLOSE)
            return Action(word.offset, pipeline)
        self._next()
        match word.text:
            case "if" | "range" | "with":
                return self._branch(word)
            case "else":
                return _Else(word.offset)
            case "end":
                self._expect(TokenKind.CLOSE, "end")
                return _End(word.offset)
            case "break" | "continue":
                self._expect(TokenKind.CLOSE, f"{{{{{word.text}}}}}")
                if not self._ranges:
                    raise self._error(word.offset, f"{{{{{word.text}}}}} outside {{{{range}}}}")
                return Jump(word.offset, word.text)
            case "template":
                return self._include(word)
            case "block":
                return self._block(word)
        raise self._error(word.offset, f"unexpected {{{{{word.text}}}}}")

    def _body(self) -> tuple[tuple[Node, ...], Node]:
        """Nodes up to an end or an else, and which of the two it was."""
        self._deeper()
        body: list[Node] = []
        while self._peek().kind is not TokenKind.END:
            node = self._text_or_action()
            if isinstance(node, (_End, _Else)):
                self._depth -= 1
                return tuple(body), node
            body.append(node)
        raise self._error(self._peek().offset, "unexpected EOF")

    def _branch(self, keyword: Token) -> Branch:
        known = len(self._variables)
        pipeline = self._pipeline(keyword.text, TokenKind.CLOSE)
        self._ranges += keyword.text == "range"
        body, end = self._body()
        self._ranges -= keyword.text == "range"
        otherwise: tuple[Node, ...] | None = None
        if isinstance(end, _Else):
            word = self._word()
            if keyword.text != "range" and word.kind is TokenKind.KEYWORD and word.text == keyword.text:
                # {{ else if }}: the inner one takes the end of this one.
                self._next()
                self._deeper()
                otherwise = (self._branch(word),)
                self._depth -= 1
            else:
                self._expect(TokenKind.CLOSE, "else")
                otherwise, end = self._body()
                if isinstance(end, _Else):
                    raise self._error(end.offset, "expected end; found {{else}}")
        del self._variables[known:]
        return Branch(keyword.offset, keyword.text, pipeline, body, otherwise)

    def _definition(self) -> None:
        """A template under a name of its own; it sees no variables of the outer one."""
        name = self._template_name("define clause")
        self._expect(TokenKind.CLOSE, "define clause")
        self._define(name)

    def _define(self, name: Token) -> None:
        variables, ranges = self._variables, self._ranges
        self._variables, self._ranges = ["$"], 0
        body, end = self._body()
        if isinstance(end, _Else):
            raise self._error(end.offset, "unexpected {{else}} in define clause")
        self._variables, self._ranges = variables, ranges
        title = unquoted(name.text)
        if title in self._result.defined:
            raise self._error(name.offset, f'multiple definition of template "{title}"')
        self._result.defined[title] = body

    def _include(self, keyword: Token) -> Include:
        name = self._template_name("template clause")
        pipeline = None
        if self._word().kind is TokenKind.CLOSE:
            self._next()
        else:
            pipeline = self._pipeline("template clause", TokenKind.CLOSE)
        return Include(keyword.offset, unquoted(name.text), name.text, pipeline)

    def _block(self, keyword: Token) -> Include:
        name = self._template_name("block clause")
        pipeline = self._pipeline("block clause", TokenKind.CLOSE)
        self._define(name)
        return Include(keyword.offset, unquoted(name.text), name.text, pipeline)

    def _template_name(self, context: str) -> Token:
        token = self._expect(TokenKind.STRING, context)
        try:
            unquoted(token.text)
        except ValueError as error:
            raise self._error(token.offset, str(error)) from None
        return token

    # Pipelines

    def _pipeline(self, context: str, end: TokenKind) -> Pipeline:
        """A pipeline and the token that ends it."""
        self._deeper()
        offset = self._word().offset
        variables, declares = self._declaration(context)
        commands: list[Command] = []
        while True:
            token = self._word()
            if token.kind is end:
                self._next()
                break
            if token.kind not in _OPERANDS:
                raise self._unexpected(token, context)
            commands.append(self._command(context))
        if not commands:
            raise self._error(offset, f"missing value for {context}")
        for number_, command in enumerate(commands[1:], 2):
            if isinstance(command.words[0], Constant):
                raise self._error(command.offset, f"non executable command in pipeline stage {number_}")
        if declares:
            self._variables.extend(variables)
        self._depth -= 1
        return Pipeline(offset, tuple(commands), variables, declares)

    def _declaration(self, context: str) -> tuple[tuple[str, ...], bool]:
        """The variables that a pipeline begins with, and whether it makes them."""
        first = self._word()
        if first.kind is not TokenKind.VARIABLE:
            return (), True
        # Look ahead without taking anything: only := or = make it a declaration.
        taken = [self._next()]
        names = [first]
        while (following := self._peek()).kind is TokenKind.SPACE:
            taken.append(self._next())
        if following.kind is TokenKind.COMMA and context == "range":
            self._next()
            names.append(self._expect(TokenKind.VARIABLE, context))
            following = self._word()
            if following.kind not in (TokenKind.DECLARE, TokenKind.ASSIGN):
                raise self._unexpected(following, context)
        if following.kind not in (TokenKind.DECLARE, TokenKind.ASSIGN):
            self._ahead[:0] = taken
            return (), True
        self._next()
        if following.kind is TokenKind.ASSIGN:
            for name in names:
                self._known(name)
        return tuple(name.text for name in names), following.kind is TokenKind.DECLARE

    def _command(self, context: str) -> Command:
        """The words up to a pipe, which is taken, or to the end of the pipeline."""
        offset = self._word().offset
        words: list[Node] = []
        while True:
            token = self._word()
            if token.kind not in _OPERANDS:
                break
            words.append(self._operand(context))
            following = self._peek()
            if following.kind is TokenKind.SPACE:
                continue
            if following.kind is TokenKind.PIPE:
                break
            if following.kind not in (TokenKind.CLOSE, TokenKind.RIGHT_PAREN):
                raise self._unexpected(following, "operand")
        if self._word().kind is TokenKind.PIPE:
            pipe = self._next()
            if self._word().kind in (TokenKind.CLOSE, TokenKind.RIGHT_PAREN):
                raise self._error(pipe.offset, "missing command after |")
        if len(words) > 1 and isinstance(words[0], Constant):
            raise self._error(offset, f"can't give argument to non-function {words[0]}")
        if isinstance(words[0], Constant) and words[0].value is None:
            raise self._error(offset, "nil is not a command")
        return Command(offset, tuple(words))

    def _operand(self, context: str) -> Node:
        token = self._next()
        start: str | Pipeline = ""
        fields: list[str] = []
        match token.kind:
            case TokenKind.IDENTIFIER:
                if token.text not in FUNCTIONS:
                    raise self._error(token.offset, f'function "{token.text}" not defined')
                node: Node = Function(token.offset, token.text)
                if self._peek().kind is TokenKind.FIELD:
                    start = Pipeline(token.offset, (Command(token.offset, (node,)),))
                else:
                    return node
            case TokenKind.DOT:
                pass
            case TokenKind.FIELD:
                fields.append(token.text[1:])
            case TokenKind.VARIABLE:
                self._known(token)
                start = token.text
            case TokenKind.LEFT_PAREN:
                start = self._pipeline("parenthesized pipeline", TokenKind.RIGHT_PAREN)
                if self._peek().kind is not TokenKind.FIELD:
                    return start
            case _:
                constant = self._constant(token)
                if self._peek().kind is TokenKind.FIELD:
                    raise self._error(token.offset, f'unexpected . after term "{token.text}"')
                return constant
        while self._peek().kind is TokenKind.FIELD:
            fields.append(self._next().text[1:])
        return Path(token.offset, start, tuple(fields))

    def _constant(self, token: Token) -> Constant:
        value: object
        source = token.text
        try:
            match token.kind:
                case TokenKind.STRING:
                    value = unquoted(token.text)
                case TokenKind.CHAR:
                    value = character(token.text)
                case TokenKind.NUMBER:
                    value = number(token.text)
                case TokenKind.BOOL:
                    value = token.text == "true"
                case _:
                    value = None
        except ValueError as error:
            raise self._error(token.offset, str(error)) from None
        return Constant(token.offset, value, source)

    def _known(self, variable: Token) -> None:
        if variable.text not in self._variables:
            raise self._error(variable.offset, f'undefined variable "{variable.text}"')
