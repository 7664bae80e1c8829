"""How the page's modules become one script, and that they are understood as a real parser does."""

import json
import re
import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from server.api import page
from server.api.joining import (
    ON_DEMAND,
    NotJoinable,
    join_scripts,
    join_sheets,
    read_module,
    tokens_of,
    written,
)

STATIC = page.STATIC
MODULES = {path.stem: path.read_text("utf-8") for path in sorted((STATIC / "js").glob("*.js"))}


def deno(*arguments: str, text: str | None = None) -> str:
    """What deno prints, which comes with yt-dlp and has the parser of a browser and of TypeScript."""
    program = Path(sysconfig.get_path("scripts"), "deno")
    environment = {"DENO_DIR": str(STATIC.parent / ".venv/deno"), "NO_COLOR": "1"}
    result = subprocess.run(
        (program, *arguments), cwd=STATIC.parent, env=environment, input=text, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


@cache
def parsed() -> dict[str, Any]:
    """The module's name -> what deno says of its exports and imports."""
    links = {f"{name}.js": f"static/js/{name}.js" for name in MODULES}
    nodes = json.loads(deno("doc", "--json", *links.values()))["nodes"]
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
    taken = {
        (each["originalName"], each["importedName"], Path(each["src"]).stem)
        for each in about.get("imports", [])
    }
    assert set(read.imports) == taken
    code = [each for each in graph.get("dependencies", []) if "code" in each]
    dynamic = {Path(each["specifier"]).stem for each in code if each.get("isDynamic")}
    assert set(read.dynamic) == dynamic
    assert {module for _, _, module in read.imports} | dynamic == {
        Path(each["specifier"]).stem for each in code
    }


def statements(text: str) -> list[str]:
    """The tokens of what deno prints of its parser's tree, with a `;` at the end of each statement. Left out
    are brackets that may stand there for the type in a comment alone, or for where lines end.
    """
    shown = deno("fmt", "--no-config", "--ext", "js", "-", text=text)
    return [token.text for token in tokens_of(shown) if token.text not in ("(", ")", "{", "}", ",")]


@pytest.mark.parametrize("name", MODULES)
def test_what_is_written_of_a_module_means_the_same(name: str) -> None:
    short = written(tokens_of(MODULES[name]))
    assert [token.text for token in tokens_of(short)] == [token.text for token in tokens_of(MODULES[name])]
    assert statements(short) == statements(MODULES[name])


def test_the_joined_scripts_are_those_of_a_real_parser() -> None:
    """Each parses, as a module of a browser does; deno takes no script that does not."""
    made = page.assets().files
    for name in (page.SCRIPT, ON_DEMAND[0]):
        deno("fmt", "--ext", "js", "-", text=made[name].body.decode())


MINIFIED = [
    ("a // b\nc", "a\nc"),
    ("a /* b\n */ c", "a\nc"),
    ("let a = 1, b = 2", "let a=1,b=2"),
    ("f(\n  a,\n  b,\n)\n", "f(a,b,)"),
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


def test_modules_become_one_in_which_each_keeps_its_names_to_itself() -> None:
    modules = {
        "main": '// @ts-check\nimport { a } from "./one.js"\nimport {\n  b as c,\n} from "./two.js"\na()\n',
        "one": "/** A number.\n * Of ours. */\nconst hidden = 1\nexport const a = hidden // one\n",
        "two": 'import { a } from "./one.js"\n\nconst hidden = 2\nexport async function b() {\n  a()\n}\n',
        "unused": "export const x = 1\n",
    }
    [joined] = join_scripts(modules, "main")
    assert joined == (
        "const $one=(()=>{\nconst hidden=1\nconst a=hidden\nreturn{a}\n})()\n"
        "const $two=(()=>{\nconst{a}=$one\nconst hidden=2\nasync function b(){a()}\n"
        "return{b}\n})()\nconst{a}=$one\nconst{b:c}=$two\na()"
    )


def test_private_names_become_short_and_texts_stay() -> None:
    text = "class A {\n  #long = 1\n  #b = `#long ${this.#long}`\n  has(x) {\n    return #b in x\n  }\n}\n"
    [joined] = join_scripts({"main": text}, "main")
    assert joined == "class A{#a=1\n#b=`#long ${this.#a}`\nhas(x){return #b in x}}"


def test_a_module_that_waits_is_waited_for() -> None:
    modules = {"main": 'import { a } from "./one.js"\n', "one": "await 1\nexport const { a, b } = {}\n"}
    [joined] = join_scripts(modules, "main")
    assert joined.startswith("const $one=await(async()=>{\nawait 1\nconst{a,b}={}\nreturn{a,b}\n})()")
    within = {"main": 'import { a } from "./one.js"\n', "one": "export const a = async () => await 1\n"}
    assert join_scripts(within, "main")[0].startswith("const $one=(()=>{")


def test_what_is_imported_on_demand_comes_in_a_file_of_its_own() -> None:
    modules = {
        "main": 'import { a } from "./one.js"\nconst { b } = await import("./two.js")\n',
        "one": "export const a = 1\n",
        "two": 'import { a } from "./one.js"\nimport { c } from "./three.js"\nexport const b = c\n',
        "three": "export const c = 2\n",
    }
    first, later = join_scripts(modules, "main")
    assert 'const{b}=await $later("two")' in first
    assert f'import("./{ON_DEMAND[0]}"+$again).then(({{default:make}})=>make({{$one}}))' in first
    assert "$three" not in first
    assert later == (
        "export default async({$one})=>{\nconst $three=(()=>{\nconst c=2\nreturn{c}\n})()\n"
        "const $two=(()=>{\nconst{a}=$one\nconst{c}=$three\nconst b=c\nreturn{b}\n})()\n"
        "return{two:$two}\n}\n"
    )


def test_what_that_imports_on_demand_comes_in_the_next_file() -> None:
    modules = {
        "main": 'import { a } from "./one.js"\nawait import("./two.js")\n',
        "one": "export const a = 1\n",
        "two": 'import { a } from "./one.js"\nexport const b = () => import("./three.js")\n',
        "three": 'import { b } from "./two.js"\nimport { c } from "./four.js"\nexport const d = b + c\n',
        "four": "export const c = 2\n",
    }
    first, later, rare = join_scripts(modules, "main")
    assert ON_DEMAND[1] not in first
    assert later.startswith('export default async({$one})=>{\nlet $rest,$again=""\nconst $later=')
    assert f'import("./{ON_DEMAND[1]}"+$again).then(({{default:make}})=>make({{$one,$two}}))' in later
    assert "$three=" not in later
    assert rare == (
        "export default async({$one,$two})=>{\nconst $four=(()=>{\nconst c=2\nreturn{c}\n})()\n"
        "const $three=(()=>{\nconst{b}=$two\nconst{c}=$four\nconst d=b+c\nreturn{d}\n})()\n"
        "return{three:$three}\n}\n"
    )
    modules["four"] += 'import("./five.js")\n'
    with pytest.raises(NotJoinable, match="five"):
        join_scripts(modules | {"five": ""}, "main")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('import x from "./one.js"\n', "import x"),
        ('import * as x from "./one.js"\n', "import*"),
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
