"""Which links lead to the same video."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.media_keys import (
    LONGEST_KEY,
    aliases_of,
    archived_key,
    bound_key,
    key_of,
    key_of_link,
    keys_of_link,
    normalise_link,
)


@pytest.mark.parametrize(
    "other",
    [
        "http://a.test/v.mp4?x=1",
        "HTTPS://A.test/v.mp4?x=1",
        "https://a.test:443/v.mp4?x=1",
        "http://a.test:80/v.mp4?x=1#t=3",
        "https://user:secret@a.test./v.mp4?x=1",
    ],
)
def test_two_forms_of_a_link_have_one_key(other: str) -> None:
    assert normalise_link(other) == "https://a.test/v.mp4?x=1"


@pytest.mark.parametrize(
    "other",
    [
        "https://b.test/v.mp4?x=1",
        "https://a.test/v.mp4?x=2",
        "https://a.test/V.mp4?x=1",
        "https://a.test:444/v.mp4?x=1",
        "https://a.test:80/v.mp4?x=1",
    ],
)
def test_links_to_two_things_have_two_keys(other: str) -> None:
    assert normalise_link(other) != normalise_link("https://a.test/v.mp4?x=1")


@given(st.text())
def test_any_text_has_a_bounded_key(url: str) -> None:
    assert len(key_of_link(url).encode(errors="replace")) <= LONGEST_KEY


def test_long_keys_differ_and_say_their_kind() -> None:
    one, other = key_of_link(f"https://a.test/{'x' * 4000}1"), key_of_link(f"https://a.test/{'x' * 4000}2")
    assert one != other
    assert one.startswith("url #")
    assert bound_key("youtube dQw4w9WgXcQ") == "youtube dQw4w9WgXcQ"


def test_ids_that_are_made_of_file_names_are_no_keys() -> None:
    link = "http://a.test/video.mp4"
    assert key_of("Generic", "video", link) == "url https://a.test/video.mp4"
    assert key_of("HTML5MediaEmbed", "a-1", link) == "url https://a.test/video.mp4"
    assert key_of("HTML5MediaEmbed", "a-1", link, 1) != key_of("HTML5MediaEmbed", "a-2", link, 2)
    assert key_of("Vimeo", "123", link) == "vimeo 123"
    assert key_of(None, "123", link) == key_of("Vimeo", None, link) == "url https://a.test/video.mp4"


@pytest.mark.parametrize(
    "link",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        "https://m.youtube.com/watch?list=PL1&v=dQw4w9WgXcQ&t=3",
        "https://music.youtube.com/watch?v=dQw4w9WgXcQ",
        "https://youtu.be/dQw4w9WgXcQ?si=abc",
        "https://youtube.com/shorts/dQw4w9WgXcQ",
        "https://youtube.com/live/dQw4w9WgXcQ?feature=share",
        "https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ",
    ],
)
def test_all_links_to_a_video_of_youtube_are_known(link: str) -> None:
    assert keys_of_link(link)[0] == "youtube dQw4w9WgXcQ"


@pytest.mark.parametrize(
    "link",
    [
        "https://www.youtube.com/@someone",
        "https://www.youtube.com/playlist?list=PL1",
        "https://www.youtube.com/watch?v=short",
        "https://evil-youtube.com/watch?v=dQw4w9WgXcQ",
        "https://a.test/watch?v=dQw4w9WgXcQ",
        "https://youtu.be/",
    ],
)
def test_other_links_are_known_by_themselves_alone(link: str) -> None:
    assert keys_of_link(link) == [key_of_link(link)]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("youtube dQw4w9WgXcQ", "youtube dQw4w9WgXcQ"),
        ("  youtube:tab UC 1  ", "youtube:tab UC 1"),
        ("generic video", None),
        ("html5 a-1", None),
        ("youtube", None),
        ("Youtube dQw4w9WgXcQ", None),
        ("youtube \x07", None),
        ("", None),
    ],
)
def test_a_line_of_an_archive_is_a_key_if_it_names_one_video(line: str, key: str | None) -> None:
    assert archived_key(line) == key


def test_a_key_is_no_alias_of_itself() -> None:
    assert aliases_of("a 1", ["a 1", "b 2", "b 2"]) == ("b 2",)
    assert len(aliases_of("a 1", [f"b {n}" for n in range(100)])) == 20
