"""Every code that the sources name exists, and every code has texts and a row in the guide."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from server.core.codes import CODES, OF_THE_SERVER, PASSING, PASSING_STATUSES
from server.locales import LANGUAGES, Catalogue
from server.subscriptions import subscription
from server.subscriptions.subscription import HOST_REFUSALS, REFUSED, WANTS_LOG_IN
from server.tasks import next_attempt
from tests.page_tables import page_table
from tests.trees import nodes

ROOT = Path(__file__).parent.parent.parent
GUIDE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").partition("## Failed tasks")[2]
SAYING = {"JobFailed", "Failure", "Rule", "Broken", "Failed", "Requeued", "SourceRefused"}
BETTER_HINTS = {
    "blocked_address_fake_ip",
    "ends_too_early",
    "first_of_several",
    "missing_segments",
    "nothing_came",
    "renew_cookies",
    "seen_age",
    "seen_captcha",
    "seen_login",
    "seen_removed",
    "some_subtitles",
    "too_large_for_disk",
    "with_gaps",
    "wrong_key",
}


def named(path: Path) -> Iterator[str]:
    """Yield each text in the place of a code, and all keys and values of the tables that have a `code`."""
    for node in nodes(path):
        match node:
            case ast.Call(func=ast.Name(name), args=[first, *_]) if name in SAYING:
                yield from texts(first)
            case ast.keyword(arg="code" | "because", value=value):
                yield from texts(value)


def texts(node: ast.expr) -> Iterator[str]:
    """Yield the constant texts that an expression may have as its value."""
    match node:
        case ast.Constant(str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts(body)
            yield from texts(orelse)


@cache
def sources() -> dict[str, Path]:
    """Return each code with a file that names it."""
    return {code: path for path in (ROOT / "server").rglob("*.py") for code in named(path)}


def test_the_sources_name_codes() -> None:
    assert {"no_audio", "no_video", "timeout", "worker_lost", "disk_full", "internal"} <= sources().keys()


def test_a_code_that_the_sources_name_exists() -> None:
    assert {code: path for code, path in sources().items() if code not in CODES | OF_THE_SERVER} == {}


def test_a_code_that_exists_is_named_by_the_sources() -> None:
    """Also codes in tables that `named` does not understand."""
    modules = (path for path in (ROOT / "server").rglob("*.py") if path.name != "codes.py")
    text = "".join(path.read_text(encoding="utf-8") for path in modules)
    unused = [code for code in CODES if f'"{code}"' not in text]
    assert unused == [], "a `JobFailed`, or a rule in server/child/extract/failures.py"


def test_a_code_from_which_something_follows_exists() -> None:
    of_subscriptions = (
        HOST_REFUSALS | REFUSED | WANTS_LOG_IN | subscription.NOT_LIVE | subscription.CODES_OF_GONE_SOURCES
    )
    place, hopeless = page_table("HOPELESS")
    for where, codes in (
        ("server/subscriptions/subscription.py", of_subscriptions),
        ("server/tasks/next_attempt.py", next_attempt.OUT_OF_REACH | next_attempt.WAS_ANOTHER),
        (f"`HOPELESS` in {place}", {*hopeless}),
    ):
        unknown = {code for code in codes if not code.startswith("http_")} - (CODES | OF_THE_SERVER)
        assert unknown == set(), where


@pytest.mark.parametrize("words", LANGUAGES.values(), ids=LANGUAGES)
def test_every_code_has_words_and_no_words_are_left_over(words: Catalogue) -> None:
    differ = words.texts.failure.keys() ^ (CODES | OF_THE_SERVER | BETTER_HINTS | {"http"})
    assert differ == set(), "`[failure.<code>]` in server/locales/*.toml, or server/core/codes.py"


def test_the_guide_lists_the_statuses_after_which_a_source_is_asked_again() -> None:
    listed = re.search(r"^\| `http_<status>` \| ([\d, -]+) \|", GUIDE, re.MULTILINE)
    assert listed
    ranges = [part.partition("-")[::2] for part in listed[1].split(", ")]
    statuses = {n for first, last in ranges for n in range(int(first), int(last or first) + 1)}
    assert statuses == PASSING_STATUSES


def test_the_guide_lists_every_code_and_whether_it_is_tried_again() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", GUIDE, re.MULTILINE))
    assert listed.keys() ^ (CODES | OF_THE_SERVER) == set(), "the table of failed tasks in docs/api.md"
    assert {code for code, again in listed.items() if again != "no"} == PASSING
