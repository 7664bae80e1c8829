"""The catalogues of texts: they have the promised words, are complete in every language, and are chosen as
the client asks.
"""

import inspect
import re
import shutil
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from server import locales
from server.api.openapi.docs_page import every_error
from server.core.action_requests import InfoRequest, PlaceChange
from server.core.errors import AppError, InvalidQuery, InvalidRequest
from server.core.library import Library
from server.core.process_request import ProcessRequest
from server.core.task import Stage
from server.locales import LANGUAGES, Catalogue, catalogues_in, negotiate

each_language = pytest.mark.parametrize("words", LANGUAGES.values(), ids=LANGUAGES)


def leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}.{key}")
        elif value is not None:
            yield f"{path}.{key}", value


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


# --- word for word ---


@pytest.mark.parametrize(
    ("stage", "zh", "en"),
    [
        ("queued", "等待处理...", "Waiting..."),
        ("info", "正在获取视频信息...", "Fetching video information..."),
        ("download", "正在下载视频...", "Downloading video..."),
        ("convert", "正在转换...", "Converting..."),
        ("paused", "已暂停", "Paused"),
        ("completed", "处理完成！", "Completed!"),
        ("failed", "处理失败: 无法下载视频", "Failed: the video could not be downloaded"),
        ("cancelled", "已取消", "Cancelled"),
    ],
)
def test_the_message_of_a_stage_is_as_promised(stage: str, zh: str, en: str) -> None:
    assert LANGUAGES["zh"].stage(stage) == zh
    assert LANGUAGES["en"].stage(stage) == en


def test_a_source_that_answers_404_gets_the_words_of_the_document() -> None:
    zh, en = LANGUAGES["zh"], LANGUAGES["en"]
    assert zh.failed("http_404") == "处理失败: 无法下载视频"
    assert zh.error("http_404") == "下载失败: HTTP 404"
    assert en.error("http_404") == "Download failed: HTTP 404"


def test_other_statuses_are_named_in_the_same_sentence() -> None:
    assert LANGUAGES["zh"].error("http_418") == "下载失败: HTTP 418"
    assert LANGUAGES["zh"].failed("http_418") == "处理失败: 无法下载视频"
    assert LANGUAGES["zh"].hint("http_418") is None


def test_some_failures_have_their_own_short_reason() -> None:
    assert LANGUAGES["zh"].failed("too_large") == "处理失败: 文件过大"
    assert LANGUAGES["en"].failed("too_large") == "Failed: the file is too large"


def test_a_task_that_waits_for_the_disk_says_so() -> None:
    assert LANGUAGES["zh"].waiting("disk_full") == "磁盘空间不足"
    assert LANGUAGES["en"].waiting("disk_full") == "there is not room enough on the disk"
    assert LANGUAGES["en"].waiting("timeout") is None


@each_language
def test_a_blocked_address_leads_to_the_setting_that_opens_it(words: Catalogue) -> None:
    assert "downloads.allowed_private_hosts" in (words.hint("blocked_address") or "")
    assert "fake" in (words.hint("blocked_address_fake_ip") or "").lower()


@each_language
def test_a_code_that_nobody_knows_is_still_put_into_words(words: Catalogue) -> None:
    for code in ("", "brand_new", "http_", "http_4040", "{status}"):
        assert words.error(code) == words.error("internal")
        assert words.failed(code) == words.failed("internal")


# --- complete in every language ---


def test_chinese_and_english_are_there() -> None:
    assert {"zh", "en"} <= set(LANGUAGES)


def test_all_languages_say_the_same_things() -> None:
    texts = {name: dict(leaves(words.texts.model_dump())) for name, words in LANGUAGES.items()}
    for text in texts.values():
        assert text.keys() ^ texts["zh"].keys() == set(), "of one of server/locales/*.toml alone"
        for key in text:
            assert placeholders(text[key]) == placeholders(texts["zh"][key]), key


@each_language
def test_nothing_is_said_with_an_empty_sentence(words: Catalogue) -> None:
    for key, text in leaves(words.texts.model_dump()):
        assert text.strip(), key
        assert text.isprintable(), key


@each_language
def test_hints_tell_readers_what_to_do_and_not_what_to_send(words: Catalogue) -> None:
    of_a_request = re.compile(r'/api/|"|\b(?!downloads\.)[a-z_]+\.[a-z_]+\b')
    hints = {code: texts.hint for code, texts in words.texts.failure.items() if texts.hint}
    assert len(hints) > 20
    assert {code: hint for code, hint in hints.items() if of_a_request.search(hint)} == {}


OF_FIELDS: dict[type[AppError], AppError] = {
    InvalidRequest: InvalidRequest([("url", "missing", {})]),
    InvalidQuery: InvalidQuery("limit"),
}


@each_language
@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.code)
def test_every_error_has_words_for_all_it_can_say(words: Catalogue, error: type[AppError]) -> None:
    arguments = {
        name: "7" for name in inspect.signature(error).parameters if name not in ("headers", "extra")
    }
    raised = OF_FIELDS.get(error) or made(error, arguments)
    title, detail = words.problem(raised.code, raised.values)
    assert title
    assert detail
    for value in raised.values.values():
        assert str(value) in detail
    assert "{" not in detail


def made(error: type[AppError], arguments: dict[str, Any]) -> AppError:
    plain = arguments.keys() <= {"values"}
    return error() if plain else error(**arguments)


@each_language
def test_no_words_are_kept_for_errors_that_do_not_exist(words: Catalogue) -> None:
    assert words.texts.problem.keys() == {error.code for error in every_error()}


