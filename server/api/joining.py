"""Joins the page's modules into three scripts, and its style sheets into one sheet, without a build step.

All modules follow the same rules: they import names from files in the same folder, without cycles, and
export only declarations. So each module becomes the body of a function that returns its exports. Modules
that break these rules raise `NotJoinable`.

Scripts are read token by token (ECMA-262, 12), so nothing within a text or a pattern is taken for code.
Comments are left out, and white space between tokens that stay apart without it. A line break stays wherever
it might end a statement. A test holds what is understood here against a real parser, for every module.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Final, Literal

ON_DEMAND: Final = ("later.js", "rare.js")
"""What is imported on demand, and what that in turn imports on demand, which few readers ever need."""

Kind = Literal["word", "number", "text", "pattern", "sign"]

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
_DECLARED = ("function", "class", "const")


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
        if last is not None:
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
    """What a module says of itself: `imports` are (name there, name here, module), `dynamic` are modules."""

    name: str
    tokens: list[Token]
    imports: list[tuple[str, str, str]]
    exports: list[str]
    dynamic: list[str]
    waits: bool


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
        imports: list[tuple[str, str, str]] = []
        exports: list[str] = []
        dynamic: list[str] = []
        depth, waits = 0, False
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
                exports += self._exported()
                self._at += 1
                self._tokens[self._at] = replace(self._tokens[self._at], breaks=True)
                continue
            if token.kind == "sign":
                depth += (token.text in "{([") - (token.text in "})]")
            is_of_arrow = bool(body) and body[-1].text == "=>"
            waits = waits or (
                token.text == "await" and token.kind == "word" and not depth and not is_of_arrow
            )
            body.append(token)
            self._at += 1
        return Module(self._name, body, imports, exports, dynamic, waits)

    def _text(self, ahead: int) -> str:
        at = self._at + ahead
        return self._tokens[at].text if at < len(self._tokens) else ""

    def _odd(self) -> NotJoinable:
        return NotJoinable(written(self._tokens[self._at : self._at + 4]))

    def _import(self) -> Iterator[tuple[str, str, str]]:
        """Passes over `import { a, b as c } from "./module.js"`."""
        begin = self._at
        if self._text(1) != "{":
            raise self._odd()
        names, at = self._names(begin + 2)
        self._at = at
        module = _beside(self._text(2))
        if self._text(1) != "from" or module is None:
            self._at = begin
            raise self._odd()
        self._at = at + 3
        return iter([(there, here, module) for there, here in names])

    def _names(self, at: int) -> tuple[list[tuple[str, str]], int]:
        """The names before the next `}`, with what they are called here, and where that bracket is."""
        names: list[tuple[str, str]] = []
        while self._tokens[at].text != "}":
            name = self._tokens[at].text
            here, step = (
                (self._tokens[at + 2].text, 3) if self._tokens[at + 1].text in ("as", ":") else (name, 1)
            )
            names.append((name, here))
            at += step + (self._tokens[at + step].text == ",")
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

    def _exported(self) -> list[str]:
        """The names that the declaration behind `export` declares."""
        ahead = 2 if self._text(1) == "async" else 1
        if self._text(ahead) not in _DECLARED:
            raise self._odd()
        if self._text(ahead + 1) == "{":
            names, _ = self._names(self._at + ahead + 2)
            return [here for _, here in names]
        return [self._text(ahead + 1)]


def _beside(address: str) -> str | None:
    found = re.fullmatch(r'"\./(\w+)\.js"', address)
    return found[1] if found else None


def join_scripts(texts: Mapping[str, str], entry: str) -> tuple[str, ...]:
    """The script of the module `entry` with all that it imports; then, in the order of `ON_DEMAND`, that of
    what only dynamic imports load, and that of what only dynamic imports in the one before load.

    `texts`: name -> text. Raises `NotJoinable`.
    """
    read: dict[str, Module] = {}
    steps: list[list[str]] = []
    asked: list[list[str]] = []
    wanted = [entry]
    while wanted:
        if len(steps) > len(ON_DEMAND):
            raise NotJoinable(f"{', '.join(wanted)}: too many steps of imports on demand")
        known = {name for step in steps for name in step}
        steps.append([name for name in _in_order(texts, read, wanted) if name not in known])
        asked.append(wanted)
        wanted = list(dict.fromkeys(name for module in steps[-1] for name in read[module].dynamic))
    read = _with_short_names([read[name] for step in steps for name in step])
    first, *others = steps
    there = first[:-1]  # the entry's body is a script, so nothing has its exports
    scripts = [
        "\n".join(
            [
                *_loader(there, ON_DEMAND[: len(others)]),
                *(_function(read[name]) for name in there),
                _body(read[entry]),
            ]
        )
    ]
    for number, step in enumerate(others):
        given, there = there, [*there, *step]
        made = ",".join(f"{name}:${name}" for name in asked[number + 1])
        loader = _loader(there, ON_DEMAND[number + 1 : len(others)])
        begin = f"export default async({{{_named(given)}}})=>{{"
        scripts.append(
            "\n".join([begin, *loader, *(_function(read[name]) for name in step), f"return{{{made}}}\n}}\n"])
        )
    return tuple(scripts)


def _loader(there: list[str], left: Sequence[str]) -> list[str]:
    """The statements that define `$later(name)`, which loads the next of the scripts that are `left`."""
    if not left:
        return []
    load = f'import("./{left[0]}"+$again).then(({{default:make}})=>make({{{_named(there)}}}))'
    # After a failed load the next import retries, by another URL: some browsers remember that one has failed.
    again = '(error)=>{$rest=undefined;$again+="&";throw error}'
    return [
        'let $rest,$again=""',
        f"const $later=async(name)=>(await($rest??={load}.catch({again})))[name]",
    ]


def _named(modules: list[str]) -> str:
    return ",".join(f"${name}" for name in modules)


def _with_short_names(modules: list[Module]) -> dict[str, Module]:
    """The modules, with private names (`#tasks`) of a letter or two: nobody outside of a class knows them."""
    private = Counter(
        token.text
        for module in modules
        for token in module.tokens
        if token.kind == "word" and token.text[0] == "#"
    )
    short = {name: f"#{_numbered(at)}" for at, (name, _) in enumerate(private.most_common())}

    def shortened(token: Token) -> Token:
        return (
            replace(token, text=short[token.text]) if token.kind == "word" and token.text in short else token
        )

    return {module.name: replace(module, tokens=list(map(shortened, module.tokens))) for module in modules}


def _numbered(at: int) -> str:
    """a, b, ... z, ba, bb, ..."""
    tens, ones = divmod(at, len(ascii_lowercase))
    return (_numbered(tens) if tens else "") + ascii_lowercase[ones]


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
            for module in dict.fromkeys(module for _, _, module in read[name].imports):
                visit(module, (*way, name))
            done[name] = None

    for entry in entries:
        visit(entry, ())
    return list(done)


def _function(module: Module) -> str:
    waits, runs = ("await", "async") if module.waits else ("", "")
    exports = ",".join(module.exports)
    return f"const ${module.name}={waits}({runs}()=>{{\n{_body(module)}\nreturn{{{exports}}}\n}})()"


def _body(module: Module) -> str:
    taken: dict[str, list[str]] = {}
    for there, here, other in module.imports:
        taken.setdefault(other, []).append(there if there == here else f"{there}:{here}")
    return "\n".join(
        [*(f"const{{{','.join(names)}}}=${other}" for other, names in taken.items()), written(module.tokens)]
    )


_OF_SHEET = re.compile(r"""(/\*(?s:.*?)\*/)|("[^"\n]*")|\s*([{};,])\s*|(:)[ ]|(\s+)""")


def join_sheets(sheets: Iterable[str]) -> str:
    """One sheet, without comments and without white space that means nothing."""

    def shortened(found: re.Match[str]) -> str:
        comment, text, sign, colon, _ = found.groups()
        return "" if comment else text or sign or colon or " "

    return "".join(_OF_SHEET.sub(shortened, sheet).strip() for sheet in sheets).replace(";}", "}")
