"""How the page's modules become one script, and that they are understood as a real parser does."""

import json
import re
import subprocess
import sysconfig
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from server.api import page
from server.api.bundling import (
    ON_DEMAND,
    NotJoinable,
    join_scripts,
    join_sheets,
    read_module,
    tokens_of,
    written,
)
from tests.deno import deno

STATIC = page.STATIC
PATHS = {path.stem: path for path in sorted((STATIC / "js").rglob("*.js"))}
MODULES = {name: path.read_text("utf-8") for name, path in PATHS.items()}


@cache
def parsed() -> dict[str, Any]:
    """The module's name -> what deno says of its exports and imports."""
    links = [f"static/js/{path.relative_to(STATIC / 'js').as_posix()}" for path in PATHS.values()]
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
    # Its types are comments here.
    declared = [
        symbol["name"] for symbol in about["symbols"]
        if {each["kind"] for each in symbol["declarations"] if each.get("declarationKind") == "export"}
        & {"function", "class", "variable"}
    ]  # fmt: skip
    assert sorted(read.exports) == sorted(declared)
    taken = {(each["originalName"], Path(each["src"]).stem) for each in about.get("imports", [])}
    assert set(read.imports) == taken
    assert all(each["originalName"] == each["importedName"] for each in about.get("imports", []))
    code = [each for each in graph.get("dependencies", []) if "code" in each]
    dynamic = {Path(each["specifier"]).stem for each in code if each.get("isDynamic")}
    assert set(read.dynamic) == dynamic
    assert {module for _, module in read.imports} | dynamic == {Path(each["specifier"]).stem for each in code}


def statements(text: str) -> list[str]:
    """The tokens of what deno prints of its parser's tree, with a `;` at the end of each statement. Left out
    are brackets that may stand there for the type in a comment alone, or for where lines end.
    """
    shown = deno("fmt", "--no-config", "--ext", "js", "-", text=text)
    return [token.text for token in tokens_of(shown) if token.text not in ("(", ")", "{", "}", ",")]


@pytest.mark.parametrize("name", MODULES)
def test_what_is_written_of_a_module_means_the_same(name: str) -> None:
    short = written(tokens_of(MODULES[name]))
    assert [token.text for token in tokens_of(short) if token.text != ","] == [
        token.text for token in tokens_of(MODULES[name]) if token.text != ","
    ]
    assert statements(short) == statements(MODULES[name])


def test_the_joined_scripts_are_those_of_a_real_parser() -> None:
    """Each parses, as a module of a browser does; deno takes no script that does not."""
    made = page.assets().files
    for name in (page.SCRIPT, *ON_DEMAND):
        deno("fmt", "--ext", "js", "-", text=made[name].body.decode())


MINIFIED = [
    ("a // b\nc", "a\nc"),
    ("a /* b\n */ c", "a\nc"),
    ("let a = 1, b = 2", "let a=1,b=2"),
    ("f(\n  a,\n  b,\n)\n", "f(a,b)"),
    ("a = { b, c, }\nd = [e, ,]", "a={b,c}\nd=[e,,]"),
    ("a\n  .b()\n  ?.c", "a.b()?.c"),
    ("a = b\n++c", "a=b\n++c"),
    ("a + +b - -c", "a+ +b- -c"),
    ("x = a\n(b)", "x=a\n(b)"),
    ("return\na", "return\na"),
    ("class A {\n  #b = 1\n  #c\n  get d() {\n  }\n}\nf()", "class A{#b=1\n#c\nget d(){}}\nf()"),
    ("\"a // b\" + '/* c */'", "\"a // b\"+'/* c */'"),
    ("`a // ${ b + `${ c }` } /* d */`", "`a // ${b+`${c}`} /* d */`"),
    ("`${ { a: 1 }.a }`\nb", "`${{a:1}.a}`\nb"),
    ("a / b / c", "a / b / c"),
    ('x = /[/"]\\/\\*/g.test(a) / 2', 'x= /[/"]\\/\\*/g.test(a) / 2'),
    ("return /a b/v", "return /a b/v"),
    ("x = /[[a&&b]--[/]]/v", "x= /[[a&&b]--[/]]/v"),
    ("a ? .5 : b?.5:c", "a?.5:b?.5:c"),
    ("if (a) b\nelse c", "if(a)b\nelse c"),
    ("1 .toFixed() + 1_000.5", "1 .toFixed()+1_000.5"),
]


