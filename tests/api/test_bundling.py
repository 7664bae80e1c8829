"""The page's modules become three scripts; the parser behind this agrees with a real one."""

import json
import logging
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from server.api import bundling, page
from server.api.bundling import ON_DEMAND, NotJoinable, join_scripts, join_sheets, minified, read_module
from tests.deno import deno

STATIC = page.STATIC
PATHS = {path.stem: path for path in sorted((STATIC / "js").rglob("*.js"))}
MODULES = {name: path.read_text("utf-8") for name, path in PATHS.items()}


@cache
def parsed() -> dict[str, Any]:
    """Return what deno says of the exports and imports of each module, by the module's name."""
    links = [path.relative_to(STATIC.parent).as_posix() for path in PATHS.values()]
    nodes = json.loads(deno("doc", "--json", *links))["nodes"]
    graphs = [
        json.loads(deno("info", "--json", link))["modules"]
        for link in ("static/js/main.js", "static/js/sw.js")
    ]
    graph = {Path(module["specifier"]).stem: module for modules in graphs for module in modules}
    return {Path(link).stem: (about, graph[Path(link).stem]) for link, about in nodes.items()}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_understood_as_a_real_parser_does(name: str) -> None:
    read = read_module(name, MODULES[name])
    about, graph = parsed()[name]
    # The types of these modules are comments here.
    declared = [
        symbol["name"] for symbol in about["symbols"]
        if {each["kind"] for each in symbol["declarations"] if each.get("declarationKind") == "export"}
        & {"function", "class", "variable"}
    ]  # fmt: skip
    assert sorted(read.exports) == sorted(declared)
    taken = {(each["originalName"], Path(each["src"]).stem) for each in about.get("imports", [])}
    assert {(each, module) for module, names in read.imports for each in names} == taken
    code = [each for each in graph.get("dependencies", []) if "code" in each]
    dynamic = {Path(each["specifier"]).stem for each in code if each.get("isDynamic")}
    assert set(read.on_demand) == dynamic
    assert {module for module, _ in read.imports} | dynamic == {Path(each["specifier"]).stem for each in code}


def test_the_page_sends_the_joined_scripts_short() -> None:
    entry = join_scripts({name: text for name, text in MODULES.items() if name != "sw"}, "main")
    for name, text in zip((page.SCRIPT, *ON_DEMAND), entry, strict=True):
        sent = page.assets().files[name].body.decode()
        assert len(sent) < len(text) * 0.75
        deno("fmt", "--ext", "js", "-", text=sent)  # deno parses it as a module, as a browser does


# The checker works without types; of its complaints only one counts, that a variable is used before its
# declaration.
USED_TOO_EARLY = re.compile(r"TS2448.*\n.*", re.MULTILINE)


def used_too_early(folder: Path, scripts: dict[str, str]) -> list[str]:
    """Return the errors that `scripts` would have in a browser because the library has moved a
    declaration.
    """
    (folder / "deno.json").write_text(json.dumps({"compilerOptions": {"checkJs": True, "strict": False}}))
    for name, text in scripts.items():
        (folder / name).write_text(text)
    paths = [str(folder / name) for name in scripts]
    said = deno("check", "--config", str(folder / "deno.json"), *paths, fails=True)
    return USED_TOO_EARLY.findall(said)


@pytest.mark.wide
def test_no_declaration_has_been_moved_behind_its_use(tmp_path: Path) -> None:
    """The library does not see that `{ b }` uses `b`, and puts `const { d } = a.g({ b })` before `const b`.

    If this fails, write the named statement without destructuring.
    """
    moved = minified(["const f = (a) => {\n  const b = a.c\n  const { d } = a.g({ b })\n  a.h(d)\n}\n"])
    assert used_too_early(tmp_path, {"moved.js": moved[0]}), "it moves this; else this test is needless"
    sent = {name: page.assets().files[name].body.decode() for name in (page.SCRIPT, *ON_DEMAND)}
    assert used_too_early(tmp_path, sent) == []


