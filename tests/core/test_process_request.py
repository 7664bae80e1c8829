import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel, ValidationError

from server.app import ROUTES
from server.core.film import VideoInfo
from server.core.list_entries import ListEntry
from server.core.process_request import ProcessRequest
from server.core.stored import read_request
from server.core.task import Task, TaskStatus
from server.core.values import OF_A_CLIENT, without_password
from tests.examples import utc_now

GOOD = [
    "http://a/",
    "HTTPS://例子.test/视频?q=1#x",
    "http://user:secret@media.test:8000/v.mp4",
    "http://[::1]:8000/v",
    "http://a/" + "x" * 4087,
]
BAD = {
    "": "string_too_short",
    "http://a/" + "x" * 4088: "string_too_long",
    "ftp://a/": "url_scheme",
    "file:///etc/passwd": "url_scheme",
    "//a/b": "url_scheme",
    "video.mp4": "url_scheme",
    "http://": "url_host",
    "http:///path": "url_host",
    "http://a b/": "url_characters",
    "http://a/\n": "url_characters",
    "http://a/\x00": "url_characters",
    "http://a/\u2028": "url_characters",
    "http://a:notaport/": "url_invalid",
    "http://a:65536/": "url_invalid",
    "https://[::1]:99999/": "url_invalid",
    "http://[::1/": "url_invalid",
}


def test_an_entry_is_shown_by_the_link_that_anybody_could_send() -> None:
    found = ListEntry(index=1, url="http://user:secret@a.test/v#__youtubedl_smuggle=%7B%22referer%22%3A+1%7D")
    playlist = TaskStatus(task_id="l", url="http://a.test/", created_at=utc_now())
    assert TaskStatus.of_entry(playlist, found, utc_now()).url == "http://a.test/v"


@pytest.mark.parametrize("url", GOOD)
def test_a_url_is_kept_as_it_was_sent(url: str) -> None:
    assert ProcessRequest(url=url).url == url


@pytest.mark.parametrize(
    ("sent", "title"),
    [
        ("A film", "A film"),
        (" A\tfilm\r\n of\x00 two  lines\u2028", "A film of two lines"),
        ("\u202egnp.exe\u200f", "gnp.exe"),
        ("視頻 👍", "視頻 👍"),
        (" \x07\u200f", None),
    ],
)
def test_the_title_of_a_page_becomes_one_harmless_line(sent: str, title: str | None) -> None:
    request = ProcessRequest(url="http://a.test/", title=sent)
    assert request.title == title
    assert TaskStatus.new(request, utc_now()).video_info == VideoInfo(title=title)


@pytest.mark.parametrize("url", BAD)
def test_a_wrong_url_is_refused_with_the_reason(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ProcessRequest(url=url)
    assert [error["type"] for error in refused.value.errors()] == [BAD[url]]


def test_a_port_that_nobody_listens_at_is_refused_but_read_where_an_earlier_release_took_it() -> None:
    body = {"url": "http://a:0/"}
    with pytest.raises(ValidationError, match="url_invalid"):
        ProcessRequest.model_validate(body, context=OF_A_CLIENT)
    assert ProcessRequest.model_validate(body).url == "http://a:0/"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("outputs", []),
        ("outputs", ["video", "video"]),
        ("outputs", ["posters"]),
        ("outputs", "video"),
        ("quality", 1080),
        ("quality", "1081"),
        ("priority", 11),
        ("priority", "1"),
        ("priority", True),
        ("priority", 1.5),
        ("video_format", "avi"),
        ("audio_format", "ogg"),
        ("format", "bv*+ba; rm -rf"),
        ("audio_language", "e n"),
        ("auto_start", "yes"),
        ("webhook", "ftp://a/"),
        ("title", 5),
        ("title", ""),
        ("title", "a" * 501),
        ("embed_metadata", "yes"),
        ("clip", [1, 2]),
        ("clip", {"start": 1, "end": 2, "exactly": True}),
        ("sponsorblock", "sponsor"),
        ("sponsorblock", ["sponsor", "sponsor"]),
        ("sponsorblock", ["chapter"]),
        ("sponsorblock", ["all"]),
        ("split_chapters", 1),
        ("subtitles", "en"),
        ("subtitles", None),
        ("subtitles", {"languages": "en"}),
        ("subtitles", {"languages": [""]}),
        ("subtitles", {"languages": ["en["]}),
        ("subtitles", {"languages": ["a" * 101]}),
        ("subtitles", {"languages": ["en"] * 101}),
        ("subtitles", {"embed": 1}),
        ("subtitles", {"format": "ass"}),
        ("subtitles", {"language": ["en"]}),
        ("playlist", "all"),
        ("playlist_items", "1"),
        ("extractor_args", {"youtube": {"player_client": ["tv"]}}),
    ],
)
def test_a_wrong_or_unknown_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        ProcessRequest.model_validate({"url": "http://a/", field: value}, context=OF_A_CLIENT)
    assert {str(error["loc"][0]) for error in refused.value.errors()} == {field}