WRONG: list[tuple[type[BaseModel], Any]] = [
    (ProcessRequest, []),
    (ProcessRequest, {}),
    (ProcessRequest, {"url": 1, "outputs": ["x"], "quality": "1", "auto_start": 1, "x": 1}),
    (ProcessRequest, {"url": "", "outputs": [], "priority": 11, "format": "@", "audio_quality": 513}),
    (ProcessRequest, {"url": "http://a", "outputs": "video", "priority": -11, "audio_quality": 7}),
    (ProcessRequest, {"url": "http://" + "a" * 5000, "outputs": ["video", "video"], "audio_language": ""}),
    (ProcessRequest, {"url": "http://a/\ud800", "outputs": None, "live": "wait", "preset": "x" * 65}),
    (ProcessRequest, {"url": "ftp://a", "priority": 0.5, "codec": None, "video_format": "avi"}),
    (ProcessRequest, {"url": "http://a b", "audio_format": 3, "format": 1}),
    (ProcessRequest, {"url": "http://[", "auto_start": None, "priority": True}),
    (ProcessRequest, {"url": "http://"}),
    (InfoRequest, {"url": None, "preset": 1}),
    (Library, {"layout": "x", "folder": "../x", "name": "{x}", "nfo": 1}),
    (Library, {"folder": "Extras", "name": "{title"}),
    (Library, {"folder": "", "name": "x" * 201}),
    (PlaceChange, {"priority": "1", "position": "here"}),
]


@each_language
@pytest.mark.parametrize(("model", "body"), WRONG)
def test_every_wrong_field_is_told_what_is_wrong_with_it(
    words: Catalogue, model: type[BaseModel], body: object
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    for problem in caught.value.errors():
        sentence = words.field(problem["type"], problem.get("ctx") or {})
        assert sentence != words.texts.field["other"], problem["type"]
        assert "{" not in sentence


def test_choices_are_listed_in_the_readers_language() -> None:
    choices = {"expected": "'mp4', 'mkv' or 'webm'"}
    assert LANGUAGES["zh"].field("literal_error", choices) == "应为以下之一: 'mp4', 'mkv' 或 'webm'"
    assert LANGUAGES["en"].field("literal_error", choices) == "must be one of 'mp4', 'mkv' or 'webm'"


@each_language
def test_a_field_that_is_wrong_in_an_unknown_way_is_just_not_valid(words: Catalogue) -> None:
    assert words.field("never_heard_of", {"x": 1}) == words.texts.field["other"]


def test_a_tag_changes_with_the_words(tmp_path: Path) -> None:
    file = tmp_path / "fr.toml"
    shutil.copy(Path(locales.__file__).with_name("en.toml"), file)
    french = locales.catalogues_in(tmp_path)["fr"]
    assert french.language == "fr"
    assert french.tag == LANGUAGES["en"].tag
    file.write_text(file.read_text().replace("Waiting...", "En attente..."))
    changed = locales.catalogues_in(tmp_path)["fr"]
    assert changed.tag != french.tag
    assert changed.stage(Stage.QUEUED) == "En attente..."


# --- the choice of the language ---


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        (None, "zh"),
        ("", "zh"),
        ("*", "zh"),
        ("en", "en"),
        ("EN-us", "en"),
        ("zh-CN", "zh"),
        ("zh-Hant-TW", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("fr, en;q=0.1", "en"),
        ("fr", "en"),
        ("fr;q=1.0, de", "en"),
        ("fr, *;q=0.1", "zh"),
        ("fr, en;q=0", "zh"),
        ("zh;q=0", "en"),
        ("zh;q=0.2, en;q=0.3", "en"),
        ("en;q=0.3, zh;q=0.3", "en"),
        ("en ; q = 0.5 , fr", "en"),
        ("en;q=0", "zh"),
        ("zh;q=0, *", "en"),
        ("*;q=0.5, en", "en"),
        ("en;q=0.5, *", "zh"),
        ("fr,,en", "en"),
        ("en;q=2", "zh"),
        ("en, fr;q=2", "zh"),
        ("en;q=", "zh"),
        ("en;level=1", "zh"),
        ("english-language-please", "en"),
        ("en; q=0.5; q=0.6", "zh"),
        ("../../etc/passwd", "zh"),
    ],
)
def test_the_reader_gets_the_language_asked_for(header: str | None, chosen: str) -> None:
    assert negotiate(header, "zh") == chosen


def test_the_default_is_the_operators() -> None:
    assert negotiate(None, "en") == "en"
    assert negotiate("fr, *", "en") == "en"


@given(st.text(alphabet="abzhen*-;,=q.019 ", max_size=60), st.sampled_from(sorted(LANGUAGES)))
def test_whatever_is_asked_for_a_language_of_ours_is_given(header: str, default: str) -> None:
    assert negotiate(header, default) in LANGUAGES


def test_a_catalogue_is_what_is_named_like_one(tmp_path: Path) -> None:
    ours = Path(locales.__file__).parent
    for name in ("zh", "en"):
        (tmp_path / f"{name}.toml").write_bytes((ours / f"{name}.toml").read_bytes())
    for foreign in (
        ".DS_Store",
        "._zh.toml",
        "zh.toml~",
        "zh.toml.orig",
        "zh copy.toml",
        "README",
        "#en.toml#",
    ):
        (tmp_path / foreign).write_bytes(b"\xff nonsense")
    assert list(catalogues_in(tmp_path)) == ["en", "zh"]