@pytest.mark.parametrize(("text", "expected"), MINIFIED)
def test_only_what_means_nothing_is_left_out(text: str, expected: str) -> None:
    assert written(tokens_of(text)) == expected


@pytest.mark.parametrize("text", ["`a", "`${ b`", "'a", "/[/", "}", "a #", "a /= 2"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(NotJoinable):
        join_scripts({"main": text}, "main")


def unknown_names(*scripts: Path) -> Counter[str]:
    """What deno finds that no scope of the script declares -> how often."""
    environment = {"DENO_DIR": str(STATIC.parent / ".venv/deno"), "NO_COLOR": "1"}
    program = Path(sysconfig.get_path("scripts"), "deno")
    only = ("--no-config", "--json", "--rules-tags=", "--rules-include=no-undef")
    result = subprocess.run(
        (program, "lint", *only, *scripts), env=environment, capture_output=True, text=True, timeout=240
    )
    found = json.loads(result.stdout)
    assert found["errors"] == []
    return Counter(each["message"] for each in found["diagnostics"])


def test_short_names_mean_what_the_long_ones_did(tmp_path: Path) -> None:
    """What the joined scripts take from the browser is what the modules take, name by name and as often."""
    made = page.assets().files
    scripts = [name for name in (page.SCRIPT, *ON_DEMAND) if name in made]
    for name in scripts:
        (tmp_path / name).write_bytes(made[name].body)
    modules = [path for name, path in PATHS.items() if name != "sw"]
    taken = unknown_names(*modules)
    assert taken["document is not defined"] > 50
    assert unknown_names(*(tmp_path / name for name in scripts)) == taken


def test_modules_become_one_in_which_each_keeps_its_names_to_itself() -> None:
    modules = {
        "main": '// @ts-check\nimport { a } from "./one.js"\nimport {\n  b,\n} from "./two.js"\na()\nb()\n',
        "one": "/** A number.\n * Of ours. */\nconst hidden = 1\nexport const a = hidden // one\n",
        "two": 'import { a } from "./one.js"\n\nconst hidden = 2\nexport async function b() {\n  a(hidden)}',
        "unused": "export const x = 1\n",
    }
    [joined] = join_scripts(modules, "main")
    assert joined == "const b=1\nconst a=b\nconst c=2\nasync function d(){a(c)}\na()\nd()"


SHORTENED = [
    ("const long = 1\nuse(long, x.long)", "const a=1\nuse(a,x.long)"),
    ("const long = 1\nuse({ long, b: long, long: 2 })", "const a=1\nuse({long:a,b:a,long:2})"),
    ("function f({ long, other = long }, [rest]) {\n  return long + other + rest\n}",
     "function d({long:a,other:b=a},[c]){return a+b+c}"),
    ("const f = (long) => {\n  long = 2\n}", "const b=(a)=>{a=2}"),
    ("const { long, b: other } = x\nuse(long, other)", "const{long:a,b:b}=x\nuse(a,b)"),
    ("for (const long of x) use`${long} long`", "for(const a of x)use`${a} long`"),
    ("const long = { long() {\n  long()\n} }", "const a={long(){a()}}"),
    ("const long = { async long() {} }\nlong.long()", "const a={async long(){}}\na.long()"),
    ("class Long {\n  long = Long\n  other\n  static long() {\n    return new Long()\n  }\n}",
     "class a{long=a\nother\nstatic long(){return new a()}}"),
    ("const long = 1\nclass B {\n  #x = [\n    long,\n  ]\n}", "const a=1\nclass b{#a=[a,]}"),
    ("if (long) {\n  long()\n}", "if(long){long()}"),
    ("try {\n  x()\n} catch (error) {\n  say(error)\n}", "try{x()}catch(a){say(a)}"),
    ("const a = 1\nuse(b)", "const a=1\nuse(b)"),
    ("const c = 1\nuse(a, c)", "const b=1\nuse(a,b)"),
    ("class A {\n  #long = 1\n  #b = `#long ${this.#long}`\n  has(x) {\n    return #b in x\n  }\n}",
     "class b{#a=1\n#b=`#long ${this.#a}`\nhas(a){return #b in a}}"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SHORTENED)
def test_names_become_short_and_properties_and_texts_stay(text: str, expected: str) -> None:
    assert join_scripts({"main": text + "\n"}, "main")[0] == expected


def test_a_module_that_waits_is_waited_for() -> None:
    modules = {"main": 'import { b } from "./one.js"\nb\n', "one": "await 1\nexport const { b } = {}\n"}
    [joined] = join_scripts(modules, "main")
    assert joined == "await 1\nconst{b:a}={}\na"


def test_what_is_imported_on_demand_comes_in_a_file_of_its_own() -> None:
    modules = {
        "main": 'import { one } from "./one.js"\nconst { two } = await import("./two.js")\n',
        "one": "export const one = 1\n",
        "two": 'import { one } from "./one.js"\nimport { three } from "./three.js"\n'
        "export const two = three + one\n",
        "three": "export const three = 2\n",
    }
    first, later = join_scripts(modules, "main")
    assert first.endswith('const a=1\nconst{two:c}=await $later("two")')
    assert f'import("./{ON_DEMAND[0]}"+$again).then(({{default:make}})=>make({{a}}))' in first
    assert later == ("export default async({a})=>{\nconst b=2\nconst d=b+a\nreturn{two:{two:d}}\n}\n")


def test_what_that_imports_on_demand_comes_in_the_next_file() -> None:
    modules = {
        "main": 'import { one } from "./one.js"\nawait import("./two.js")\none\n',
        "one": "export const one = 1\nexport const other = 2\n",
        "two": 'import { one } from "./one.js"\nexport const two = () => one + import("./three.js")\n',
        "three": 'import { other } from "./one.js"\nimport { two } from "./two.js"\n'
        'import { four } from "./four.js"\nexport const three = two + four + other\n',
        "four": "export const four = 2\n",
    }
    first, later, rare = join_scripts(modules, "main")
    assert ON_DEMAND[1] not in first
    assert "const a=1\nconst b=2" in first
    assert "make({a,b})" in first
    assert later.startswith('export default async({a,b})=>{\nlet $rest,$again=""\nconst $later=')
    assert f'import("./{ON_DEMAND[1]}"+$again).then(({{default:make}})=>make({{b,c}}))' in later
    assert later.endswith('const c=()=>a+$later("three")\nreturn{two:{two:c}}\n}\n')
    assert rare == "export default async({b,c})=>{\nconst d=2\nconst e=c+d+b\nreturn{three:{three:e}}\n}\n"
    modules["four"] += 'import("./five.js")\n'
    with pytest.raises(NotJoinable, match="five"):
        join_scripts(modules | {"five": ""}, "main")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('import x from "./one.js"\n', "import x"),
        ('import * as x from "./one.js"\n', "import*"),
        ('import { a as b } from "./one.js"\n', "{a as"),
        ('import { b } from "./one.js"\n', "one.js exports no b"),
        ("let a = 1, b = 2\n", ",b="),
        ("export let a = 1\n", "export let a"),
        ("export default 1\n", "export default"),
        ("const a = 1\nexport { a }\n", "export{a"),
        ("const x = () => import(name)\n", "import("),
        ('import { a } from "./nowhere.js"\n', "nowhere.js"),
        ('import { a } from "./circle.js"\n', "main > circle > main"),
    ],
)
def test_what_is_written_in_another_manner_is_refused(text: str, said: str) -> None:
    modules = {"main": text, "one": "export const a = 1\n", "circle": 'import { b } from "./main.js"\n'}
    with pytest.raises(NotJoinable, match=re.escape(said)):
        join_scripts(modules, "main")


def test_sheets_become_one_in_their_order() -> None:
    sheets = [
        "/* One. */\n\na {\n  b: c;\n  &:has(d, e) > f {\n    g: h i;\n  }\n}\n",
        'd::before {\n  content: "a;  b: ";\n}\n',
    ]
    assert join_sheets(sheets) == 'a{b:c;&:has(d,e) > f{g:h i}}d::before{content:"a;  b: "}'
