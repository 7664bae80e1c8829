"""Joins the page's modules into one script and its style sheets into one, so a first visit loads few files.

There is no bundler. All modules follow the same rules: they import names from files in the same folder,
without cycles, and export only declarations. So each module becomes the body of a function that returns its
exports. Modules that break these rules raise `NotJoinable`.

Decisions: docs/decisions/page.md
"""

import re
from collections.abc import Iterable, Mapping

_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*(?s:.*?)\*/)[ \t]*\n", re.MULTILINE)
# A comment at a line's end, unless a quote follows: `//` could be part of a string. And JSDoc type casts.
_REMARK = re.compile(r"""[ \t]+//[ ][^"'`\n]*$|/\*\*[ ]@type[ ].*?\*/[ ]?""", re.MULTILINE)
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js"\n', re.MULTILINE)
_EXPORT = re.compile(
    r"^export ((?:(?:async )?function|class|const) (\w+)|const \{([\w, ]*)\} =)", re.MULTILINE
)
_LATER = re.compile(r'\bimport\("\./(\w+)\.js"\)(?!\.[A-Z])')  # but not a type in JSDoc
_WAITS = re.compile(r"^(?:(?:export )?const \S+ = )?await ", re.MULTILINE)
_OTHERWISE = re.compile(r"^(?:import|export)\b.*|\bimport\(.*", re.MULTILINE)


LATER = "later.js"


class NotJoinable(ValueError):
    """A module breaks the rules above; the message names the module and what is wrong."""


def join_scripts(modules: Mapping[str, str], entry: str) -> tuple[str, str]:
    """Two scripts: the module `entry` with all that it imports, and `LATER`, with the modules that only
    dynamic imports load; "" if there are none.

    `modules`: name -> text. Raises `NotJoinable`.
    """
    first = _in_order(modules, [entry])
    on_demand = [name for module in first for name in _LATER.findall(_bare(modules[module]))]
    later = [name for name in _in_order(modules, on_demand) if name not in first]
    shared = ", ".join(f"${name}" for name in first[:-1])
    made = ", ".join(f"{name}: ${name}" for name in dict.fromkeys(on_demand))
    parts = [*(_function(name, modules[name]) for name in first[:-1]), _body(entry, modules[entry])]
    if not later:
        return "\n".join(parts), ""
    load = f'import("./{LATER}" + $again).then(({{ default: make }}) => make({{ {shared} }}))'
    # After a failed load the next import retries, by another URL: some browsers remember that one has failed.
    again = '(error) => { $rest = undefined; $again += "&"; throw error }'
    return (
        "\n".join(
            [
                'let $rest, $again = ""',
                f"const $later = async (name) => (await ($rest ??= {load}.catch({again})))[name]",
                *parts,
            ]
        ),
        "\n".join(
            [
                f"export default async ({{ {shared} }}) => {{",
                *(_function(name, modules[name]) for name in later),
                f"return {{ {made} }}\n}}\n",
            ]
        ),
    )


def join_sheets(sheets: Iterable[str]) -> str:
    return "".join(_bare(sheet) for sheet in sheets)


def _bare(text: str) -> str:
    """`text` without comments and indentation.

    This is safe because no string of the page spans several lines, which a test checks.
    """
    return _INDENT.sub("", _REMARK.sub("", _COMMENT.sub("", text)))


def _in_order(modules: Mapping[str, str], entries: Iterable[str]) -> list[str]:
    """`entries` and all modules that they import, in topological order: imported ones first."""
    done: dict[str, None] = {}

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            raise NotJoinable(f"{' > '.join((*way, name))} is a circle")
        if name not in modules:
            raise NotJoinable(f"{way[-1]}.js imports {name}.js, which is not there")
        if name not in done:
            for _, other in _IMPORT.findall(modules[name]):
                visit(other, (*way, name))
            done[name] = None

    for entry in entries:
        visit(entry, ())
    return list(done)


def _function(name: str, text: str) -> str:
    exported = ", ".join((one or some).strip() for _, one, some in _EXPORT.findall(text))
    waits, runs = ("await ", "async ") if _WAITS.search(text) else ("", "")
    return f"const ${name} = {waits}({runs}() => {{\n{_body(name, text)}return {{ {exported} }}\n}})()"


def _body(name: str, text: str) -> str:
    body = _LATER.sub(r'$later("\1")', _EXPORT.sub(r"\1", _IMPORT.sub(_taken, _bare(text))))
    if other := _OTHERWISE.search(body):
        raise NotJoinable(f"{name}.js: {other.group()}")
    return body


def _taken(found: re.Match[str]) -> str:
    names, module = found.groups()
    return f"const {{{names.replace(' as ', ': ')}}} = ${module}\n"
