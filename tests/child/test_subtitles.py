"""Subtitles: which ones are fetched, which files they become, and what a player finds in the film."""

import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from yt_dlp import YoutubeDL
from yt_dlp.utils import DownloadError

from server.child.extract.failures import Trail
from server.child.fetch import subtitles
from server.child.fetch.subtitles import MAX_BYTES, MAX_LANGUAGES, Subtitling, choose_subtitles
from server.child.media.embedding import MAX_SUBTITLES, language_code
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.core.codes import Code
from server.core.jobs import JobSubtitles
from tests.child.test_media import COPY, made
from tests.jobs import Jobs, Outcome, broken, download_job, told
from tests.shelf import Shelf
from tests.site import SECONDS, Site
from tests.site import probe as look_into
from tests.subtitles import HELLO, SRT, VTT, cues, streams
from tests.tools import FFMPEG

ALL = ["video", "subtitles"]


def film(shelf: Shelf, media: Path, name: str = "video.mp4", **more: Any) -> dict[str, Any]:
    """Return what an extractor says of a film."""
    url = shelf.put(name, (media / name).read_bytes())
    return {"id": "a", "title": "Film", "formats": [{"format_id": "0", "url": url}], **more}


def track(shelf: Shelf, file: str, content: str | bytes = SRT, **more: Any) -> list[dict[str, Any]]:
    """Put subtitles on the shelf; the suffix of `file` is the format that the extractor claims."""
    data = content.encode() if isinstance(content, str) else content
    return [{"url": shelf.put(file, data), "ext": file.rpartition(".")[2], **more}]


def kinds(outcome: Outcome) -> set[str]:
    assert outcome.last["kind"] == "produced", outcome.last
    return set(outcome.last["files"])


# --- which subtitles are fetched ---

OFFER = {name: [{"ext": "vtt", "url": "http://a/"}] for name in ("en", "en-GB", "de", "live_chat")}
CAPTIONS = {name: [{"ext": "vtt", "url": "http://a/"}] for name in ("en", "fr", "fr-orig")}


@pytest.mark.parametrize("automatic", [False, True])
@pytest.mark.parametrize(
    "patterns",
    [
        ["all"],
        ["en"],
        ["en.*"],
        ["de", "en"],
        ["all", "-live_chat"],
        ["all", "-en.*", "en"],
        ["EN"],
        ["fr.*"],
        ["nl", "de"],
        ["-de"],
        ["-all", "de"],
    ],
)
def test_patterns_mean_what_they_mean_to_yt_dlp(patterns: list[str], automatic: bool) -> None:
    params = {"writesubtitles": True, "writeautomaticsub": automatic, "subtitleslangs": patterns}
    with YoutubeDL({"quiet": True, **params}, auto_init=False) as ydl:
        expected = ydl.process_subtitles("a", OFFER, CAPTIONS)
    wishes = JobSubtitles(languages=tuple(patterns), automatic=automatic)
    offer = {"subtitles": OFFER, "automatic_captions": CAPTIONS}
    assert [one.language for one in choose_subtitles(offer, wishes, print)] == list(expected or {})


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("a.en", ["a.en"]),
        ("a.en.*", ["a.en", "a.en-US"]),
        ("English (UK)", ["English (UK)"]),
        ("English (.*", ["English (UK)"]),
        # A regular expression from a request that an earlier release has stored.
        ("a[.x]en", ["a.en", "axen"]),
    ],
)
def test_a_name_is_taken_as_it_is_and_a_stored_pattern_as_a_pattern(
    language: str, expected: list[str]
) -> None:
    offer = {"subtitles": dict.fromkeys(("a.en", "axen", "a.en-US", "English (UK)"), OFFER["en"])}
    wishes = JobSubtitles(languages=(language,))
    assert [one.language for one in choose_subtitles(offer, wishes, print)] == expected


