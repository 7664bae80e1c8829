"""Which texts of a source reach clients and the log, and in what form."""

import json
import os
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.child.extract import video_info
from server.child.media import mp4
from server.child.process.log import LIMIT, Log
from server.core.film import About, VideoInfo
from server.core.redaction import clean

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.text(st.characters(), max_size=2000))
def test_a_text_is_one_harmless_line(value: str) -> None:
    text = video_info.text(value)
    assert text is None or (0 < len(text) <= 500 and text == text.strip())
    assert not set(text or "") & {
        *map(chr, range(32)),
        *map(chr, range(0x7F, 0xA0)),
        *"\u202a\u202e\u2066\u2069",
    }
    (text or "").encode()


@pytest.mark.wide
@given(
    st.fixed_dictionaries(dict.fromkeys(("title", "duration", "uploader", "webpage_url", "width"), ANYTHING))
)
def test_whatever_an_extractor_says_the_model_takes_it(info: dict[str, Any]) -> None:
    said = video_info.video_info(info)
    assert None not in said.values()
    VideoInfo.model_validate_json(json.dumps(said), extra="forbid")


def test_every_field_is_told_of_a_source_that_says_all_of_it() -> None:
    numbers, texts = ("duration", "width", "height", "timestamp"), ("title", "uploader", "extractor", "id")
    info = dict.fromkeys(numbers, 1) | dict.fromkeys((*texts, "extractor_key", "channel", "channel_id"), "x")
    info |= {"webpage_url": "http://a.test/", "is_live": True}
    told = video_info.video_info(info, filesize=1, cut=True)
    assert told.keys() ^ VideoInfo.model_fields.keys() == set(), (
        "`video_info` in server/child/extract/video_info.py"
    )


@given(st.fixed_dictionaries(dict.fromkeys(("description", "tags"), ANYTHING)))
def test_whatever_a_page_says_about_a_film_the_model_takes_it(info: dict[str, Any]) -> None:
    said = video_info.about(info)
    assert None not in said.values()
    About.model_validate_json(json.dumps(said), extra="forbid")


def test_a_description_keeps_its_lines_and_is_bounded() -> None:
    said = video_info.about(
        {"description": "One\r\n\x07Two\x00" + "x" * 50_000, "tags": ["a", "a", "", 1] * 99}
    )
    assert said["description"].startswith("One\nTwox")
    assert len(said["description"]) <= 10_000
    assert said["tags"] == ["a"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [(3.5, 4), (3.4, 3), (0.4, 0), (-1, None), (inf, None), (nan, None), (2**53, None), ("3", None)],
)
def test_a_duration_is_in_whole_seconds_or_none_at_all(said: object, expected: int | None) -> None:
    assert video_info.video_info({"duration": said}).get("duration") == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.test/v?x=1", "https://a.test/v?x=1"),
        ("http://user:secret@a.test/v", "http://a.test/v"),
        ("javascript:alert(1)", None),
        ("file:///etc/passwd", None),
        ("http://a.test/\nb", None),
        ("http://[", None),
        (None, None),
    ],
)
def test_a_link_is_http_and_knows_no_password(url: str | None, expected: str | None) -> None:
    assert video_info.link(url) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET http://u:p@a.test/v.mp4?sig=1#x", "GET http://a.test/v.mp4?..."),
        ("[generic] v?token=abc: Downloading", "[generic] v?...: Downloading"),
        ("Cookie: session=abc", "Cookie: ..."),
        ("{'Authorization': 'Basic abc', 'a': 'b'}", "{'Authorization': ..."),
        ("\x1b[31mred\x1b[0m \u202eevil\x07", "red evil"),
    ],
)
def test_a_line_of_the_log_has_no_secrets_and_no_tricks(line: str, expected: str) -> None:
    assert clean(line) == expected


def opened(path: Path, mode: int = os.O_RDWR) -> Log:
    return Log(os.open(path, mode | os.O_APPEND | os.O_CREAT))


@pytest.mark.wide
def test_a_log_that_gets_too_long_is_cut_in_the_middle_over_attempts(tmp_path: Path) -> None:
    lines = 0
    for number in range(3):
        attempt = opened(tmp_path / "log")
        for _ in range(15_000):
            attempt.info(f"{lines} " + "x" * 100)
            lines += 1
        attempt.write(f"the reason of attempt {number}")
        lines += 1
        attempt.close()
    assert (tmp_path / "log").stat().st_size < LIMIT
    told = (tmp_path / "log").read_text().splitlines()
    assert told[0].endswith(" 0 " + "x" * 100)
    assert told[-1].endswith("the reason of attempt 2")
    [mark] = [line for line in told if line.endswith("lines left out)")]
    assert int(mark[1:].split()[0]) == lines - (len(told) - 1)


@pytest.mark.wide
def test_a_message_that_is_longer_than_a_log_is_cut_as_well(tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    log.write("the beginning\n" + "x\n" * LIMIT + "the end")
    log.write("and after it")
    told = (tmp_path / "log").read_text().splitlines()
    assert told[0].endswith("the beginning")
    assert [line[21:] for line in told[-2:]] == ["the end", "and after it"]
    assert (tmp_path / "log").stat().st_size < LIMIT
    log.close()


def test_a_log_that_cannot_be_read_is_written_all_the_same(tmp_path: Path) -> None:
    log = opened(tmp_path / "log", os.O_WRONLY)
    log.write("x" * LIMIT)
    log.write("the end")
    assert (tmp_path / "log").read_text().endswith("the end\n")
    log.close()


def test_an_index_of_a_film_is_read_without_ffmpeg(media: Path) -> None:
    film = mp4.read(media / "video.mp4")
    assert film is not None
    assert film.duration == pytest.approx(4, abs=0.1)
    assert [(track.kind, track.codec) for track in film.tracks] == [("vide", "h264"), ("soun", "aac")]
    assert (film.tracks[0].width, film.tracks[0].height) == (320, 180)


def test_a_fragmented_film_is_left_to_ffmpeg(media: Path) -> None:
    assert mp4.read(media / "hls/fmp4/init.mp4") is None


@given(st.binary(max_size=300), st.integers(0, 300))
def test_garbage_is_no_film_and_no_trap(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage"
    path.write_bytes(data[:at] + b"moov" + data[at:])
    mp4.read(path)
    mp4.is_cut_off(path)
