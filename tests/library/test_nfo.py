"""The content of NFO files."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from xml.etree.ElementTree import fromstring
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.library import Library
from server.library import nfo
from server.library.library_names import Film, place_of
from tests.library import media_servers

BERLIN = ZoneInfo("Europe/Berlin")
FILM = Film(
    key="youtube dQw4w9WgXcQ",
    day=date(2026, 3, 14),
    episode=31401,
    url="https://www.youtube.com/watch?v=dQw4w9WgXcQ",
    id="dQw4w9WgXcQ",
    extractor="Youtube",
    title="Salt & <Pepper>",
    channel="Some Channel",
    channel_id="UC123",
    duration=700,
    description="First line\n<b>not markup</b> & so on",
    tags=("salt", "pepper", "salt"),
    added_at=datetime(2026, 3, 14, 23, 5, tzinfo=UTC),
)


def _told(content: bytes) -> list[tuple[str, str | None]]:
    return [(child.tag, child.text) for child in fromstring(content)]


def test_an_episode_says_what_its_name_says() -> None:
    content = nfo.episode(FILM, BERLIN)
    assert content.startswith(b"<?xml version='1.0' encoding='utf-8'?>\n<episodedetails>")
    assert _told(content) == [
        ("title", "Salt & <Pepper>"),
        ("showtitle", "Some Channel"),
        ("season", "2026"),
        ("episode", "31401"),
        ("aired", "2026-03-14"),
        ("premiered", "2026-03-14"),
        ("year", "2026"),
        ("plot", "First line\n<b>not markup</b> & so on"),
        ("runtime", "12"),
        ("studio", "Some Channel"),
        ("tag", "salt"),
        ("tag", "pepper"),
        ("dateadded", "2026-03-15 00:05:00"),
        ("uniqueid", "dQw4w9WgXcQ"),
    ]
    [[season, episode, *_]] = media_servers.episodes(place_of(Library(), FILM).base)
    assert (str(season), str(episode)) == ("2026", "31401")


def test_a_show_has_its_channel_and_its_own_id() -> None:
    content = nfo.tvshow(FILM, BERLIN)
    assert _told(content) == [("title", "Some Channel"), ("studio", "Youtube"), ("uniqueid", "UC123")]
    uniqueid = fromstring(content).find("uniqueid")
    assert uniqueid is not None
    assert uniqueid.attrib == {"type": "youtube", "default": "true"}


def test_a_movie_has_no_episode() -> None:
    told = dict(_told(nfo.movie(FILM, BERLIN)))
    assert told["title"] == FILM.title
    assert not {"season", "episode", "showtitle", "aired"} & told.keys()
    assert fromstring(nfo.movie(FILM, BERLIN)).tag == "movie"


def test_what_only_its_link_identifies_is_identified_by_that() -> None:
    generic = replace(
        FILM, key="url https://a.test/v.mp4", id="v", extractor="generic", url="https://a.test/v.mp4"
    )
    uniqueid = fromstring(nfo.movie(generic, BERLIN)).find("uniqueid")
    assert uniqueid is not None
    assert (uniqueid.text, uniqueid.get("type")) == ("https://a.test/v.mp4", "link")


@pytest.mark.parametrize("write", [nfo.tvshow, nfo.episode, nfo.movie])
@given(text=st.text(st.characters(), max_size=30))
def test_every_text_can_be_read_back(write: Callable[[Film, tzinfo], bytes], text: str) -> None:
    film = replace(
        FILM,
        title=text,
        channel=text,
        channel_id=text,
        description=text,
        tags=(text,),
        id=text,
        extractor=text,
    )
    content = write(film, BERLIN)
    assert not content.startswith(b"\xef\xbb\xbf")
    fromstring(content)


def test_what_xml_forbids_is_left_out_and_a_huge_text_is_cut() -> None:
    film = replace(FILM, title="a\x07b\x00\ufffe\ud800", description="x" * 50_000, tags=("t",) * 500)
    told = dict(_told(nfo.episode(film, BERLIN)))
    assert told["title"] == "ab"
    assert len(told["plot"] or "") == nfo.LONGEST_PLOT


def test_what_is_not_known_is_left_out() -> None:
    bare = Film(key="url https://a.test/v", day=date(2026, 3, 14), episode=31401)
    assert dict(_told(nfo.episode(bare, BERLIN))) == {
        "title": bare.label,
        "season": "2026",
        "episode": "31401",
        "aired": "2026-03-14",
        "premiered": "2026-03-14",
        "year": "2026",
    }
    assert _told(nfo.tvshow(bare, BERLIN)) == [("title", "Unknown")]
