"""The page's files, which are read and not run: what a reviewer would check at a glance."""

import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from server.child.media.outputs import _RATES
from server.core.process_request import Output, ProcessRequest
from server.core.task import Stage
from server.locales import LANGUAGES
from server.people.audit import AUDITED
from server.people.people_routes import OwnLimits
from server.tasks.remedies import RETRY_LATER_AFTER
from tests.deno import deno
from tests.page_tables import page_table, page_texts

STATIC = Path(__file__).parent.parent.parent / "static"
LOCALES = STATIC.parent / "server" / "locales"
API = (STATIC.parent / "docs" / "api.md").read_text(encoding="utf-8")
INDEX = (STATIC / "index.html").read_text(encoding="utf-8")
MODULES = sorted((STATIC / "js").rglob("*.js"))
CATALOGUES = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (STATIC / "i18n").glob("*.json")
}


def code(module: Path) -> str:
    return module.read_text(encoding="utf-8")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_is_checked_and_writes_text_only(module: Path) -> None:
    text = code(module)
    assert text.startswith("// @ts-check\n")
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTML|DOMParser|\beval\b|new Function"
    assert not re.search(markup, text)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_asks_only_for_addresses_relative_to_the_page(module: Path) -> None:
    assert not re.search(r"""["'`](/|https?://)[\w.]""", code(module))


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    assert not re.search(r"<style|<script(?![^>]* src=)|\sstyle=|\son\w+=|<base", INDEX)
    addresses = re.findall(r'(?:src|href|action)="([^"]*)"', INDEX)
    assert addresses
    assert [address for address in addresses if re.match(r"/|[a-z]+:", address)] == []


def test_what_the_page_and_its_styles_refer_to_is_there() -> None:
    named = [STATIC.parent / path for path in re.findall(r'(?:src|href)="(static/[^"]*)"', INDEX)]
    for sheet in (STATIC / "css").rglob("*.css"):
        named += [sheet.parent / path for path in re.findall(r'url\("([^"]*)"\)', code(sheet))]
    assert len(named) > 5
    assert [path for path in named if not path.is_file()] == []


def test_every_action_of_a_menu_has_an_icon() -> None:
    in_no_menu = ("open", "more", "undo")
    icons = {name: icon for name, icon in tables()["actions"].items() if name not in in_no_menu}
    symbols = set(re.findall(r'<symbol id="i-([^"]+)"', INDEX))
    assert {name: icon for name, icon in icons.items() if icon not in symbols} == {}


@cache
def tables() -> dict[str, Any]:
    """Return the contents of the tables in the page's modules, as deno reads them."""
    script = """
        import { ACTIONS, iconOf } from "./static/js/row/actions.js"
        import { OPTIONS } from "./static/js/intake/options.js"
        import { GROUPS, WORDS } from "./static/js/intake/optionsform.js"
        import { EVERYWHERE } from "./static/js/list/keylist.js"
        import { LIMITS } from "./static/js/people/limits.js"
        const actions = Object.fromEntries(Object.keys(ACTIONS).map((name) => [name, iconOf(name)]))
        const many = Object.keys(ACTIONS).filter((name) => ACTIONS[name].isForMany)
        const about = ([name, { kind, values = [] }]) => [name, { kind, values }]
        const options = Object.entries(OPTIONS).map(about)
        const isRated = (audio_format) => OPTIONS.audio_quality.applies({ outputs: ["audio"], audio_format })
        console.log(JSON.stringify({
            actions, many, options: Object.fromEntries(options), groups: GROUPS, words: WORDS,
            rated: OPTIONS.audio_format.values.filter(isRated), everywhere: Object.keys(EVERYWHERE),
            limits: Object.keys(LIMITS),
        }))"""
    found: dict[str, Any] = json.loads(deno("eval", "--no-remote", "--no-npm", script))
    return found


@pytest.mark.parametrize("field", ["quality", "video_format", "codec", "audio_format"])
def test_the_page_offers_every_value_of_a_choice(field: str) -> None:
    values = get_args(ProcessRequest.model_fields[field].annotation)
    offered = tables()["options"][field]["values"]
    assert set(offered) ^ set(values) == set(), f"`{field}` in static/js/intake/options.js"
    assert offered[0] == ProcessRequest.model_fields[field].default


def test_the_page_offers_a_rate_for_each_audio_format_that_has_one() -> None:
    assert set(tables()["rated"]) == set(_RATES), "`audio_quality` in static/js/intake/options.js"


def test_the_catalogues_have_the_same_texts_with_the_same_values() -> None:
    def shape(catalogue: dict[str, str | dict[str, str]]) -> dict[str, list[str]]:
        forms = {key: text if isinstance(text, dict) else {"other": text} for key, text in catalogue.items()}
        for key, texts in forms.items():
            assert "other" in texts, key
            assert len({tuple(sorted(re.findall(r"\{\w+\}", text))) for text in texts.values()}) == 1, key
        return {key: sorted(re.findall(r"\{\w+\}", texts["other"])) for key, texts in forms.items()}

    assert set(CATALOGUES) == {"en", "zh"}
    en, zh = shape(CATALOGUES["en"]), shape(CATALOGUES["zh"])
    assert en.keys() ^ zh.keys() == set(), "of one of static/i18n/*.json alone"
    assert en == zh
    assert all(list(catalogue) == sorted(catalogue) for catalogue in CATALOGUES.values())


def words(name: str, start: str, end: str) -> set[str]:
    """Return the quoted words of a module from `start` to the next `end`."""
    text = code(STATIC / "js" / name)
    text = text[text.index(start) :]
    return set(re.findall(r'"([\w.]+)"', text[: text.index(end)]))