@pytest.mark.parametrize(
    "language",
    [
        "en",
        "-en",
        "all",
        "-all",
        "en.*",
        "-en.*",
        "zh-Hans",
        "live_chat",
        "a.en",
        "English (UK)",
        "中文（简体）",
    ],
)
def test_languages_of_subtitles_are_names_beginnings_or_all(language: str) -> None:
    body = {"url": "http://a/", "subtitles": {"languages": [language]}}
    assert ProcessRequest.model_validate(body, context=OF_A_CLIENT).subtitles.languages == (language,)


NO_LANGUAGES = [
    "[a-\uffff]" * 18, "(a+)+$", "en|de", "en*", "en+", "e?n", "^en", "en$", r"\w\w", "en{2}", ".*", ".", "-",
    "--en", "-.*", "en,de", " en", "en\n", "(en", "en.*x[", "*",
]  # fmt: skip


@pytest.mark.parametrize("pattern", NO_LANGUAGES)
def test_no_regular_expression_is_taken_from_a_client_but_stored_ones_stay(pattern: str) -> None:
    body = {"url": "http://a/", "subtitles": {"languages": [pattern]}}
    with pytest.raises(ValidationError, match="language_form"):
        ProcessRequest.model_validate(body, context=OF_A_CLIENT)
    stored = read_request(json.dumps(body))
    assert stored
    assert stored.subtitles.languages == (pattern,)


BODIES = {operation.body for route in ROUTES for operation in route.operations.values() if operation.body}


@pytest.mark.parametrize("model", sorted(BODIES, key=repr))
@pytest.mark.parametrize("empty", ["", [""]])
def test_what_is_empty_names_nothing_in_every_field_of_every_body(
    model: type[BaseModel], empty: object
) -> None:
    for name in fields_of(model) - {"requests"}:  # the requests of a batch are validated one by one
        with pytest.raises(ValidationError) as refused:
            model.model_validate({name: empty})
        assert name in {part for error in refused.value.errors() for part in error["loc"]}


def fields_of(model: type[BaseModel]) -> set[str]:
    """Return the fields of a body; for one of several forms, the fields of all of them."""
    if not issubclass(model, RootModel):
        return {*model.model_fields}
    return {name for form in get_args(model.model_fields["root"].annotation) for name in form.model_fields}


def test_every_other_entry_of_thousands_can_be_chosen() -> None:
    def asked(last: int) -> str:
        return ",".join(map(str, range(1, last, 2)))

    fields = {"url": "http://a/", "playlist": True}
    ProcessRequest.model_validate(fields | {"playlist_items": asked(4000)})
    with pytest.raises(ValidationError):
        ProcessRequest.model_validate(fields | {"playlist_items": asked(5000)})


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        (0, 10, (0, 10)),
        (1.5, "1:02:03.5", (1.5, 3723.5)),
        ("62.5", "02:03", (62.5, 123)),
        ("100:00:00", 360_000.001, (360_000, 360_000.001)),
    ],
)
def test_a_clips_times_are_seconds_or_as_clocks_show_them(
    start: object, end: object, seconds: tuple[float, float]
) -> None:
    clip = ProcessRequest.model_validate({"url": "http://a/", "clip": {"start": start, "end": end}}).clip
    assert clip
    assert (clip.start, clip.end, clip.exact) == (*seconds, False)


