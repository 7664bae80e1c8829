"""Joins the page's modules into three scripts, and its style sheets into one sheet, without a build step.

Each module becomes a function, which is called once, after the modules that it imports, and puts what it
exports into `$`, under the module's name. All modules follow these rules: they import only names, from other
modules of the page; file names are unique, whatever their folders; and exports are made at their declaration,
under the same name. A module that breaks a rule raises `NotJoinable`. A library shortens the scripts.

Decisions: docs/decisions/page.md
"""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

log = logging.getLogger(__name__)

ON_DEMAND: Final = ("later.js", "rare.js")
"""What is imported on demand, and what that in turn imports on demand, which few readers ever need."""

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_NAMED = r'"\.{1,2}/(?:\w+/)?(\w+)\.js"'
_IMPORT = re.compile(rf"^import \{{\s*(\w+(?:,\s*\w+)*),?\s*\}} from {_NAMED}$", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) (\w+))", re.MULTILINE)
_IMPORT_ON_DEMAND = re.compile(rf"\bimport\({_NAMED}\)")
_NOT_UNDERSTOOD = re.compile(r"^(?:import|export)\b.*|\bimport\(.*", re.MULTILINE)
# The library is written in Go: it runs in another process, as it would cost the server 8 MB and several
# threads for one use.
_MINIFY = """
import json, sys, minify
scripts = [minify.string("application/javascript", script) for script in json.load(sys.stdin)]
json.dump(scripts, sys.stdout)
"""
_MINIFY_SECONDS = 60
_OF_SHEET = re.compile(r"""(/\*(?s:.*?)\*/)|("[^"\n]*")|\s*([{};,])\s*|(:)[ ]|(\s+)""")


class NotJoinable(ValueError):
    """A module breaks the rules above; the message names the module and what is wrong."""


@dataclass(frozen=True)
class Module:
    """`imports`: module -> the names imported from it; `on_demand`: modules that it imports dynamically;
    `body`: its text without the imports.
    """

    imports: list[tuple[str, tuple[str, ...]]]
    exports: list[str]
    on_demand: list[str]
    body: str


def read_module(name: str, text: str) -> Module:
    """Parse the text of a module. Raises `NotJoinable`."""
    body = _COMMENT.sub("", text)  # JSDoc comments contain `import(...)` for types
    imports = [(module, tuple(re.findall(r"\w+", names))) for names, module in _IMPORT.findall(body)]
    exports = _EXPORT.findall(body)
    on_demand = _IMPORT_ON_DEMAND.findall(body)
    body = _EXPORT.sub("", _IMPORT.sub("", body))
    body = _IMPORT_ON_DEMAND.sub(lambda found: f'$later("{found[1]}")', body)
    if odd := _NOT_UNDERSTOOD.search(body):
        raise NotJoinable(f"{name}.js: {odd.group()}")
    return Module(imports, exports, on_demand, body)


def join_scripts(texts: Mapping[str, str], entry: str) -> tuple[str, ...]:
    """Return three scripts: the module `entry` with all that it imports; then, named by `ON_DEMAND`, the
    modules that only dynamic imports of the first script load, and those that only dynamic imports of the
    second one load.

    `texts`: name -> text. Raises `NotJoinable`.
    """
    read: dict[str, Module] = {}
    scripts: list[list[str]] = []

    def add(name: str, script: list[str]) -> None:
        """Add the module after all that it imports."""
        if name in read:
            return
        if name not in texts:
            raise NotJoinable(f"{name}.js is imported, but does not exist")
        module = read[name] = read_module(name, texts[name])
        for other, _ in module.imports:
            add(other, script)
        taken = "".join(f"const{{{','.join(names)}}}=$.{other};" for other, names in module.imports)
        if name == entry:
            script.append(f"{taken}\n{module.body}")  # not in a function: it may use `await`
        else:
            script.append(
                f"$.{name}=(()=>{{{taken}\n{module.body}\nreturn{{{','.join(module.exports)}}}}})();"
            )

    wanted = [entry]
    while wanted:
        if len(scripts) > len(ON_DEMAND):
            raise NotJoinable(f"{', '.join(wanted)}: too many steps of imports on demand")
        scripts.append([])
        for name in wanted:
            add(name, scripts[-1])
        wanted = [name for module in read.values() for name in module.on_demand if name not in read]
    loaders = [_loader(name) for name in ON_DEMAND[: len(scripts) - 1]]
    first, *others = (
        "\n".join((loader, *script)) for loader, script in zip_longest(loaders, scripts, fillvalue="")
    )
    return "const $={};\n" + first, *(f"export default ($)=>{{\n{other}\n}}\n" for other in others)


def _loader(script: str) -> str:
    """The statements that define `$later(name)`, which loads the `script` of the next step."""
    # After a failed load the next import retries with another URL, because some browsers cache the failure of
    # a module.
    return f"""
let $rest, $again = ""
const $later = async (name) => {{
  await ($rest ??= import("./{script}" + $again).then((step) => step.default($)).catch((error) => {{
    $rest = undefined
    $again += "&"
    throw error
  }}))
  return $[name]
}}"""


def minified(scripts: Sequence[str]) -> list[str]:
    """Return the scripts minified; unchanged where the library is missing, as it has no wheel for some
    machines.
    """
    ran = subprocess.run(  # noqa: S603
        (sys.executable, "-I", "-c", _MINIFY),
        input=json.dumps(scripts),
        env={},  # the server's environment holds tokens and passwords
        capture_output=True,
        encoding="utf-8",
        timeout=_MINIFY_SECONDS,
        check=False,
    )
    if ran.returncode:
        reason = (ran.stderr.strip() or str(ran.returncode)).splitlines()[-1]
        log.warning("The page's scripts are sent longer than need be: %s", reason)
        return [*scripts]
    shorter: list[str] = json.loads(ran.stdout)
    return shorter


def join_sheets(sheets: Iterable[str]) -> str:
    """Join the sheets into one, without comments and needless white space."""

    def shortened(found: re.Match[str]) -> str:
        comment, text, sign, colon, _ = found.groups()
        return "" if comment else text or sign or colon or " "

    return "".join(_OF_SHEET.sub(shortened, sheet).strip() for sheet in sheets).replace(";}", "}")
