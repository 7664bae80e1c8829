"""Joins the page's modules into three scripts, and its style sheets into one sheet, without a build step.

All modules follow the same rules: they import names from files of the page, each of which has a name of its
own whatever its folder, without cycles, and export only declarations, under their own names. So they can
follow each other in one scope, once no two names of theirs are alike. Modules that break these rules raise
`NotJoinable`.

Scripts are read token by token (ECMA-262, 12), so nothing within a text or a pattern is taken for code.
Comments are left out, and white space between tokens that stay apart without it. A line break stays wherever
it might end a statement. Names become short, those of properties stay. Tests hold what is understood here,
and what is written, against a real parser, for every module.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from string import ascii_letters
from typing import Final, Literal

ON_DEMAND: Final = ("later.js", "rare.js")
"""What is imported on demand, and what that in turn imports on demand, which few readers ever need."""

Kind = Literal["word", "number", "text", "pattern", "sign"]
Use = Literal["", "name", "shorthand", "private"]

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*|/\*(?s:.*?)\*/)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<word>\#?[A-Za-z_$][\w$]*)
    |(?P<number>\.?\d[\w.]*)
    |(?P<template>`)
    |(?P<slash>/)
    |(?P<sign>=>|\.\.\.|\?\.(?!\d)|>>>=|\*\*=|&&=|\|\|=|\?\?=|<<=|>>=|===|!==|>>>|\*\*|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||\?\?
        |[-+*%&|^]=|[{}()\[\];,<>+\-*%&|^!~?:=.@])
    """,
    re.VERBOSE,
)
_PATTERN = re.compile(r"/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*")
# Of a class of characters with classes in it (flag `v`), `_PATTERN` would end too early.
_NESTED_PATTERN = re.compile(r"/(?:[^/\\\[\n]|\\.|\[(?:[^\[\]\\\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])*\])+/[a-z]*")
# After these words an expression begins, so that a slash begins a pattern.
_BEFORE_PATTERN = frozenset(
    ("return", "typeof", "case", "in", "of", "delete", "void", "throw", "new", "else", "do", "await", "yield")
)
# No statement ends with one of the first, and none begins with one of the second.
_OPERATORS = (
    "?",
    ":",
    ",",
    ";",
    ".",
    "?.",
    "=",
    "=>",
    "&&",
    "||",
    "??",
    "===",
    "!==",
    "<",
    ">",
    "<=",
    ">=",
    "*",
    "%",
)
_GOES_ON = frozenset((*_OPERATORS, "{", "(", "[", "+", "-", "!", "...", "+=", "-="))
_CONTINUES = frozenset((*_OPERATORS, ")", "]", "}", "+=", "-="))
_DECLARING = ("function", "class", "const", "let")
# What stands before a method's name, unless it is a call.
_BEFORE_METHOD = ("async", "get", "set", "static", "*")
_BEFORE_CONDITION = ("if", "for", "while", "switch")
# Before the `{` of statements; before any other an expression is expected, and so an object.
_BEFORE_BLOCK = ("", ")", "=>", ";", "{", "}", "else", "try", "catch", "finally", "do", "static")
# Words of two letters, which no short name may be.
_RESERVED = ("as", "do", "if", "in", "is", "of")


class NotJoinable(ValueError):
    """A module breaks the rules above; the message names the module and what is wrong."""


@dataclass(frozen=True, slots=True)
class Token:
    """`breaks`: a line ends between this token and the one before."""

    kind: Kind
    text: str
    breaks: bool


def tokens_of(text: str) -> list[Token]:
    """The tokens of a script, without comments and white space. Raises `NotJoinable`.

    Of a template, its texts are tokens, and so is all that stands between `${` and `}`.
    """
    found, at = _tokens(text, 0)
    if at != len(text):
        raise NotJoinable(f"nobody opened the bracket at {text[at : at + 40]!r}")
    return found


