"""Remedies: which ones a failure offers, and who may use them.

What each remedy does to real downloads is in `test_repairs`.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.api import keys
from server.api.payload import TaskPayload
from server.core import stored
from server.core.codes import CODES, OF_THE_SERVER
from server.core.events import Failed, Repaired, Retried, Started, apply
from server.core.film import VideoInfo
from server.core.process_request import ProcessRequest
from server.core.task import Task
from server.locales import LANGUAGES
from server.storage.task_rows import status_values
from server.tasks import next_attempt, remedies
from server.tasks.remedies import OF_CODE, REMEDIES, event_of, offered, with_remedies
from tests.examples import new_task
from tests.inside import Inside, inside
from tests.page_tables import ROOT, page_table, page_texts

GUIDE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)


def failed(code: str, height: int | None = None, **asked: Any) -> Task:
    """Return a task that failed with `code`."""
    task = new_task(**asked)
    status = task.status.model_copy(update={"video_info": VideoInfo(height=height)})
    status = apply(apply(status, Started(), NOW), Failed(code=code), NOW)
    return Task(task.request, with_remedies(status, task.request))


def repaired(task: Task, name: str) -> Task:
    """Return the task after the remedy `name`, and after it failed once more with the same code."""
    event = event_of(name, task)
    assert event
    code = task.status.error_code
    assert code
    again = apply(task.status, event, NOW)
    ended = apply(apply(again, Started(), NOW), Failed(code=code), NOW)
    after = Task(task.request, ended)
    return Task(task.request, with_remedies(ended, after.effective_request))


# --- which remedies are offered ---


def test_the_table_knows_only_codes_and_remedies_that_exist() -> None:
    codes = {code for code in OF_CODE if not re.fullmatch(r"http_\d{3}", code)}
    assert codes <= CODES | OF_THE_SERVER
    offered_by_codes = {name for names in OF_CODE.values() for name in names}
    assert offered_by_codes ^ REMEDIES.keys() == set(), "`OF_CODE` or `REMEDIES` in server/tasks/remedies.py"
    for name, words in LANGUAGES.items():
        differ = words.texts.remedy.keys() ^ REMEDIES.keys()
        assert differ == set(), f"`[remedy]` in server/locales/{name}.toml"


def test_where_cookies_are_a_remedy_those_that_were_refused_are_to_be_renewed() -> None:
    """Exceptions are failures where cookies are missing, or where they may not be the cause."""
    other_hints = {"cookies_missing", "redirect_loop", "unavailable", "unsupported_url"}
    with_cookies = {code for code, names in OF_CODE.items() if "use_cookies" in names}
    differ = with_cookies ^ (next_attempt._WANTS_A_LOG_IN | other_hints)
    assert differ == set(), "`_WANTS_A_LOG_IN` in server/tasks/next_attempt.py"


def test_the_guide_shows_the_same_table() -> None:
    text = GUIDE.partition("### What there is")[2].partition("\n## ")[0]
    told, _, table = text.partition("| error_code | remedies |")
    rows = dict(re.findall(r"^\| (`.+?) \| (`.+?) \|$", table, re.MULTILINE))
    shown = {
        code: tuple(re.findall(r"`(\w+)`", names)) for row, names in rows.items() for code in expanded(row)
    }
    assert shown == dict(OF_CODE), "the table of codes in docs/api.md, `What there is`"
    described = re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE)
    assert described == list(REMEDIES), "the table of remedies in docs/api.md, `What there is`"


def test_the_page_has_a_button_for_each() -> None:
    place, listed = page_table("REMEDIES")
    assert listed.keys() ^ REMEDIES.keys() == set(), f"`REMEDIES` in {place}"
    for path, words in page_texts().items():
        assert [name for name in REMEDIES if f"action.remedy.{name}" not in words] == [], path


def test_each_is_tried_on_a_task_that_it_repairs() -> None:
    tried = (ROOT / "tests" / "end_to_end" / "test_repairs.py").read_text(encoding="utf-8")
    untried = [name for name in REMEDIES if f"async def test_{name}(" not in tried]
    assert untried == [], "tests/end_to_end/test_repairs.py"


def expanded(row: str) -> Iterator[str]:
    """Yield the error codes in a row of the guide; a range of statuses stands for all codes in it."""
    for first, last in re.findall(r"`http_(\d{3})` to `http_(\d{3})`", row):
        yield from (f"http_{status}" for status in range(int(first), int(last) + 1))
    yield from re.findall(r"`(\w+)`", row)


@pytest.mark.parametrize(
    ("asked", "height", "steps"),
    [
        ({}, 1440, ["1080", "720", "480", "360", "worst"]),
        ({}, None, ["720", "480", "360", "worst"]),
        ({"quality": "2160"}, 720, ["480", "360", "worst"]),
        ({"quality": "480"}, 2160, ["360", "worst"]),
        ({"format": "137+140"}, 1080, ["720", "480", "360", "worst"]),
        ({"outputs": ["audio"]}, None, ["worst"]),
        ({"outputs": ["thumbnail"]}, None, []),
    ],
)
def test_a_lower_quality_is_offered_until_there_is_none(
    asked: dict[str, Any], height: int | None, steps: list[str]
) -> None:
    task = failed("too_large", height, **asked)
    found = []
    while "lower_quality" in offered(task.status):
        task = repaired(task, "lower_quality")
        assert task.effective_request
        assert task.effective_request.format is None
        found.append(task.effective_request.quality)
    assert found == steps


@pytest.mark.parametrize(
    ("code", "name", "asked", "again"),
    [
        ("bot_check", "use_cookies", {}, True),
        ("timeout", "retry_later", {}, True),
        ("format_unavailable", "any_format", {"format": "x"}, False),
        ("conversion_failed", "keep_original", {}, False),
        ("no_audio", "take_video", {"outputs": ["audio", "thumbnail"]}, False),
        ("no_subtitles", "automatic_subtitles", {"outputs": ["subtitles"]}, False),
        ("no_video", "take_audio", {"outputs": ["video"]}, False),
        ("is_playlist", "take_first", {}, False),
    ],
)
def test_what_failed_again_is_offered_again_only_if_it_may_help_the_next_time(
    code: str, name: str, asked: dict[str, Any], again: bool
) -> None:
    task = failed(code, **asked)
    assert name in offered(task.status)
    assert (name in offered(repaired(task, name).status)) is again


def test_what_would_change_nothing_is_not_offered() -> None:
    assert offered(failed("conversion_failed", video_format="any", audio_format="best").status) == []
    assert offered(failed("no_subtitles", subtitles={"automatic": True}).status) == []
    assert offered(failed("too_large", outputs=["thumbnail"]).status) == []
    assert offered(failed("format_unavailable").status) == []


@pytest.mark.parametrize(
    ("code", "apart", "is_offered"),
    [
        ("too_large", True, True),
        ("too_large", False, False),
        ("too_large", None, True),
        ("unsupported_stream", False, False),
        ("no_video", False, True),
    ],
)
def test_the_sound_is_offered_only_where_it_can_be_fetched_alone(
    code: str, apart: bool | None, is_offered: bool
) -> None:
    ended = failed(code).status.model_copy(update={"sound_apart": apart})
    told = offered(with_remedies(ended, ProcessRequest(url="http://a/")))
    assert ("take_audio" in told) is is_offered


@pytest.mark.parametrize("code", ["too_large", "too_slow", "disk_full"])
@pytest.mark.parametrize("one_quality", [True, False, None])
def test_a_lower_quality_is_offered_only_where_there_is_something_to_choose_from(
    code: str, one_quality: bool | None
) -> None:
    ended = failed(code).status.model_copy(update={"one_quality": one_quality})
    told = offered(with_remedies(ended, ProcessRequest(url="http://a/")))
    assert ("lower_quality" in told) is (one_quality is not True)


def test_gaps_are_accepted_once_and_only_where_segments_are_missing() -> None:
    assert offered(failed("http_404").status) == []
    missing = Failed(code="http_404", hint="missing_segments")
    started = apply(failed("http_404").status, Retried(), NOW)
    task = Task(ProcessRequest(url="http://a/"), with_remedies(apply(started, missing, NOW), None))
    assert offered(task.status) == ["accept_gaps"]
    event = event_of("accept_gaps", task)
    assert event
    again = apply(task.status, event, NOW)
    assert again.accept_gaps
    assert offered(with_remedies(apply(again, missing, NOW), None)) == []


@pytest.mark.parametrize(
    ("hint", "names"),
    [
        (None, []),
        ("seen_removed", []),
        ("seen_login", ["use_cookies"]),
        ("seen_age", ["use_cookies"]),
        ("seen_captcha", ["use_cookies", "retry_later"]),
        ("renew_cookies", ["use_cookies"]),
    ],
)
def test_a_page_without_a_film_has_remedies_if_it_asks_for_something(
    hint: str | None, names: list[str]
) -> None:
    ended = apply(new_task().status, Failed(code="unsupported_url", hint=hint), NOW)
    assert offered(with_remedies(ended, None)) == names


def test_a_list_and_its_entries_have_only_what_makes_sense_there() -> None:
    assert offered(failed("out_of_memory", playlist=True).status) == ["retry_later"]
    assert offered(failed("entries_failed", playlist=True).status) == []
    entry = failed("is_playlist").status.model_copy(update={"playlist_id": "x"})
    assert offered(with_remedies(entry, ProcessRequest(url="http://a/"))) == ["take_first"]
    part = entry.model_copy(update={"item": 3})
    assert offered(with_remedies(part, ProcessRequest(url="http://a/"))) == []


def test_nothing_is_offered_to_who_has_not_failed() -> None:
    task = failed("timeout")
    assert offered(apply(task.status, Retried(), NOW)) == []
    assert apply(new_task().status, Repaired(), NOW).revision == 1
    assert offered(new_task().status) == []


def test_an_old_row_is_offered_what_does_not_depend_on_what_was_asked_for() -> None:
    old = failed("too_slow").status.model_copy(update={"remedies": None})
    assert "remedies" not in status_values(old, lambda _: None)[3]  # type: ignore[operator]
    assert offered(old) == ["retry_later"]
    assert event_of("lower_quality", Task(ProcessRequest(url="http://a/"), old)) is None


def test_what_the_next_release_offers_and_calls_its_failures_is_passed_over() -> None:
    known = failed("timeout").status.model_dump(mode="json")
    newer = known | {"error_code": "tape_worn", "remedies": ["splice", "retry_later"]}
    status = stored.read_status(json.dumps(newer))
    assert offered(status) == ["retry_later"]
    assert TaskPayload.of(status, LANGUAGES["en"]).remedies == ["retry_later"]
    assert offered(status.model_copy(update={"remedies": None})) == []
    amended: dict[str, Any] = {"speed_of_tape": 19, "subtitles": {"languages": ["en"], "karaoke": True}}
    task = Task(ProcessRequest(url="http://a/"), status.model_copy(update={"amended": amended}))
    assert task.effective_request is not None
    assert task.effective_request.subtitles.languages == ("en",)
    again = apply(task.status, event_of("retry_later", task) or Retried(), NOW)
    assert again.amended == amended, "it is kept"
    strange = status.model_copy(update={"amended": {"quality": "4320"}})
    assert Task(ProcessRequest(url="http://a/"), strange).effective_request is None, "it is not guessed at"


def test_a_remedy_leaves_all_else_as_it_was_asked_for() -> None:
    task = failed("too_large", 1080, outputs=["thumbnail", "video", "audio"], cookies="main", priority=3)
    later = Task(task.request, apply(task.status, event_of("take_audio", task) or Retried(), NOW))
    assert task.request
    changed = task.request.model_copy(update={"outputs": ("audio", "thumbnail")})
    assert later.effective_request == changed
    assert (later.status.stage, later.status.priority, later.status.attempt) == ("queued", 3, 1)
    assert later.status.remedies is None


EVERYTHING: dict[str, Any] = {
    "outputs": ["audio", "subtitles"],
    "video_format": "mkv",
    "format": "137+140",
    "audio_quality": 128,
    "clip": {"start": 1, "end": "1:02:03.5", "exact": True},
    "sponsorblock": ["sponsor"],
    "subtitles": {"languages": ["en.*"], "embed": True},
    "cookies": "main",
}


@pytest.mark.parametrize("asked", [EVERYTHING, {"outputs": ["video"], "format": "1"}])
@pytest.mark.parametrize("code", OF_CODE)
def test_whatever_is_offered_can_be_done(code: str, asked: dict[str, Any]) -> None:
    task = failed(code, 1080, **asked)
    for name in offered(task.status):
        assert repaired(task, name).effective_request, f"{name} leads to a request that nobody could make"


def test_a_broadcast_is_recorded_without_a_clip() -> None:
    wanted = repaired(failed("live_rejected", **EVERYTHING), "record_live").effective_request
    assert wanted
    assert (wanted.live, wanted.clip, wanted.cookies) == ("record", None, "main")


def test_what_is_kept_as_it_is_gets_nothing_put_into_it() -> None:
    embedded = {"languages": ["en"], "embed": True}
    task = failed("conversion_failed", embed_metadata=True, subtitles=embedded)
    wanted = repaired(task, "keep_original").effective_request
    assert wanted
    assert not wanted.embed_metadata
    assert (wanted.subtitles.languages, wanted.subtitles.embed) == (("en",), False)
    assert (wanted.video_format, wanted.audio_format) == ("any", "best")


def test_who_is_tried_again_later_says_when() -> None:
    task = failed("timeout")
    later = apply(task.status, event_of("retry_later", task) or Retried(), NOW)
    assert (later.waiting, later.not_before) == (
        "scheduled",
        NOW + timedelta(seconds=remedies.RETRY_LATER_AFTER),
    )


# --- who may use a remedy, and what is answered ---


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as opened:
        yield opened


async def broken(opened: Inside, code: str, **fields: Any) -> str:
    """Make a task that has failed with `code`; return its id."""
    task_id = await opened.submit(**fields)
    await opened.app[keys.TASKS]._recorder.record(task_id, Failed(code=code))
    return task_id


async def ask(opened: Inside, task_id: str, name: str, **body: Any) -> tuple[int, dict[str, Any]]:
    path = f"/api/tasks/{task_id}/remedies/{name}"
    async with opened.client.post(path, json=body or None) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_the_same_remedies_are_told_wherever_a_task_is(opened: Inside) -> None:
    task_id = await broken(opened, "too_large")
    names = ["lower_quality", "take_audio"]
    assert (await opened.status(task_id))["remedies"] == names
    async with opened.client.get("/api/tasks?stage=failed") as answer:
        assert [task["remedies"] for task in (await answer.json())["tasks"]] == [names]
    async with opened.client.ws_connect(f"/ws/{task_id}") as socket:
        assert (await socket.receive_json())["remedies"] == names
    async with opened.client.get(f"/api/tasks/{task_id}/remedies?lang=en") as answer:
        told = await answer.json()
    assert told["remedies"] == names
    assert told["texts"]["lower_quality"] == "Retry in lower quality"


async def test_a_remedy_that_is_not_offered_or_not_known_is_refused(opened: Inside) -> None:
    task_id = await broken(opened, "http_404")
    assert "remedies" not in await opened.status(task_id)
    for asked, name, expected in [
        (task_id, "retry_later", (409, "remedy_not_offered")),
        (task_id, "pray", (404, "remedy_not_found")),
        ("nobody", "retry_later", (404, "task_not_found")),
        (await opened.submit(), "retry_later", (409, "remedy_not_offered")),
    ]:
        status, problem = await ask(opened, asked, name)
        assert (status, problem["code"]) == expected
    async with opened.client.get("/api/tasks/nobody/remedies") as answer:
        assert answer.status == 404
    async with opened.client.get(f"/api/tasks/{task_id}/remedies") as answer:
        assert await answer.json() == {"remedies": [], "texts": {}}


async def test_a_remedy_that_is_not_there_is_refused_whatever_the_body(opened: Inside) -> None:
    for task_id, expected in (("nobody", 404), (await broken(opened, "timeout"), 409)):
        status, _ = await ask(opened, task_id, "use_cookies", cookies="gone")
        assert status == expected


async def test_cookies_are_named_where_they_are_needed_and_only_there(opened: Inside) -> None:
    task_id = await broken(opened, "bot_check")
    for name, body, message in [
        ("use_cookies", {}, "is missing"),
        ("use_cookies", {"cookies": "gone"}, "no cookie file is stored under this name"),
        ("use_cookies", {"cookies": "../etc"}, "has the wrong form"),
        ("retry_later", {"cookies": "main"}, "there is no such field"),
        ("retry_later", {"when": "now"}, "there is no such field"),
    ]:
        status, problem = await ask(opened, task_id, f"{name}?lang=en", **body)
        assert (status, problem["errors"][0]["message"]) == (422, message), body
    assert (await opened.status(task_id))["stage"] == "failed"


@pytest.mark.usefixtures("nothing_begins")
async def test_of_two_clicks_one_counts(opened: Inside) -> None:
    task_id = await broken(opened, "too_large", quality="1080")
    before = await opened.status(task_id)
    answers = await asyncio.gather(*(ask(opened, task_id, "lower_quality") for _ in range(2)))
    assert sorted(status for status, _ in answers) == [200, 409]
    after = await opened.status(task_id)
    assert (after["stage"], after["revision"]) == ("queued", before["revision"] + 1)
    assert (await opened.app[keys.TASKS]._store.get(task_id)).effective_request == ProcessRequest(
        url=after["url"], quality="720", auto_start=False
    )


@pytest.mark.usefixtures("nothing_begins")
async def test_what_a_remedy_has_changed_outlives_a_restart_and_a_retry(tmp_path: Path) -> None:
    async with inside(tmp_path) as opened:
        task_id = await broken(opened, "too_large", quality="1080")
        assert (await ask(opened, task_id, "lower_quality"))[0] == 200
        async with opened.client.post(f"/api/tasks/{task_id}/cancel") as answer:
            assert answer.status == 200
    async with inside(tmp_path) as opened:
        async with opened.client.post(f"/api/tasks/{task_id}/retry") as answer:
            assert answer.status == 200
        wanted = (await opened.app[keys.TASKS]._store.get(task_id)).effective_request
        assert wanted
        assert wanted.quality == "720"