def test_without_the_library_the_scripts_are_sent_as_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bundling, "_MINIFY", "import missing_library")
    with caplog.at_level(logging.WARNING):
        assert minified(["const long = 1\n"]) == ["const long = 1\n"]
    assert "No module named 'missing_library'" in caplog.text


def run(modules: dict[str, str], tmp_path: Path) -> list[str]:
    """Return what the modules print when deno runs them joined and minified."""
    scripts = minified(join_scripts(modules, "main"))
    for name, text in zip((page.SCRIPT, *ON_DEMAND), scripts, strict=False):
        (tmp_path / name).write_text(text)
    return deno("run", "--allow-read", str(tmp_path / page.SCRIPT)).split()


def test_modules_become_one_in_which_each_keeps_its_names_to_itself(tmp_path: Path) -> None:
    modules = {
        "main": '// @ts-check\nimport { a } from "./one.js"\nimport {\n  b,\n} from "./list/two.js"\n'
        "const hidden = await b()\nconsole.log(a, hidden)\n",
        "one": "/** A number.\n * Of ours. */\nconst hidden = 1\nexport const a = hidden // one\n",
        "two": 'import { a } from "../one.js"\n\nconst hidden = 2\nexport async function b() {\n  '
        "return await a + hidden\n}\n",
        "unused": "export const x = unknown\n",
    }
    assert run(modules, tmp_path) == ["1", "3"]
    assert "unknown" not in join_scripts(modules, "main")[0]


def test_what_is_imported_on_demand_comes_in_the_next_file_and_shares_what_is_there(tmp_path: Path) -> None:
    modules = {
        "main": 'import { one } from "./one.js"\n/** @type {import("./three.js").Three} */\n'
        'const { two } = await import("./two.js")\none.push("main")\nconsole.log(await two())\n',
        "one": "export const one = []\n",
        "two": 'import { one } from "./one.js"\nexport const two = async () => {\n'
        'const { three } = await import("./three.js")\nreturn [...one, three].join()\n}\n',
        "three": 'import { four } from "./four.js"\nexport const three = four\n',
        "four": 'import { one } from "./one.js"\nexport const four = one.length\n',
    }
    first, later, rare = join_scripts(modules, "main")
    assert [name in first for name in ("$.one=", "$.two=", ON_DEMAND[0], ON_DEMAND[1])] == [True, False] * 2
    assert [name in later for name in ("$.two=", "$.three=", ON_DEMAND[1])] == [True, False, True]
    assert rare.index("$.four=") < rare.index("$.three=")
    assert run(modules, tmp_path) == ["main,1"]
    modules["four"] += 'import("./five.js")\n'
    with pytest.raises(NotJoinable, match="five"):
        join_scripts(modules | {"five": ""}, "main")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('import x from "./one.js"\n', "import x"),
        ('import * as x from "./one.js"\n', "import *"),
        ('import { a as b } from "./one.js"\n', "{ a as"),
        ("export let a = 1\n", "export let a"),
        ("export default 1\n", "export default"),
        ("const a = 1\nexport { a }\n", "export { a"),
        ("const x = () => import(name)\n", "import(name)"),
        ('import { a } from "./nowhere.js"\n', "nowhere.js"),
    ],
)
def test_what_is_written_in_another_manner_is_refused(text: str, said: str) -> None:
    with pytest.raises(NotJoinable, match=re.escape(said)):
        join_scripts({"main": text, "one": "export const a = 1\n"}, "main")


def test_sheets_become_one_in_their_order() -> None:
    sheets = [
        "/* One. */\n\na {\n  b: c;\n  &:has(d, e) > f {\n    g: h i;\n  }\n}\n",
        'd::before {\n  content: "a;  b: ";\n}\n',
    ]
    assert join_sheets(sheets) == 'a{b:c;&:has(d,e) > f{g:h i}}d::before{content:"a;  b: "}'