def _tokens(text: str, at: int) -> tuple[list[Token], int]:
    """The tokens from `at` on to the end, or to the `}` that was not opened here, and where that is."""
    found: list[Token] = []
    depth, breaks = 0, False
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotJoinable(f"unknown: {text[at : at + 40]!r}")
        kind, value = match.lastgroup, match.group()
        if kind == "space":
            breaks = breaks or "\n" in value
            at = match.end()
            continue
        if kind == "slash":
            if _begins_pattern(found):
                match = _pattern(text, at)
                found.append(Token("pattern", match.group(), breaks))
            elif text.startswith("/=", at):
                raise NotJoinable("`/=` is not understood")
            else:
                found.append(Token("sign", "/", breaks))
            at, breaks = match.end(), False
            continue
        if kind == "template":
            parts, at = _template(text, at, breaks=breaks)
            found += parts
            breaks = False
            continue
        if value == "{":
            depth += 1
        elif value == "}":
            if depth == 0:
                return found, at
            depth -= 1
        found.append(Token(_kind(kind), value, breaks))
        at, breaks = match.end(), False
    return found, at


def _kind(name: str | None) -> Kind:
    return (
        "word" if name == "word" else "number" if name == "number" else "text" if name == "text" else "sign"
    )


def _begins_pattern(before: list[Token]) -> bool:
    if not before:
        return True
    last = before[-1]
    if last.kind == "word":
        return last.text in _BEFORE_PATTERN
    return last.kind == "sign" and last.text not in (")", "]", "}", "++", "--")


def _pattern(text: str, at: int) -> re.Match[str]:
    for shape in (_PATTERN, _NESTED_PATTERN):
        match = shape.match(text, at)
        if match and ("v" not in match.group().rpartition("/")[2] or shape is _NESTED_PATTERN):
            return match
    raise NotJoinable(f"not a pattern: {text[at : at + 40]!r}")


def _template(text: str, at: int, *, breaks: bool) -> tuple[list[Token], int]:
    """The tokens of the template literal at `at`: its texts with their marks, and the code between them."""
    found: list[Token] = []
    begin = at
    at += 1
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text[at] == "`":
            found.append(Token("text", text[begin : at + 1], breaks))
            return found, at + 1
        elif text.startswith("${", at):
            found.append(Token("text", text[begin : at + 2], breaks))
            within, begin = _tokens(text, at + 2)
            found += within
            at, breaks = begin + 1, False
        else:
            at += 1
    raise NotJoinable("a template does not end")


def written(tokens: Iterable[Token]) -> str:
    """The script of these tokens, as short as is safe."""
    parts: list[str] = []
    last = None
    for token in tokens:
        if token.kind == "sign" and token.text in (")", "}") and parts and parts[-1] == ",":
            parts.pop()  # a comma after the last of several
        elif last is not None:
            parts.append(_between(last, token))
        parts.append(token.text)
        last = token
    return "".join(parts)


def _between(last: Token, token: Token) -> str:
    in_template = last.text.endswith("${") or (token.kind == "text" and token.text.startswith("}"))
    may_end = last.kind != "sign" or last.text not in _GOES_ON
    may_begin = token.kind != "sign" or token.text not in _CONTINUES
    if token.breaks and may_end and may_begin and not in_template:
        return "\n"
    names = ("word", "number")
    if last.kind in (*names, "pattern") and token.kind in names:
        return " "
    if last.text in ("+", "-", "++", "--") and token.text[:1] in "+-":
        return " "
    if last.kind == "number" and token.text == ".":
        return " "
    if last.text == "/" or token.text == "/" or token.kind == "pattern":
        return " "  # or both might become a comment
    return ""


@dataclass(frozen=True)
class Module:
    """What a module says of itself: `imports` are names and their modules, `dynamic` are modules.

    `declared`: all names that its statements declare, and no other module sees but by an import.
    """

    name: str
    tokens: list[Token]
    imports: list[tuple[str, str]]
    exports: list[str]
    dynamic: list[str]
    declared: list[str]


def read_module(name: str, text: str) -> Module:
    """Raises `NotJoinable`."""
    try:
        return _Reader(name, tokens_of(text)).module()
    except NotJoinable as error:
        raise NotJoinable(f"{name}.js: {error}") from None