@pytest.mark.parametrize(
    ("offer", "automatic", "expected"),
    [
        ({"subtitles": OFFER, "automatic_captions": CAPTIONS}, False, list(OFFER)),
        ({"subtitles": OFFER, "automatic_captions": CAPTIONS}, True, list(OFFER)),
        ({"automatic_captions": CAPTIONS}, False, []),
        ({"automatic_captions": CAPTIONS}, True, ["fr-orig"]),
        ({"automatic_captions": CAPTIONS, "language": "fr"}, True, ["fr"]),
        ({"automatic_captions": {"de": OFFER["de"]}}, True, ["de"]),
        ({"subtitles": None}, True, []),
    ],
)
def test_without_languages_all_are_taken_that_are_not_automatic(
    offer: dict[str, Any], automatic: bool, expected: list[str]
) -> None:
    assert [
        one.language for one in choose_subtitles(offer, JobSubtitles(automatic=automatic), print)
    ] == expected


def test_of_a_language_the_format_is_taken_that_needs_the_least() -> None:
    formats = [
        {"ext": ext, "url": f"http://a/{at}"} for at, ext in enumerate(("json3", "ttml", "srt", "vtt"))
    ]
    offer = {"subtitles": {"en": [*formats, {"ext": "vtt", "url": "better"}, {"ext": "srv3", "url": ""}]}}
    assert choose_subtitles(offer, JobSubtitles(format="srt"), print)[0].track["ext"] == "srt"
    assert choose_subtitles(offer, JobSubtitles(format="vtt"), print)[0].track["url"] == "better"


def test_what_a_source_calls_a_language_becomes_a_harmless_tag_that_no_other_has() -> None:
    names = ["en", "EN", "en_US", "en-US", "../../etc", "中文", "字幕", "x" * 90, "a.b\0c"]
    chosen = choose_subtitles({"subtitles": dict.fromkeys(names, OFFER["en"])}, JobSubtitles(), print)
    assert [one.tag for one in chosen] == [
        "en", "EN-2", "en-US", "en-US-2", "etc", "und", "und-2", "x" * 26, "a-b-c",
    ]  # fmt: skip


def test_there_is_an_end_to_languages_and_to_the_time_that_a_pattern_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subtitles, "_MATCH_SECONDS", 0.1)
    said: list[str] = []
    many = {f"x-{number}": OFFER["en"] for number in range(MAX_LANGUAGES + 1)}
    assert len(choose_subtitles({"subtitles": many}, JobSubtitles(), said.append)) == MAX_LANGUAGES
    assert "201 languages" in said[0]
    began = time.monotonic()
    endless = JobSubtitles(languages=("(a+)+b",))
    assert choose_subtitles({"subtitles": {"a" * 60: OFFER["en"]}}, endless, said.append) == []
    assert time.monotonic() - began < 20
    assert "takes too long" in said[-1]


# --- the text of subtitles ---


@pytest.mark.parametrize(
    ("data", "language"),
    [
        ("Grüße, 你好".encode(), "de"),
        ("Grüße, 你好".encode("utf-8-sig"), "de"),
        ("Grüße, 你好".encode("utf-16"), "de"),
        (b"\xfe\xff" + "Grüße, 你好".encode("utf-16-be"), "de"),
        ("你好".encode("gb18030"), "zh-Hans"),
        ("你好".encode("big5"), "zh-TW"),
        ("Привет".encode("cp1251"), "ru"),
        ("Grüße".encode("latin-1"), "de"),
        ("Gr\0üße".encode(), "de"),
    ],
)
def test_text_is_read_in_whatever_it_was_written(data: bytes, language: str) -> None:
    assert subtitles.decode(data, language) in ("Grüße, 你好", "你好", "Привет", "Grüße")