NO_TIMES = (
    -1,
    float("nan"),
    float("inf"),
    1e12,
    True,
    None,
    "",
    "1:99",
    "1:60:00",
    "-1",
    "1e3",
    "1:2:3:4",
    "٣",
    [1],
)


@pytest.mark.parametrize("wrong", NO_TIMES, ids=repr)
def test_a_clips_wrong_time_is_refused_by_name(wrong: object) -> None:
    for field, clip in (("start", {"start": wrong, "end": 9e5}), ("end", {"start": 0, "end": wrong})):
        with pytest.raises(ValidationError) as refused:
            ProcessRequest.model_validate({"url": "http://a/", "clip": clip})
        assert [error["loc"] for error in refused.value.errors()] == [("clip", field)]


@pytest.mark.parametrize("clip", [{"start": 5, "end": 5}, {"start": "1:00", "end": 59}, {"start": 5}])
def test_a_clip_ends_behind_its_start(clip: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        ProcessRequest.model_validate({"url": "http://a/", "clip": clip})
    assert [error["loc"] for error in refused.value.errors()] == [("clip", "end")]


def test_a_client_gets_no_clip_shorter_than_a_tenth_of_a_second() -> None:
    """A stored clip of an earlier release may be shorter."""
    for start, end in ((5, 5.09), ("1:00.5", "1:00.599")):
        body = {"url": "http://a/", "clip": {"start": start, "end": end}}
        with pytest.raises(ValidationError) as refused:
            ProcessRequest.model_validate(body, context=OF_A_CLIENT)
        assert [error["loc"] for error in refused.value.errors()] == [("clip", "end")]
        assert read_request(ProcessRequest.model_validate(body).model_dump_json())
    # In floating point, 0.3 - 0.2 is a little less than 0.1.
    for span in ((5, 5.1), (0.2, 0.3), (1e5, 100000.1)):
        body = {"url": "http://a/", "clip": dict(zip(("start", "end"), span, strict=True))}
        assert ProcessRequest.model_validate(body, context=OF_A_CLIENT).clip


def test_a_broadcast_has_no_clips() -> None:
    for live in ("record", "wait"):
        with pytest.raises(ValidationError) as refused:
            ProcessRequest.model_validate({"url": "http://a/", "live": live, "clip": {"start": 0, "end": 1}})
        assert [(error["loc"], error["type"]) for error in refused.value.errors()] == [
            (("live",), "live_clip")
        ]


def test_a_whole_number_may_be_written_with_a_point() -> None:
    request = ProcessRequest.model_validate({"url": "http://a/", "priority": -4.0, "audio_quality": 128.0})
    assert (request.priority, request.audio_quality) == (-4, 128)
    assert isinstance(request.priority, int)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@a.test/v?x=1@2", "http://a.test/v?x=1@2"),
        ("http://user@a.test:80/", "http://a.test:80/"),
        ("http://u:p@p@a.test/", "http://a.test/"),
        ("http://a.test/@x", "http://a.test/@x"),
        ("HTTP://A.test/%7E", "HTTP://A.test/%7E"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


@given(st.text(max_size=60))
def test_any_text_is_either_a_url_or_refused(text: str) -> None:
    try:
        request = ProcessRequest(url=text)
    except ValidationError:
        return
    assert request.url == text
    assert Task(request, TaskStatus.new(request, utc_now())).status.host
    assert without_password(text).count("@") <= text.count("@")