class _Reader:
    def __init__(self, name: str, tokens: list[Token]) -> None:
        self._name = name
        self._tokens = tokens
        self._at = 0

    def module(self) -> Module:
        body: list[Token] = []
        imports: list[tuple[str, str]] = []
        exports: list[str] = []
        dynamic: list[str] = []
        declared: list[str] = []
        depth = 0
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            is_property = bool(body) and body[-1].text in (".", "?.")
            if token.kind == "word" and token.text == "import" and not is_property:
                if self._text(1) == "(":
                    dynamic.append(self._dynamic(body))
                elif depth == 0:
                    imports += self._import()
                else:
                    raise self._odd()
                continue
            if token.kind == "word" and token.text == "export" and not is_property:
                if depth:
                    raise self._odd()
                if self._text(1) == "let":
                    raise self._odd()  # it may change after it was shared
                exports += self._declared(2 if self._text(1) == "async" else 1)
                self._at += 1
                self._tokens[self._at] = replace(self._tokens[self._at], breaks=True)
                continue
            if token.kind == "sign":
                depth += (token.text in "{([") - (token.text in "})]")
                if not depth and token.text == ",":
                    raise self._odd()  # it may declare one more name
            elif depth == 0 and not is_property and token.text in _DECLARING:
                declared += self._declared()
            body.append(token)
            self._at += 1
        return Module(self._name, body, imports, exports, dynamic, declared)

    def _text(self, ahead: int) -> str:
        at = self._at + ahead
        return self._tokens[at].text if at < len(self._tokens) else ""

    def _odd(self) -> NotJoinable:
        return NotJoinable(written(self._tokens[self._at : self._at + 4]))

    def _import(self) -> Iterator[tuple[str, str]]:
        """Passes over `import { a, b } from "./module.js"`."""
        begin = self._at
        if self._text(1) != "{":
            raise self._odd()
        names, at = self._names(begin + 1)
        self._at = at
        module = _beside(self._text(2))
        if self._text(1) != "from" or module is None:
            self._at = begin
            raise self._odd()
        self._at = at + 3
        return ((name, module) for name in names)

    def _names(self, at: int) -> tuple[list[str], int]:
        """The names that `{a, b: c}` at `at` makes known here, and where its end is."""
        names: list[str] = []
        at += 1
        while self._tokens[at].text != "}":
            at += 2 if self._tokens[at + 1].text == ":" else 0
            names.append(self._tokens[at].text)
            if self._tokens[at].kind != "word" or self._tokens[at + 1].text not in (",", "}"):
                raise self._odd()
            at += 2 if self._tokens[at + 1].text == "," else 1
        return names, at

    def _dynamic(self, body: list[Token]) -> str:
        """Writes `$later("module")` for `import("./module.js")`."""
        module = _beside(self._text(2))
        if module is None or self._text(3) != ")":
            raise self._odd()
        breaks = self._tokens[self._at].breaks
        body += [
            Token("word", "$later", breaks),
            Token("sign", "(", breaks=False),
            Token("text", f'"{module}"', breaks=False),
            Token("sign", ")", breaks=False),
        ]
        self._at += 4
        return module

    def _declared(self, ahead: int = 0) -> list[str]:
        """The names that the declaration declares whose word (`const`) comes so many tokens later."""
        if self._text(ahead) not in _DECLARING:
            raise self._odd()
        name = self._tokens[self._at + ahead + 1]
        if name.text == "{":
            return self._names(self._at + ahead + 1)[0]
        if name.kind != "word":
            raise self._odd()
        return [name.text]


def _beside(address: str) -> str | None:
    found = re.fullmatch(r'"\.{1,2}/(?:\w+/)?(\w+)\.js"', address)
    return found[1] if found else None