def test_languages_have_the_codes_that_containers_have() -> None:
    given = ["en", "en-US", "zh-Hans", "de_CH", "fil", "ger", "x", "", "live_chat", "en-orig", "xx"]
    expected = ["eng", "eng", "zho", "deu", "fil", "ger", "und", "und", "und", "eng", "und"]
    assert [language_code(one) for one in given] == expected


ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, Alignment
Style: Default,Arial,20,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.50,0:00:01.50,Default,,0,0,0,,Hello {\\i1}there{\\i0}
Dialogue: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,Bye
"""
TTML = """<?xml version="1.0" encoding="UTF-16"?>
<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="en"><body><div>
<p begin="00:00:00.500" end="00:00:01.500">Hello <span>there</span></p>
<p begin="2s" end="3s">Bye</p></div></body></tt>"""
SAMI = """<SAMI><HEAD></HEAD><BODY><SYNC Start=500><P>Hello there<SYNC Start=1500><P>&nbsp;
<SYNC Start=2000><P>Bye<SYNC Start=3000><P>&nbsp;</BODY></SAMI>"""


@pytest.mark.parametrize("wanted", ["srt", "vtt"])
@pytest.mark.parametrize("text", [SRT, VTT, ASS, TTML, SAMI, SRT.replace("\n", "\r\n"), "\n\n" + SRT])
def test_each_format_becomes_the_wanted_one(text: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "subtitles").mkdir()
    (tmp_path / "it").write_text(text, newline="")
    target = tmp_path / "subtitles" / f"it.{wanted}"
    subtitles.convert_subtitles(tmp_path / "it", target, "en", FFMPEG, print)
    assert cues(target) == HELLO
    assert target.read_text().startswith("WEBVTT") == (wanted == "vtt")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "WEBVTT\n",
        "<!doctype html><p>Not found --> 1",
        '{"events": []}',
        '[{"a": 1}]',
        "Only words.",
        "<tt><body><p begin='1s'",
        "\0\1\2\3" * 100,
        "#EXTM3U\n#EXTINF:1,\nit\n",
        "ffconcat version 1.0\nfile it\n",
    ],
)
def test_subtitles_that_show_nothing_are_left_out(text: str, tmp_path: Path) -> None:
    (tmp_path / "subtitles").mkdir()
    (tmp_path / "it").write_text(text)
    with pytest.raises(JobFailed, match="conversion_failed"):
        subtitles.convert_subtitles(tmp_path / "it", tmp_path / "subtitles" / "it.srt", "en", FFMPEG, print)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["it"]


# --- from a page to files ---


@pytest.mark.wide
async def test_each_language_is_a_file_and_in_the_film(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    tracks = {
        "en": track(shelf, "en.vtt", VTT),
        "zh-Hans": track(shelf, "zh.srt", SRT.replace("Bye", "再见"), name="中文"),
        "gone": [{"ext": "srt", "url": shelf.url("gone.srt")}],
    }
    wishes: dict[str, Any] = {"outputs": ALL, "subtitles": {"embed": True}}
    outcome = await told(tmp_path / "t", shelf, film(shelf, media, subtitles=tracks), **wishes)
    assert kinds(outcome) == {"video", "subtitle.en", "subtitle.zh-Hans"}
    assert outcome.last["files"]["subtitle.en"]["type"] == "application/x-subrip"
    assert cues(outcome.file("subtitle.en")) == HELLO
    assert outcome.file("subtitle.zh-Hans").read_text() == SRT.replace("Bye", "再见")
    assert streams(outcome.file("video")) == [("eng", "mov_text"), ("zho", "mov_text")]
    assert cues(outcome.file("video")) == HELLO
    assert cues(outcome.file("video"), 1) == [HELLO[0], (2.0, 3.0, "再见")]
    assert "WARNING: no subtitles in gone: HTTP Error 404" in outcome.log


async def test_subtitles_alone_need_no_film(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    told_of = film(shelf, media, subtitles={"en": track(shelf, "en.srt")})
    wishes: dict[str, Any] = {
        "outputs": ["subtitles"],
        "subtitles": {"languages": ["en", "nl"], "format": "vtt"},
    }
    outcome = await told(tmp_path / "t", shelf, told_of, **wishes)
    assert kinds(outcome) == {"subtitle.en"}
    assert outcome.last["files"]["subtitle.en"]["type"] == "text/vtt"
    assert shelf.asked["video.mp4"] == 0
    assert "there are none in nl" in outcome.log
    outcome = await told(tmp_path / "u", shelf, told_of | {"formats": []}, **wishes)
    assert kinds(outcome) == {"subtitle.en"}


@pytest.mark.parametrize(
    ("outputs", "languages", "expected"),
    [
        (["subtitles"], ["nl"], "no_subtitles"),
        (["subtitles"], ["chat"], "no_subtitles"),
        (["subtitles"], ["empty"], "no_subtitles"),
        (["subtitles"], ["gone"], "http_404"),
        (["subtitles", "thumbnail"], ["nl"], "no_subtitles"),
        (ALL, ["nl", "gone", "empty", "chat"], {"video"}),
    ],
)
async def test_missing_subtitles_are_an_error_if_only_subtitles_are_wanted(
    outputs: list[str],
    languages: list[str],
    expected: str | set[str],
    shelf: Shelf,
    media: Path,
    tmp_path: Path,
) -> None:
    tracks = {
        "gone": [{"ext": "srt", "url": shelf.url("gone.srt")}],
        "empty": track(shelf, "empty.vtt", "WEBVTT\n"),
        "chat": [{"ext": "json", "url": shelf.url("chat"), "protocol": "youtube_live_chat"}],
    }
    wishes: dict[str, Any] = {"outputs": outputs, "subtitles": {"languages": languages}}
    outcome = await told(tmp_path / "t", shelf, film(shelf, media, subtitles=tracks), **wishes)
    assert expected == (broken(outcome)[0] if isinstance(expected, str) else kinds(outcome))


@pytest.mark.parametrize(("code", "is_met"), [("conversion_failed", False), ("worker_lost", True)])
def test_only_what_is_wrong_with_a_text_costs_its_language_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: Code, is_met: bool
) -> None:
    """An ffmpeg that was killed may succeed in the next attempt, so the attempt must fail as a whole."""

    def fails(*_: object) -> None:
        raise JobFailed(code)

    monkeypatch.setattr(subtitles, "convert_subtitles", fails)
    monkeypatch.setattr(subtitles.SubtitleFetcher, "fetch", lambda *_: True)
    job = download_job(tmp_path, outputs=ALL)
    info = {"subtitles": OFFER, "id": "a", "extractor": "a", "webpage_url": "http://a/"}
    subtitling = Subtitling(job, info, Log(os.open(os.devnull, os.O_WRONLY)))
    with pytest.raises(JobFailed, match=code) if is_met else nullcontext():
        assert subtitling.fetch(Asked(), lambda _: None) == []  # type: ignore[arg-type]


class Asked:
    """Stands for the engine: every request fails, and is noted with its options."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {"retries": 10, "fragment_retries": 10}
        self.trail = Trail()
        self.asked: list[Any] = []

    def dl(self, *_: Any, **__: Any) -> None:
        self.asked.append(self.params["retries"])
        raise DownloadError("timed out")