def composed() -> dict[str, set[str]]:
    """Yield all labels that the page composes (`t(`menu.${name}`)`), with the names from the place where the
    page has them.
    """
    read = tables()
    return {
        "action": set(read["actions"]),
        "details": set(re.findall(r'^ +\["(\w+)", ', code(STATIC / "js/row/details.js"), re.MULTILINE)),
        "failure": {"gone", "busy", "broken", "refused"},
        "group": set(read["groups"]),
        "keys": set(read["everywhere"]),
        "log": {"copy", "reload"},
        "kind": set(Output),
        "menu": words("header/mainmenu.js", "const names = ", "menu.open("),
        "notice": words("notices/notify.js", "const why = ", "\n"),
        "options": set(read["options"]) - {"outputs", "embed"} | {"preset", "subtitles", "thumbnail"},
        "selected": set(read["many"]),
        "send": words("row/sendto.js", "const TARGETS = ", "\n"),
        "wish": {"best", "worst"},
    }


def values_in_words() -> set[str]:
    """Return the labels of those values of an option that are words."""
    choices = {
        name: about["values"] for name, about in tables()["options"].items() if about["kind"] == "choice"
    }
    worded = set(tables()["words"])
    return {
        f"{name}.{value or 'none'}" for name, values in choices.items() for value in worded & set(values)
    } | {"preset.none"}


def test_each_text_is_used_and_each_used_text_is_there() -> None:
    scripts = "".join(code(module) for module in MODULES)
    used = set(re.findall(r'data-t(?:-\w+)?="([^"]+)"', INDEX)) | set(re.findall(r'\bt\("([^"]+)"', scripts))
    # Finds both keys in t(many ? "card.some" : "card.one").
    used |= {key for key in CATALOGUES["en"] if f'"{key}"' in scripts}
    used |= values_in_words()
    used |= {f"{start}.{name}" for start, names in composed().items() for name in names}
    with_fallback = tuple(re.findall(r"\bt\(`([^$`]+)\$\{\w+\}`, \{\}, ", scripts))
    known = set(CATALOGUES["en"])
    assert used <= known, used - known
    assert {key for key in known - used if not key.startswith(with_fallback)} == set()


def test_the_names_of_every_composed_label_are_known_unless_it_has_a_fallback() -> None:
    starts = {
        start
        for module in MODULES
        for start in re.findall(r"\bt\(`(\w+)\.[^`]*\$\{[^`]*`(?!, \{\}, )", code(module))
    }
    assert starts == set(composed())
    for catalogue in CATALOGUES.values():
        assert values_in_words() <= catalogue.keys()
        for start, names in composed().items():
            assert names, start
            missing = {f"{start}.{name}" for name in names} - catalogue.keys()
            assert missing == set(), "a text in static/i18n/*.json"


def test_the_page_knows_every_stage_and_every_reason_to_wait() -> None:
    """The stage in a payload decides what a row shows and offers; `waiting` decides what it says."""
    place, known = page_table("STAGES")
    assert known.keys() ^ {*Stage} == set(), f"`STAGES` in {place}"
    sections = page_table("RUNNING_STAGES"), page_table("WAITING_STAGES")
    unfinished = {stage.value for stage in Stage if not stage.is_final}
    in_sections = {stage for _, stages in sections for stage in stages}
    assert in_sections ^ unfinished == set(), f"`RUNNING_STAGES` or `WAITING_STAGES` in {sections[0][0]}"
    row = next(line for line in API.splitlines() if line.startswith("| `waiting` |"))
    # After a passing failure the row's message says all there is to say.
    reasons = set(LANGUAGES["en"].texts.waiting) | {"next_attempt"}
    assert reasons - set(re.findall(r"`(\w+)`", row)) == set(), "`waiting` in server/api/payload.py"
    for path, texts in page_texts().items():
        words = {key.removeprefix("waiting.") for key in texts if key.startswith("waiting.")}
        assert words ^ reasons == set(), f"`waiting.` in {path}, or `[waiting]` in server/locales/*.toml"


def test_the_page_knows_every_limit_of_a_person() -> None:
    assert set(tables()["limits"]) ^ set(OwnLimits.model_fields) == set(), "`LIMITS` in people/limits.js"


def test_the_page_has_words_for_all_that_the_audit_log_tells() -> None:
    of_details = {"role_changed", "limits_changed", "password_removed", "log_in_refused"}
    for path, texts in page_texts().items():
        words = {key.removeprefix("audit.") for key in texts if key.startswith("audit.")}
        assert ({*AUDITED.values()} | of_details) - words == set(), f"`audit.` in {path}"


def test_the_page_offers_every_output() -> None:
    offered = tables()["options"]["outputs"]["values"]
    assert set(offered) ^ set(Output) == set(), "`outputs` in static/js/intake/options.js"


def test_colours_are_named_in_one_file() -> None:
    for sheet in (STATIC / "css").rglob("*.css"):
        if sheet.name != "tokens.css":
            assert re.findall(r"#[0-9a-fA-F]{6}\b", code(sheet)) == [], sheet.name


def test_the_modules_that_need_no_document_pass_their_own_tests() -> None:
    """The tests are in tests/js; `make check` checks their types."""
    shown = deno("test", "--quiet", "--no-check", "--no-remote", "--no-npm", "tests/js")
    assert re.search(r"^ok \| [1-9]\d* passed", shown, re.MULTILINE)


@pytest.mark.parametrize("language", sorted(CATALOGUES))
def test_the_words_of_trying_again_later_say_after_how_long(language: str) -> None:
    minutes = f"{RETRY_LATER_AFTER / 60:g} "
    assert minutes in CATALOGUES[language]["action.remedy.retry_later"]
    words = tomllib.loads((LOCALES / f"{language}.toml").read_text(encoding="utf-8"))
    assert minutes in words["remedy"]["retry_later"]