def join_scripts(texts: Mapping[str, str], entry: str) -> tuple[str, ...]:
    """The script of the module `entry` with all that it imports; then, in the order of `ON_DEMAND`, that of
    what only dynamic imports load, and that of what only dynamic imports in the one before load.

    `texts`: name -> text. Raises `NotJoinable`.
    """
    read: dict[str, Module] = {}
    steps: list[list[Module]] = []
    asked: list[list[str]] = []
    wanted = [entry]
    while wanted:
        if len(steps) > len(ON_DEMAND):
            raise NotJoinable(f"{', '.join(wanted)}: too many steps of imports on demand")
        known = {module.name for step in steps for module in step}
        steps.append([read[name] for name in _in_order(texts, read, wanted) if name not in known])
        asked.append(wanted)
        wanted = list(dict.fromkeys(name for module in steps[-1] for name in module.dynamic))
    short = _ShortNames([module for step in steps for module in step])

    def given(number: int) -> str:
        """The names of earlier steps that a step needs, or one after it."""
        before = {module.name for step in steps[:number] for module in step}
        taken = [pair for step in steps[number:] for module in step for pair in module.imports]
        return ",".join(short.of(*pair) for pair in dict.fromkeys(taken) if pair[1] in before)

    scripts: list[str] = []
    for number, step in enumerate(steps):
        parts = [short.written(module) for module in step]
        if number + 1 < len(steps):
            parts[:0] = _loader(ON_DEMAND[number], given(number + 1))
        if number:
            made = ",".join(f"{name}:{{{short.exported(read[name])}}}" for name in asked[number])
            parts = [f"export default async({{{given(number)}}})=>{{", *parts, f"return{{{made}}}\n}}\n"]
        scripts.append("\n".join(parts))
    return tuple(scripts)


def _loader(script: str, given: str) -> list[str]:
    """The statements that define `$later(name)`, which loads the `script` of the next step."""
    load = f'import("./{script}"+$again).then(({{default:make}})=>make({{{given}}}))'
    # After a failed load the next import retries, by another URL: some browsers remember that one has failed.
    again = '(error)=>{$rest=undefined;$again+="&";throw error}'
    return [
        'let $rest,$again=""',
        f"const $later=async(name)=>(await($rest??={load}.catch({again})))[name]",
    ]


class _ShortNames:
    """A letter or two for each name that a module declares, no two alike; for names within its functions, all
    that are written alike for the same; and for private ones (`#tasks`).

    So no module sees the names of another, although all become one.
    """

    def __init__(self, modules: list[Module]) -> None:
        self._uses = {module.name: _uses(module.tokens) for module in modules}
        self._own = {
            module.name: dict.fromkeys(_names_within(module.tokens, self._uses[module.name]), "")
            | dict.fromkeys(module.declared, module.name)
            | dict(module.imports)
            for module in modules
        }
        private, used, kept = Counter[str](), Counter[tuple[str, str]](), set(_RESERVED)
        for module in modules:
            own = self._own[module.name]
            for token, use in zip(module.tokens, self._uses[module.name], strict=True):
                if use == "private":
                    private[token.text] += 1
                elif use and token.text in own:
                    used[token.text, own[token.text]] += 1
                elif use:
                    kept.add(token.text)
        free = (name for name in map(_numbered, count()) if name not in kept)
        self._short = {pair: next(free) for pair, _ in used.most_common()}
        self._private = {name: f"#{_numbered(at)}" for at, (name, _) in enumerate(private.most_common())}

    def of(self, name: str, module: str) -> str:
        """Of a name that the module exports. Raises `NotJoinable`."""
        if (name, module) not in self._short:
            raise NotJoinable(f"{module}.js exports no {name}")
        return self._short[name, module]

    def exported(self, module: Module) -> str:
        return ",".join(f"{name}:{self.of(name, module.name)}" for name in module.exports)

    def written(self, module: Module) -> str:
        """The module's text. Raises `NotJoinable`."""
        for name, other in module.imports:
            self.of(name, other)
        return written(self._renamed(module))

    def _renamed(self, module: Module) -> Iterator[Token]:
        own = self._own[module.name]
        for token, use in zip(module.tokens, self._uses[module.name], strict=True):
            if use == "private":
                yield replace(token, text=self._private[token.text])
            elif not use or token.text not in own:
                yield token
            else:
                name = self._short[token.text, own[token.text]]
                if use == "shorthand":
                    yield from (token, Token("sign", ":", breaks=False), Token("word", name, breaks=False))
                else:
                    yield replace(token, text=name)