def test_a_source_that_is_silent_is_not_asked_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The film is downloaded only after its subtitles."""
    engine, log = Asked(), Log(os.open(os.devnull, os.O_WRONLY))
    [chosen] = choose_subtitles({"subtitles": {"en": OFFER["en"]}}, JobSubtitles(), print)
    fetching = subtitles.SubtitleFetcher(engine, {}, log, lambda _: None)  # type: ignore[arg-type]
    assert not fetching.fetch(chosen, tmp_path / "a")
    assert (engine.asked, engine.params["retries"]) == ([2], 10)
    monkeypatch.setattr(fetching, "_deadline", 0.0)
    assert not fetching.fetch(chosen, tmp_path / "b")
    assert len(engine.asked) == 1


# --- sources of subtitles ---


@pytest.mark.long
async def test_segments_of_hls_are_put_together(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    wishes: dict[str, Any] = {"outputs": ALL, "subtitles": {"embed": True}}
    outcome = await jobs.download(tmp_path / "t", site.url("/texts/subtitled.m3u8"), **wishes)
    assert kinds(outcome) == {"video", "subtitle.en"}
    shown = [HELLO[0], (1.8, 2.2, "Twice"), (2.5, 3.0, "Bye"), (3.2, 3.7, "End")]
    assert cues(outcome.file("subtitle.en")) == cues(outcome.file("video")) == shown
    assert "WARNING: no subtitles in nl" in outcome.log


@pytest.mark.long
async def test_a_page_names_them_beside_its_video(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    tracks = "track=/texts/words.vtt&track=/texts/words.vtt:zh-CN&track=/texts/none.vtt:fr"
    wishes: dict[str, Any] = {"outputs": ALL, "subtitles": {"embed": True}, "video_format": "mkv"}
    outcome = await jobs.download(tmp_path / "t", site.url(f"/page?kind=video&{tracks}"), **wishes)
    assert kinds(outcome) == {"video", "subtitle.en", "subtitle.zh-CN"}
    assert streams(outcome.file("video")) == [("eng", "subrip"), ("zho", "subrip")]
    [(begin, end, words)] = cues(outcome.file("video"), 1)
    assert (begin, end) == pytest.approx((0.0, 3.0), abs=0.1)
    assert words == "Words"


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("words.mkv", "mkv", ["subrip", "ass"]),
        ("words.mkv", "mp4", ["mov_text", "mov_text"]),
        ("words.mp4", "mp4", ["mov_text", "mov_text"]),
        ("words.mp4", "mkv", ["subrip", "subrip"]),
        ("words.webm", "webm", ["webvtt", "webvtt"]),
    ],
)
async def test_a_films_own_subtitles_are_kept(
    name: str, wanted: str, expected: list[str], shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    source, codec = {
        "words.mkv": ("video.mp4", "ass"),
        "words.mp4": ("video.mp4", "mov_text"),
        "words.webm": ("clip.webm", "webvtt"),
    }[name]
    (tmp_path / "own.srt").write_text(SRT.replace("Bye", "Adieu"))
    own = ["-i", str(tmp_path / "own.srt"), *COPY, "-c:s", codec, "-metadata:s:s:0", "language=fre"]
    told_of = film(shelf, media, subtitles={"en": track(shelf, "en.srt")})
    url = shelf.put(name, made(media / source, tmp_path / name, own))
    told_of["formats"] = [{"format_id": "0", "url": url}]
    for embed in (True, False):
        wishes: dict[str, Any] = {"video_format": wanted, "subtitles": {"embed": embed}}
        outcome = await told(tmp_path / f"{embed}", shelf, told_of, outputs=["video"], **wishes)
        found = streams(outcome.file("video"))
        assert [kind for _, kind in found] == (expected if embed else expected[1:])
        assert [language for language, _ in found][-1] in ("fre", "fra")
        assert cues(outcome.file("video"), len(found) - 1)[-1][2] == "Adieu"


@pytest.mark.long
async def test_a_huge_file_costs_its_language_alone(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    tracks = {"en": track(shelf, "en.srt"), "de": track(shelf, "de.srt", b"1" * (MAX_BYTES + 1))}
    outcome = await told(tmp_path / "t", shelf, film(shelf, media, subtitles=tracks), outputs=ALL)
    assert kinds(outcome) == {"video", "subtitle.en"}
    assert f"no subtitles in de: page_too_large: more than {MAX_BYTES} bytes" in outcome.log


@pytest.mark.wide
async def test_a_huge_file_is_too_large_if_nothing_else_was_asked_for(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    for name, huge in (
        ("file", track(shelf, "de.srt", b"1" * (MAX_BYTES + 1))),
        ("data", [{"ext": "srt", "data": "1" * (MAX_BYTES + 1)}]),
    ):
        told_of = film(shelf, media, subtitles={"de": huge})
        alone = await told(tmp_path / name, shelf, told_of, outputs=["subtitles"])
        assert broken(alone) == ("page_too_large", False, None)
        beside = await told(tmp_path / f"{name}-beside", shelf, told_of, outputs=ALL)
        assert kinds(beside) == {"video"}
        assert f"no subtitles in de: page_too_large: more than {MAX_BYTES} bytes" in beside.log


@pytest.mark.long
async def test_a_source_that_lies_about_subtitles_does_no_harm(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    tracks: dict[str, Any] = {
        "none": [{"ext": "srt"}],
        "number": [{"ext": "srt", "data": 7}],
        "odd": [{"ext": "srt", "data": "1\n00:00:01,000 --> 00:00:02,000\n\ud800 odd\n"}],
        "blocked": [{"ext": "srt", "url": "http://127.0.0.9:9/a.srt"}],
        "file": [{"ext": "srt", "url": "file:///etc/passwd"}],
        "page": track(shelf, "page.srt", "<!doctype html><p>1 --> 2</p>"),
        "rtmp": [{"ext": "srt", "url": "rtmp://127.0.0.1/a"}],
        "list": [{"ext": "vtt", "url": shelf.put("x.m3u8", b"#EXTM3U\n"), "protocol": "m3u8_native"}],
        "a\nWARNING: forged": track(shelf, "a.srt"),
        "far": track(shelf, "far.srt", "1\n99:00:00,000 --> 99:00:01,000\nFar behind the end\n"),
        "endless": [{"ext": "dfxp", "url": "data:text/xml,<tt><body><p begin='1s' end='2s'>a"}],
    }
    wishes: dict[str, Any] = {"outputs": ALL, "subtitles": {"embed": True}}
    outcome = await told(tmp_path / "t", shelf, film(shelf, media, subtitles=tracks), **wishes)
    assert kinds(outcome) == {"video", "subtitle.odd", "subtitle.a-WARNING-forged", "subtitle.far"}
    assert cues(outcome.file("subtitle.odd"))[0][2] == "? odd"
    assert len(streams(outcome.file("video"))) == 2
    assert (await look_into(outcome.file("video"))).duration < SECONDS + 1, "no cue makes it longer"


@pytest.mark.long
async def test_subtitles_alone_follow_a_clip(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    told_of = film(shelf, media, subtitles={"en": track(shelf, "en.srt")})
    wishes: dict[str, Any] = {"outputs": ["subtitles"], "clip": {"start": 1, "end": 2.5}}
    outcome = await told(tmp_path / "t", shelf, told_of, **wishes)
    assert cues(outcome.file("subtitle.en")) == [(0.0, 0.5, "Hello there"), (1.0, 1.5, "Bye")]
    assert shelf.asked["video.mp4"] == 0


@pytest.mark.long
async def test_hundreds_of_languages_are_files_and_some_of_them_in_the_film(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    one = track(shelf, "it.srt")
    tracks = {f"{chr(97 + number // 26)}{chr(97 + number % 26)}x": one for number in range(250)}
    wishes: dict[str, Any] = {"outputs": ALL, "subtitles": {"embed": True}}
    outcome = await told(tmp_path / "t", shelf, film(shelf, media, subtitles=tracks), **wishes)
    assert len(kinds(outcome)) == 1 + MAX_LANGUAGES
    assert len(streams(outcome.file("video"))) == MAX_SUBTITLES
    assert "the first 32 of 200 languages are embedded" in outcome.log
    hints = [event.get("hint") for event in outcome.events if event["kind"] == "described"]
    assert hints[-1] == "some_subtitles"


@pytest.mark.long
async def test_subtitles_of_an_earlier_attempt_are_not_fetched_again(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    tracks = {"en": track(shelf, "en.srt"), "gone": [{"ext": "srt", "url": shelf.url("gone.srt")}]}
    told_of = film(shelf, media, subtitles=tracks)
    gone = told_of | {"formats": [{"format_id": "0", "url": shelf.url("gone.mp4")}]}
    outcome = await told(tmp_path / "t", shelf, gone, outputs=ALL)
    assert broken(outcome)[0] == "http_404"
    outcome = await told(tmp_path / "t", shelf, told_of, outputs=ALL)
    assert kinds(outcome) == {"video", "subtitle.en"}
    assert shelf.asked["en.srt"] == 1


@pytest.mark.long
async def test_a_container_without_room_for_subtitles_is_left_as_it_is(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    flv = made(media / "video.mp4", tmp_path / "film.flv", COPY)
    told_of = film(shelf, media, subtitles={"en": track(shelf, "en.srt")})
    told_of["formats"] = [{"format_id": "0", "url": shelf.put("film.flv", flv)}]
    wishes: dict[str, Any] = {"outputs": ["video"], "video_format": "any", "subtitles": {"embed": True}}
    outcome = await told(tmp_path / "t", shelf, told_of, **wishes)
    assert outcome.file("video").read_bytes() == flv
    assert "subtitles cannot be in flv: not embedded" in outcome.log