def _uses(tokens: list[Token]) -> list[Use]:
    """What each token is: a name, `{name}`, which is also a property, a private name, or none of these."""
    found: list[Use] = []
    within = [""]  # the brackets around the token; of `{`, what it begins
    is_class = False
    before = after = nothing = Token("sign", "", breaks=True)
    for at, token in enumerate(tokens):
        after = tokens[at + 1] if at + 1 < len(tokens) else nothing
        use: Use = ""
        if token.kind == "sign" and token.text in ("(", "["):
            within.append(token.text)
        elif token.kind == "sign" and token.text == "{":
            is_block = before.kind != "text" and before.text in _BEFORE_BLOCK
            within.append("class" if is_class else "block" if is_block else "object")
            is_class = False
        elif token.kind == "sign" and token.text in (")", "]", "}"):
            within.pop()
        elif token.kind == "word" and token.text[0] == "#":
            use = "private"
        elif token.kind == "word" and before.text not in (".", "?."):
            use = "name"
            is_class = is_class or token.text == "class"
            begins = before.text in ("{", ",")
            is_method = after.text == "(" and (begins or before.text in _BEFORE_METHOD)
            if within[-1] == "object" and (is_method or (begins and after.text == ":")):
                use = ""
            elif within[-1] == "object" and begins and after.text in (",", "}", "="):
                use = "shorthand"
            elif within[-1] == "class":
                begins = before.text == "{" or (token.breaks and before.text not in _GOES_ON)
                use = "" if begins or before.text in _BEFORE_METHOD else "name"
        found.append(use)
        before = token
    return found


def _names_within(tokens: list[Token], uses: list[Use]) -> Iterator[str]:
    """The names that are declared anywhere in a module, as far as that is certain."""
    opened: list[int] = []
    for at, token in enumerate(tokens):
        before, after = (tokens[each].text if 0 <= each < len(tokens) else "" for each in (at - 1, at + 1))
        if uses[at] and (before in _DECLARING or after == "=>"):
            yield token.text
        if token.kind == "sign" and token.text in ("(", "[", "{"):
            opened.append(at)
        elif token.kind == "sign" and token.text in (")", "]", "}"):
            begin = opened.pop()
            ahead = tokens[begin - 1] if begin else token
            is_function = token.text == ")" and (
                after == "=>"
                or (after == "{" and ahead.kind == "word" and ahead.text not in _BEFORE_CONDITION)
            )
            if is_function or ahead.text in ("const", "let"):
                yield from (
                    tokens[each].text
                    for each in range(begin + 1, at)
                    if uses[each] and tokens[each - 1].text in ("(", ",", "...", "{", "[", ":")
                )


def _numbered(at: int) -> str:
    """a, b, ... z, A, ... Z, ba, bb, ..."""
    tens, ones = divmod(at, len(ascii_letters))
    return (_numbered(tens) if tens else "") + ascii_letters[ones]


def _in_order(texts: Mapping[str, str], read: dict[str, Module], entries: Iterable[str]) -> list[str]:
    """`entries` and all modules that they import, in topological order: imported ones first."""
    done: dict[str, None] = {}

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            raise NotJoinable(f"{' > '.join((*way, name))} is a circle")
        if name not in texts:
            raise NotJoinable(f"{way[-1]}.js imports {name}.js, which is not there")
        if name not in done:
            if name not in read:
                read[name] = read_module(name, texts[name])
            for module in dict.fromkeys(module for _, module in read[name].imports):
                visit(module, (*way, name))
            done[name] = None

    for entry in entries:
        visit(entry, ())
    return list(done)


_OF_SHEET = re.compile(r"""(/\*(?s:.*?)\*/)|("[^"\n]*")|\s*([{};,])\s*|(:)[ ]|(\s+)""")


def join_sheets(sheets: Iterable[str]) -> str:
    """One sheet, without comments and without white space that means nothing."""

    def shortened(found: re.Match[str]) -> str:
        comment, text, sign, colon, _ = found.groups()
        return "" if comment else text or sign or colon or " "

    return "".join(_OF_SHEET.sub(shortened, sheet).strip() for sheet in sheets).replace(";}", "}")
